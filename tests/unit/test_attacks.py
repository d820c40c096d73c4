import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.attacks import PGD, quantize
from honeykeras.errors import InvalidArgumentError, ModelError


@pytest.fixture
def right(digits, classifier):
    """Test digits that the classifier gets right."""
    x, y = digits.test.x, digits.test.y
    chosen = classifier.predict(x, verbose=0).argmax(axis=1) == y
    return x[chosen][:100], y[chosen][:100]


def success(model, x_adv, y):
    return np.mean(model.predict(x_adv, verbose=0).argmax(axis=1) != y)


class TestPGD:
    def test_fools_a_model_within_its_bounds(self, classifier, right):
        x, y = right
        x_adv = PGD(epsilon=0.3).generate(classifier, x, y)
        assert success(classifier, x_adv, y) > 0.95
        assert np.abs(x_adv - x).max() <= 0.3 + 1e-6
        assert (x_adv.min(), x_adv.max()) >= (0, 0)
        assert x_adv.max() <= 1
        assert (x_adv.dtype, x_adv.shape) == (np.float32, x.shape)

    def test_without_random_start_equals_cleverhans(self, classifier, right):
        from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

        x, y = right
        expected = projected_gradient_descent(
            lambda t: classifier(t, training=False), x, 0.2, 0.02, 15, np.inf, clip_min=0, clip_max=1, y=y, rand_init=0
        )
        got = PGD(0.2, steps=15, step_size=0.02, random_start=False).generate(classifier, x, y)
        # A gradient of rounding size may take either sign; all but a few values must agree.
        assert np.mean(np.abs(got - expected) > 1e-5) < 0.005

    def test_softmax_output_is_attacked_as_well(self, classifier, right):
        x, y = right
        softmax = keras.Sequential([classifier, keras.layers.Softmax()])
        attack = PGD(0.2, steps=10, random_start=False)
        difference = np.abs(attack.generate(softmax, x, y) - attack.generate(classifier, x, y))
        assert np.mean(difference > 1e-5) < 0.005

    def test_labels_default_to_predictions(self, classifier, right):
        x, y = right
        attack = PGD(0.2, steps=5)
        assert np.array_equal(attack.generate(classifier, x), attack.generate(classifier, x, y))

    def test_one_hot_labels(self, classifier, right):
        x, y = right
        attack = PGD(0.2, steps=5)
        assert np.array_equal(attack.generate(classifier, x, np.eye(10)[y]), attack.generate(classifier, x, y))

    def test_seed_repeats(self, classifier, right):
        first, again, other = (PGD(0.2, steps=3, seed=seed).generate(classifier, *right) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_random_start_leaves_the_input(self, classifier, right):
        start = PGD(0.2, steps=1, step_size=1e-9).generate(classifier, *right) - right[0]
        assert np.abs(start).mean() > 0.02

    def test_own_input_range(self):
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
        x = np.linspace(-4, 4, 50, dtype=np.float32).reshape(10, 5)
        x_adv = PGD(epsilon=3.0, input_range=(-4, 4)).generate(model, x)
        assert np.abs(x_adv).max() == 4
        assert np.abs(x_adv - x).max() <= 3 + 1e-5

    def test_compiles_once(self, right):
        """For other batches, other calls, and weights that have moved on."""
        x, y = right
        model = hk.models.small_cnn((8, 8, 1), 10)
        attack = PGD(0.2, steps=2)
        traces = []
        perturb = attack.perturb
        attack.perturb = lambda *arguments: traces.append(1) or perturb(*arguments)
        before = attack.generate(model, x, y, batch_size=64)
        attack.generate(model, x[:5], y[:5])
        model.set_weights([2 * weight for weight in model.get_weights()])
        assert not np.array_equal(attack.generate(model, x, y, batch_size=30), before)
        assert len(traces) == 1
        attack.generate(hk.models.small_cnn((8, 8, 1), 10), x, y)
        assert len(traces) == 2

    def test_changed_settings_and_models_are_compiled_anew(self, right):
        x, y = right
        model = hk.models.small_cnn((8, 8, 1), 10)
        attack = PGD(0.1, steps=3)
        attack.generate(model, x, y)
        attack.epsilon, attack.step_size = 0.4, 0.2
        changed = attack.generate(model, x, y)
        assert np.array_equal(changed, PGD(0.4, steps=3, step_size=0.2).generate(model, x, y))
        model.pop()
        model.add(keras.layers.Dense(10))
        rebuilt = attack.generate(model, x, y)
        assert np.array_equal(rebuilt, PGD(0.4, steps=3, step_size=0.2).generate(model, x, y))

    def test_progress_bar(self, classifier, right, capfd):
        PGD(0.2, steps=1).generate(classifier, *right, verbose=1)
        assert "100/100" in capfd.readouterr().out

    def test_config_round_trip(self):
        attack = PGD(0.1, steps=7, step_size=0.03, random_start=False, input_range=(-1, 1), seed=5)
        assert PGD.from_config(attack.get_config()).get_config() == attack.get_config()
        assert repr(attack).startswith("PGD(epsilon=0.1, steps=7, step_size=0.03, random_start=False")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"epsilon": 0}, "`epsilon` must be a number in (0, inf). Received: epsilon=0."),
            ({"epsilon": float("nan")}, "`epsilon`"),
            ({"steps": 0}, "`steps` must be a whole number of at least 1"),
            ({"epsilon": 0.1, "step_size": 0.2}, "`step_size` must be a number in (0, 0.1]"),
            ({"input_range": (1, 0)}, "`input_range`"),
            ({"seed": -1}, "`seed` must be a whole number from 0 to 4294967295"),
            ({"random_start": 3}, "`random_start` must be True or False"),
        ],
    )
    def test_bad_settings(self, arguments, message):
        with pytest.raises(InvalidArgumentError) as raised:
            PGD(**arguments)
        assert message in str(raised.value)


class TestBadInput:
    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.zeros((0, 8, 8, 1), np.float32), None, "at least one sample"),
            (np.zeros((3, 8, 8, 1), np.uint8), None, "Scale integer images first"),
            (np.full((3, 8, 8, 1), 2.0), None, "must lie in [0, 1]. Received: values in [2, 2]"),
            (np.full((3, 8, 8, 1), np.nan), None, "must lie in [0, 1]"),
            (np.zeros(3), None, "must have shape (batch, ...)"),
            (np.zeros((3, 8, 8, 1)), np.zeros(2, int), "one label for each of the 3 samples"),
            (np.zeros((3, 8, 8, 1)), -np.ones(3, int), "Received: labels from -1 to -1"),
            (np.zeros((3, 8, 8, 1)), np.full(3, 0.5), "class indices or one-hot rows"),
            (np.zeros((3, 8, 8, 1)), np.eye(7)[:3], "one label for each of the 3 samples. Received: shape=(3, 7)"),
            (np.zeros((3, 8, 8, 1)), np.array(["a", "b", "c"]), "class indices or one-hot rows"),
            (np.zeros((3, 8, 8, 1)), np.full(3, 10), "must lie in [0, 10). Received: labels from 10 to 10"),
        ],
    )
    def test_one_clear_error(self, classifier, x, y, message):
        with pytest.raises(InvalidArgumentError) as raised:
            PGD(0.1).generate(classifier, x, y)
        assert message in str(raised.value)

    def test_model_of_another_shape(self, classifier):
        with pytest.raises(ModelError, match=r"must be a classifier of inputs of shape \(20, 20, 1\)"):
            PGD(0.1).generate(classifier, np.zeros((3, 20, 20, 1), np.float32), np.zeros(3, int))


class TestRegistry:
    def test_get(self):
        assert hk.attacks.get("pgd", epsilon=0.1).epsilon == 0.1
        assert hk.attacks.names() == ["pgd"]

    def test_unknown(self):
        with pytest.raises(InvalidArgumentError, match=r"`attack` must be one of \['pgd'\]. Received: attack='fgsm'"):
            hk.attacks.get("fgsm")


class TestQuantize:
    def test_is_what_an_image_file_holds(self):
        x = np.random.default_rng(0).random((10, 4, 4, 3), np.float32)
        assert np.allclose(quantize(x) * 255, np.round(x * 255), atol=1e-4)
        assert quantize(x).dtype == np.float32

    def test_changes_nothing_twice(self):
        x = quantize(np.random.default_rng(0).random(1000))
        assert np.array_equal(quantize(x), x)
        assert np.array_equal(quantize(np.arange(256) / np.float32(255)), (np.arange(256) / 255).astype(np.float32))

    def test_other_ranges_and_levels(self):
        assert quantize(np.array([-1, -0.1, 0.4, 1]), (-1, 1), levels=3).tolist() == [-1, 0, 0, 1]

    def test_bad_levels(self):
        with pytest.raises(InvalidArgumentError, match="`levels` must be a whole number of at least 2"):
            quantize(np.zeros(3), levels=1)


def test_attack_runs_as_one_graph(classifier, right):
    """No Python loop over steps: the number of steps does not change the size of the graph."""

    def size(steps):
        attack = PGD(0.2, steps=steps)
        attack.generate(classifier, *right)
        return len(attack._compile(classifier, (8, 8, 1)).attack.get_concrete_function().graph.as_graph_def().node)

    assert size(2) == size(50)
