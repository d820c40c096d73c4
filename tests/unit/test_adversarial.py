"""Adversarial training without a key: what a honeypot is measured by."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.adversarial import adversarial_epochs
from honeykeras.attacks import PGD
from honeykeras.errors import InvalidArgumentError
from honeykeras.hardening import Hardening

SHAPE = (8, 8, 1)


def callback(digits, **settings):
    about = {"input_shape": SHAPE, "num_classes": 10, **settings}
    return hk.AdversarialTraining(digits.train.dataset(), about.pop("epsilon", 0.2), **about)


def fooled(model, digits):
    """The share of test images that PGD fools a model on."""
    return PGD(0.1, 20).generate(model, digits.test.x[:150], digits.test.y[:150]).success.mean()


def test_makes_a_model_harder_to_fool(digits):
    few = dataclasses.replace(digits.reduced(600), epsilon=0.15)
    plain, _ = hk.training.fit_classifier(few, None, epochs=15, batch_size=32)
    hardened, _ = hk.training.fit_classifier(few, None, epochs=15, batch_size=32, adversarial=True)
    assert fooled(hardened, digits) < 0.7 * fooled(plain, digits)
    accuracy = (hardened.predict(digits.test.x, verbose=0).argmax(axis=1) == digits.test.y).mean()
    assert accuracy > 0.8


def test_follows_each_step_of_a_users_own_fit(digits, monkeypatch):
    taken = []
    step = Hardening.step
    monkeypatch.setattr(Hardening, "step", lambda self: (taken.append(self._steps), step(self)))
    model = hk.models.small_cnn(SHAPE, 10, seed=0)
    batches = digits.train.dataset().take(96).batch(32)
    model.fit(batches, epochs=2, callbacks=[callback(digits)], verbose=0, shuffle=False)
    assert len(taken) == 6
    assert set(taken) == {6}


def test_radius_is_a_share_of_the_range(digits):
    x = digits.train.x[:64] * 255
    data = tf.data.Dataset.from_tensor_slices((x, digits.train.y[:64]))
    about = {"input_shape": SHAPE, "num_classes": 10}
    made = hk.AdversarialTraining(data, 51.0, input_range=(0, 255), **about)
    assert made._recipe.adversarial_epsilon == pytest.approx(0.2)


def test_a_seed_repeats_it(digits):
    few = digits.reduced(200)
    weights = [
        hk.training.fit_classifier(few, None, epochs=1, adversarial=True, seed=seed)[0].get_weights()[0]
        for seed in (1, 1, 2)
    ]
    assert np.allclose(weights[0], weights[1], atol=1e-5)
    assert not np.allclose(weights[0], weights[2], atol=1e-3)


def test_goes_on_where_it_was_stopped(digits, tmp_path):
    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                raise KeyboardInterrupt

    few, settings = digits.reduced(200), {"epochs": 2, "adversarial": True, "seed": 1}
    whole, _ = hk.training.fit_classifier(few, None, **settings)
    hardens = keras.callbacks.CallbackList
    append = hardens.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            hardens,
            "__init__",
            lambda self, callbacks=None, **options: append(self, [*(callbacks or []), Stops()], **options),
        )
        with pytest.raises(KeyboardInterrupt):
            hk.training.fit_classifier(few, None, **settings, checkpoints=tmp_path / "kept")
    resumed, _ = hk.training.fit_classifier(few, None, **settings, checkpoints=tmp_path / "kept")
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_takes_as_many_passes_as_the_honeypot():
    """Of the default recipe, each step is one plain and .75 more, of which what is not random is attacked in three."""
    assert adversarial_epochs(dataclasses.replace(hk.recipes.BALANCED, transfer_share=0.0), 700, 1_000) == 310
    # Once, two models see 51,200 images each, and 1,000 are attacked on both in five steps.
    assert adversarial_epochs(hk.recipes.BALANCED, 700, 1_000) == 247
    assert adversarial_epochs(hk.recipes.PAPER, 70, 1_000) == 10
    assert adversarial_epochs(hk.recipes.PAPER, 1, 1_000) == 1
    aligned = dataclasses.replace(hk.recipes.PAPER, alignment=0.1, adversarial_share=1.0)
    assert adversarial_epochs(aligned, 70, 1_000) == 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0}, "`epsilon` must be"),
        ({"epsilon": 2.0}, "`epsilon` must be"),
        ({"steps": 0}, "`steps` must be a whole number"),
        ({"num_classes": 1}, "`num_classes`"),
        ({"num_classes": 5}, "labels must be whole numbers in"),
        ({"input_shape": (9, 9, 1)}, "inputs must have the shape"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_bad_input(digits, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        callback(digits, **settings)


def test_is_no_part_of_a_honeypots_training(digits):
    honeypot = hk.Honeypot(hk.WatermarkKey(bytes(32), SHAPE, 10))
    with pytest.raises(InvalidArgumentError, match="`adversarial` is for a training without a honeypot"):
        hk.training.fit_classifier(digits, honeypot, epochs=1, adversarial=True)
