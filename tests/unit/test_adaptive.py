"""Attackers who know of the honeypot, on classifiers whose ways out are known by construction."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from honeykeras.attacks import JSMA, PGD, CarliniWagner
from honeykeras.attacks.adaptive import Guarded, avoiding
from honeykeras.errors import InvalidArgumentError

SHAPE = (6, 6, 1)
RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.choice([-1.0, 1.0], (2, *SHAPE)).astype(np.float32)
SECOND -= FIRST * (FIRST * SECOND).mean()


def linear(*directions):
    """Class 0 against one class for each direction, which inputs reach by moving along it; the first soonest."""
    weights = np.stack([0 * FIRST.ravel(), *(direction.ravel() for direction in directions)], axis=1)
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(weights.shape[1])])
    model.set_weights([weights, np.array([0.0, *(-1.0 - 2 * place for place in range(len(directions)))])])
    return model


ATTACKS = {
    "pgd": PGD(0.15, steps=15),
    "pgd-l2": PGD(0.8, steps=15, norm="2"),
    "cw": CarliniWagner(
        confidence=0.1, binary_search_steps=3, max_iterations=100, learning_rate=0.1, initial_const=1.0
    ),
}


@pytest.fixture
def x():
    """Around the middle of the range, without a part in either direction: all of class 0."""
    noise = 0.05 * np.random.default_rng(1).standard_normal((20, *SHAPE)).astype(np.float32)
    for direction in (FIRST, SECOND):
        unit = direction / np.linalg.norm(direction)
        noise -= np.tensordot(noise, unit, 3)[:, None, None, None] * unit
    return 0.5 + noise


def centred(model):
    """With the biases moved so that grey is where the boundaries were for zero."""
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias - 0.5 * kernel.sum(axis=0)])
    return model


def parts(delta, direction):
    """Cosines of perturbations and a direction."""
    flat = delta.reshape(len(delta), -1)
    return flat @ direction.ravel() / np.linalg.norm(flat, axis=1) / np.linalg.norm(direction)


@pytest.mark.parametrize("name", ATTACKS)
class TestAvoiding:
    def test_goes_another_way(self, name, x):
        model = centred(linear(FIRST + 0.6 * SECOND))
        y = np.zeros(len(x), np.int64)
        usual = ATTACKS[name].generate(model, x, y)
        avoided = avoiding(ATTACKS[name], FIRST[None]).generate(model, x, y)
        assert usual.success.all()
        assert parts(usual.delta, FIRST).min() > 0.3
        assert avoided.success.all()
        assert np.abs(parts(avoided.delta, FIRST)).max() < 0.02
        assert parts(avoided.delta, SECOND).min() > 0.3

    def test_finds_nothing_where_there_is_no_other_way(self, name, x):
        model = centred(linear(FIRST))
        y = np.zeros(len(x), np.int64)
        assert ATTACKS[name].generate(model, x, y).success.all()
        assert not avoiding(ATTACKS[name], FIRST[None]).generate(model, x, y).success.any()

    def test_only_the_span_counts(self, name, x):
        model = centred(linear(FIRST + 0.6 * SECOND))
        y = np.zeros(len(x), np.int64)
        once = avoiding(ATTACKS[name], FIRST[None]).generate(model, x, y).x_adv
        many = avoiding(ATTACKS[name], np.stack([FIRST, -3 * FIRST, 0 * FIRST])).generate(model, x, y).x_adv
        assert np.abs(once - many).max() < 1e-3

    def test_settings_are_the_attacks_and_tell_nothing(self, name, x):
        attack = ATTACKS[name]
        avoided = avoiding(attack, FIRST[None])
        assert avoided.get_config() == attack.get_config()
        assert type(attack) in (PGD, CarliniWagner)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_stays_in_ball_and_range_where_the_range_cuts_off(norm):
    x = np.random.default_rng(2).choice([0.0, 1.0], (10, *SHAPE)).astype(np.float32)
    attack = PGD(0.3, steps=5, norm=norm)
    x_adv = avoiding(attack, np.stack([FIRST, SECOND])).generate(linear(FIRST, SECOND), x).x_adv
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    size = np.abs(x_adv - x).max() if norm == "inf" else np.linalg.norm((x_adv - x).reshape(10, -1), axis=1).max()
    assert size <= 0.3 + 1e-5


def test_a_saliency_map_has_no_directions():
    with pytest.raises(InvalidArgumentError, match=r"must be one of \['CarliniWagner', 'PGD'\] to keep off"):
        avoiding(JSMA(), FIRST[None])


class TestGuarded:
    @staticmethod
    def statistics(x):
        """How much of the first direction there is, whatever the class."""
        product = tf.tensordot(x - 0.5, tf.constant(FIRST), 3)
        return tf.repeat(tf.cast(product, tf.float64)[:, None], 3, axis=1)

    def test_is_the_model_where_nothing_would_be_flagged(self, x):
        model = centred(linear(FIRST, SECOND))
        guarded = Guarded(model, self.statistics, threshold=1.0, weight=5.0, input_shape=SHAPE)
        assert np.abs(guarded.predict(x, verbose=0) - model.predict(x, verbose=0)).max() < 1e-5

    def test_falls_with_the_excess(self, x):
        model = centred(linear(FIRST, SECOND))
        guarded = Guarded(model, self.statistics, threshold=1.0, weight=5.0, input_shape=SHAPE)
        marked = x + 0.1 * FIRST
        excess = self.statistics(marked).numpy() - 1
        assert np.all(excess > 0.5)
        assert np.abs(guarded.predict(marked, verbose=0) - (model.predict(marked, verbose=0) - 5 * excess)).max() < 1e-4

    @pytest.mark.parametrize("name", ["pgd", "cw"])
    def test_attack_finds_what_is_not_flagged(self, name, x):
        """One way to the other class is watched, the second is not."""
        model = centred(linear(FIRST + 0.6 * SECOND))

        def watched(x):
            return self.statistics(x)[:, :2] * tf.constant([0.0, 1.0], tf.float64)

        guarded = Guarded(model, watched, threshold=0.2, weight=2.0, input_shape=SHAPE)
        y = np.zeros(len(x), np.int64)
        attack = PGD(1.0, 80, 0.02, norm="2") if name == "pgd" else ATTACKS[name]
        usual = attack.generate(model, x, y)
        evading = attack.generate(guarded, x, y)
        assert np.all(watched(usual.successful)[:, 1] > 0.5)
        assert np.mean(model.predict(evading.x_adv, verbose=0).argmax(axis=1) == 1) > 0.9
        # A step beyond the threshold, at most.
        assert np.mean(watched(evading.x_adv)[:, 1] < 0.4) > 0.9
