import keras
import numpy as np
import pytest
from cleverhans.tf2.attacks.carlini_wagner_l2 import CarliniWagnerL2

from honeykeras.attacks import PGD, CarliniWagner
from honeykeras.errors import InvalidArgumentError

# Enough to find something on digits.
SMALL = {"binary_search_steps": 3, "max_iterations": 60, "learning_rate": 0.05, "initial_const": 1.0}


@pytest.fixture
def right(digits, classifier):
    """Test digits that the classifier gets right."""
    x, y = digits.test.x, digits.test.y
    chosen = classifier.predict(x, verbose=0).argmax(axis=1) == y
    return x[chosen][:20], y[chosen][:20]


def l2(x, x_adv):
    return np.linalg.norm((x_adv - x).reshape(len(x), -1), axis=1)


class _KeptOptimizer(CarliniWagnerL2):
    """The original with its optimizer behind a wrapper that mends what breaks on Keras 3, step by step."""

    def __init__(self, *args, zeroed, **kwargs):
        super().__init__(*args, **kwargs)
        self.optimizer = _Adam(self.learning_rate, zeroed)


class _Adam:
    """Keras' Adam as the original expects it: `variables()` can be called, whose values it then sets to zero.

    Args:
        zeroed: Whether the learning rate is among them, as in Keras 3.
    """

    def __init__(self, learning_rate, zeroed):
        self._adam, self._zeroed = keras.optimizers.Adam(learning_rate), zeroed

    def variables(self):
        variables = [variable.value for variable in self._adam.variables]
        return variables if self._zeroed else [v for v in variables if v is not self._adam._learning_rate.value]

    def apply_gradients(self, pairs):
        self._adam.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])


def original(classifier, x, *, zeroed=False, **settings):
    settings = {**SMALL, **settings}
    attack = _KeptOptimizer(lambda t: classifier(t, training=False), zeroed=zeroed, **settings)
    return attack.attack(x)


class TestFaultsOfCleverHans:
    """Each fault is shown on the original, so that the test is known to be able to fail, and not in ours."""

    def test_runs_on_keras_3(self, classifier, right):
        x, y = right
        with pytest.raises(TypeError, match="'list' object is not callable"):
            CarliniWagnerL2(lambda t: classifier(t, training=False), **SMALL).attack(x)
        assert CarliniWagner(**SMALL).generate(classifier, x, y).success.mean() > 0.9

    def test_learning_rate_outlives_the_first_search(self, classifier, right):
        """From the second search on, the original does not move."""
        x, y = right
        searches = {"binary_search_steps": 2, "initial_const": 1e-6}
        stuck = original(classifier, x, zeroed=True, **{**searches, "binary_search_steps": 5})
        assert (classifier.predict(stuck, verbose=0).argmax(axis=1) == y).all()
        found = CarliniWagner(**{**SMALL, "initial_const": 1e-3, "binary_search_steps": 5}).generate(classifier, x, y)
        assert found.success.mean() > 0.9

    def test_images_do_not_depend_on_their_batch(self, classifier, right):
        x, y = right
        # So small that images differ in how much of it they need.
        settings = {**SMALL, "binary_search_steps": 4, "initial_const": 0.01}

        def deviation(attack):
            alone = np.concatenate([l2(x[[i]], attack(x[[i]], y[[i]])) for i in range(3)])
            return np.abs(alone / l2(x, attack(x, y))[:3] - 1).max()

        ours = CarliniWagner(**settings)
        assert deviation(lambda x, _: original(classifier, x, **settings)) > 0.01
        assert deviation(lambda x, y: ours.generate(classifier, x, y).x_adv) < 0.01

    def test_true_labels_are_no_targets(self, classifier, right):
        x, y = right
        reached = original(classifier, x, y=y, targeted=False)
        assert (classifier.predict(reached, verbose=0).argmax(axis=1) == y).all()
        assert CarliniWagner(**SMALL).generate(classifier, x, y).success.mean() > 0.9


class TestSearch:
    def test_finds_the_nearest_point_behind_a_plane(self):
        """For a linear model it is known: the distance to the boundary."""
        rng = np.random.default_rng(0)
        direction = rng.normal(size=30).astype(np.float32)
        model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(2, use_bias=False)])
        model.set_weights([np.stack([direction, -direction], axis=1)])
        x = rng.uniform(-0.6, 0.6, size=(20, 30)).astype(np.float32)
        examples = CarliniWagner(input_range=(-1, 1), initial_const=0.1, learning_rate=0.002).generate(model, x)
        distance = np.abs(x @ direction) / np.linalg.norm(direction)
        assert examples.success.all()
        assert (l2(x, examples.x_adv) < distance * 1.02 + 1e-3).all()
        assert (l2(x, examples.x_adv) > distance * 0.999).all()

    def test_nearer_than_pgd(self, classifier, right):
        """At an epsilon where PGD fools half, less than half need that much."""
        x, y = right
        nearest = CarliniWagner(initial_const=0.1).generate(classifier, x, y)
        distances = l2(x, nearest.x_adv)
        assert nearest.success.all()
        pgd = PGD(float(np.median(distances)), norm="2", step_size=0.1, restarts=3).generate(classifier, x, y)
        assert pgd.success.mean() <= np.mean(distances <= np.median(distances)) + 0.1

    @pytest.mark.parametrize("targeted", [False, True])
    def test_confidence_is_reached(self, classifier, right, targeted):
        x, y = right
        labels = (y + 1) % 10 if targeted else y
        attack = CarliniWagner(2.0, targeted=targeted, **{**SMALL, "max_iterations": 300})
        examples = attack.generate(classifier, x, labels)
        logits = classifier.predict(examples.successful, verbose=0)
        labels = labels[examples.success]
        own = logits[np.arange(len(labels)), labels]
        logits[np.arange(len(labels)), labels] = -np.inf
        margin = (own - logits.max(axis=1)) * (1 if targeted else -1)
        assert len(margin) > 15
        assert margin.min() > 2 - 1e-3

    def test_more_constants_come_no_farther(self, classifier, right):
        few, many = (
            CarliniWagner(**{**SMALL, "binary_search_steps": steps}).generate(classifier, *right) for steps in (2, 5)
        )
        assert few.success.all()
        assert (l2(right[0], many.x_adv) <= l2(right[0], few.x_adv) + 1e-3).all()

    @pytest.mark.parametrize(("iterations", "steps"), [(1, 2), (50, 1), (61, 2)])
    def test_takes_exactly_its_iterations(self, classifier, right, iterations, steps):
        """Also where progress is looked at at other times."""
        attack = CarliniWagner(max_iterations=iterations, binary_search_steps=steps, abort_early=False)
        examples = attack.generate(classifier, *right)
        assert (examples.gradients == iterations * steps).all()
        assert (examples.queries == iterations * steps + 1).all()

    def test_early_abort_costs_little(self, classifier, right):
        x, y = right
        slow, fast = (
            CarliniWagner(initial_const=1.0, max_iterations=400, abort_early=early).generate(classifier, x, y)
            for early in (False, True)
        )
        assert fast.gradients.mean() < 0.9 * slow.gradients.mean()
        assert l2(x, fast.x_adv).mean() < 1.03 * l2(x, slow.x_adv).mean()

    def test_images_leave_when_they_are_done(self, classifier, right):
        gradients = CarliniWagner(initial_const=1.0).generate(classifier, *right).gradients
        assert len(set(gradients)) > 3
        assert gradients.max() < 5000

    def test_nothing_found_returns_the_input(self, classifier, right):
        examples = CarliniWagner(max_iterations=2, binary_search_steps=1).generate(classifier, *right)
        assert not examples.success.any()
        assert np.array_equal(examples.x_adv, right[0])

    @pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 255)])
    def test_settings_mean_the_same_in_every_range(self, classifier, right, low, high):
        x, y = right
        scaled = keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / (high - low), -low / (high - low)), classifier]
        )
        expected = CarliniWagner(**SMALL).generate(classifier, x, y)
        examples = CarliniWagner(**SMALL, input_range=(low, high)).generate(scaled, low + x * (high - low), y)
        assert np.array_equal(examples.success, expected.success)
        assert l2(x, (examples.x_adv - low) / (high - low)).mean() == pytest.approx(
            l2(x, expected.x_adv).mean(), rel=0.02
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence": -1}, "`confidence` must be a number in [0, inf). Received: confidence=-1."),
        ({"binary_search_steps": 0}, "`binary_search_steps` must be a whole number of at least 1"),
        ({"max_iterations": 1.5}, "`max_iterations` must be a whole number of at least 1"),
        ({"learning_rate": 0}, "`learning_rate` must be a number in (0, inf)"),
        ({"initial_const": 0}, "`initial_const` must be a number in (0, 1e+10]"),
        ({"abort_early": 1}, "`abort_early` must be True or False"),
        ({"targeted": "yes"}, "`targeted` must be True or False"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(InvalidArgumentError) as raised:
        CarliniWagner(**arguments)
    assert message in str(raised.value)
