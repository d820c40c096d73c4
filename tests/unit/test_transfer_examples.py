"""Images that were attacked on other models, and a model that keeps its labels on them."""

import dataclasses

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras import transfer_examples
from honeykeras.adversarial import adversarial_epochs
from honeykeras.errors import InvalidArgumentError
from honeykeras.ranges import InputRange

RECIPE = dataclasses.replace(hk.recipes.BALANCED, follow_data=False, random_share=0.0, transfer_share=0.0)
# But for them, as good as a plain training.
ALONE = dataclasses.replace(RECIPE, poison_rate=0.0, alignment=0.0, adversarial_epsilon=0.02, adversarial_steps=1)


def dense(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def plain(digits):
    """Three models that differ in weights and order."""
    models = [dense(seed) for seed in range(3)]
    for model in models:
        model.fit(digits.train.x, digits.train.y, epochs=10, batch_size=32, verbose=0)
    return models


class TestMake:
    def test_images_lie_near_and_keep_their_labels(self, plain, digits):
        batches = [(digits.train.x[:40], digits.train.y[:40]), (digits.train.x[40:60], digits.train.y[40:60])]
        made = transfer_examples.make(batches, plain[:2], 0.2, InputRange(0.0, 1.0), 7)
        assert made.levels.shape == (120, 8, 8, 1)
        assert made.levels.dtype == np.uint8
        np.testing.assert_array_equal(made.labels, np.concatenate([y for _, y in batches for _ in range(2)]))
        assert np.abs(made.levels[:40] / 255 - digits.train.x[:40]).max() <= 0.2 + 0.5 / 255 + 1e-6
        again = transfer_examples.make(batches, plain[:2], 0.2, InputRange(0.0, 1.0), 7)
        np.testing.assert_array_equal(made.levels, again.levels)
        wrong = plain[0].predict(made.levels[:40] / 255, verbose=0).argmax(axis=1) != made.labels[:40]
        assert wrong.mean() > 0.8

    def test_in_another_range(self, plain, digits):
        scaled = [(digits.train.x[:20] * 255, digits.train.y[:20])]
        rescale = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), plain[0]])
        made = transfer_examples.make(scaled, [rescale], 0.2, InputRange(0.0, 255.0), 7)
        other = transfer_examples.make(
            [(digits.train.x[:20], digits.train.y[:20])], plain[:1], 0.2, InputRange(0.0, 1.0), 7
        )
        assert np.abs(made.levels.astype(int) - other.levels).mean() < 2


@pytest.mark.filterwarnings("ignore::honeykeras.errors.PlantingWarning")
def test_a_model_keeps_its_labels_on_them(plain, digits):
    """What is made on a model that was not among the surrogates fools it less."""

    def fooled(share):
        honeypot = hk.Honeypot(
            hk.WatermarkKey(bytes(range(32)), (8, 8, 1), 10),
            dataclasses.replace(ALONE, name="tried", transfer_share=share, transfer_epsilon=0.15),
        )
        model = dense(9)
        batches = digits.train.dataset().apply(honeypot.poison).shuffle(2000, seed=1).batch(32)
        model.fit(
            batches,
            epochs=12,
            verbose=0,
            callbacks=[hk.HoneyCallback(honeypot, surrogates=plain[:2] if share else ())],
        )
        x_adv = hk.attacks.PGD(epsilon=0.15).generate(plain[2], digits.test.x[:200], digits.test.y[:200]).x_adv
        return (model.predict(x_adv, verbose=0).argmax(axis=1) != digits.test.y[:200]).mean()

    without, with_them = fooled(0.0), fooled(0.6)
    assert with_them < without - 0.1


class TestMistakes:
    @pytest.fixture
    def honeypot(self):
        key = hk.WatermarkKey(bytes(range(32)), (8, 8, 1), 10)
        return lambda recipe: hk.Honeypot(key, recipe)

    def test_surrogates_are_for_recipes_that_have_a_share(self, honeypot, plain):
        with pytest.raises(InvalidArgumentError, match="`surrogates` must be left out if the recipe has no"):
            hk.HoneyCallback(honeypot(RECIPE), surrogates=plain)

    def test_shares_are_parts_of_one_whole(self):
        with pytest.raises(InvalidArgumentError, match="must together be at most 1"):
            dataclasses.replace(RECIPE, random_share=0.5, transfer_share=0.6)
        with pytest.raises(InvalidArgumentError, match="`transfer_share` must be a number in"):
            dataclasses.replace(RECIPE, transfer_share=1.5)


@pytest.mark.filterwarnings("ignore::honeykeras.errors.PlantingWarning")
class TestOfItsOwn:
    """What the callback does where it is given no surrogates."""

    @pytest.fixture
    def poisoned(self, digits):
        honeypot = hk.Honeypot(hk.WatermarkKey(bytes(range(32)), (8, 8, 1), 10), "balanced")
        return honeypot, digits.train.dataset().apply(honeypot.poison).batch(64)

    @pytest.fixture
    def fit(self, poisoned, surrogates_of_few_steps, monkeypatch):
        """Weights after an epoch."""
        monkeypatch.setattr("honeykeras._progress._DELAY", 0.0)
        honeypot, batches = poisoned

        def fit(verbose):
            model = dense(9)
            model.fit(batches, epochs=1, verbose=verbose, shuffle=False, callbacks=[hk.HoneyCallback(honeypot)])
            return model.get_weights()

        return fit

    def test_trains_them_and_draws_alike_each_time(self, fit, capsys):
        for one, other in zip(fit(verbose=0), fit(verbose=0), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert capsys.readouterr().err == ""

    def test_says_so(self, fit, capsys):
        fit(verbose=2)
        assert "Training models to be attacked" in capsys.readouterr().err

    def test_no_attack_no_gradient_of_the_model(self, plain, digits, monkeypatch):
        """A recipe may follow nothing of the model's own gradient, neither attack nor alignment."""
        recipe = dataclasses.replace(hk.recipes.BALANCED, adversarial_epsilon=0.0)
        honeypot = hk.Honeypot(hk.WatermarkKey(bytes(32), (8, 8, 1), 10), recipe)
        batches = digits.train.dataset().apply(honeypot.poison).batch(64)
        for name in ("_attack", "_alignment"):
            monkeypatch.setattr(f"honeykeras.hardening.Hardening.{name}", None)
        history = dense(9).fit(
            batches, epochs=1, verbose=0, callbacks=[hk.HoneyCallback(honeypot, surrogates=plain[:2])]
        )
        assert np.isfinite(history.history["loss"]).all()


def test_the_anchor_gets_the_surrogates_passes_too():
    """With no attack, 70 epochs take 70 * 1.75 passes; before, on 100,000 images, 1.4, and 112 on 1,000."""
    still = dataclasses.replace(hk.recipes.BALANCED, adversarial_epsilon=0.0, random_share=0.5, transfer_share=0.5)
    few, many = (adversarial_epochs(still, 70, samples) for samples in (1_000, 100_000))
    assert (few, many) == (34, 18)
