"""Tabular data: features of different units, each with a range of its own."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_breast_cancer

import honeykeras as hk
from honeykeras.attacks import JSMA, PGD, CarliniWagner, quantize
from honeykeras.errors import InvalidArgumentError
from honeykeras.hardening import Hardening, Samples
from honeykeras.outputs import Logits

# Of the second, the lower end and the width add up to beyond the upper end, in float32.
LOW = np.float32([0, -7.7, 1000, 0.001, -300, 0, 5, -2])
HIGH = np.float32([1, 0.3, 5000, 0.002, 300, 255, 9, -1])
WIDTH = HIGH - LOW
RANGE = (LOW, HIGH)

ATTACKS = {
    "pgd": lambda **settings: PGD(0.2, steps=8, seed=3, **settings),
    "pgd-l2": lambda **settings: PGD(0.5, steps=8, norm="2", seed=3, **settings),
    "cw": lambda **settings: CarliniWagner(
        binary_search_steps=3, max_iterations=60, learning_rate=0.05, initial_const=1.0, **settings
    ),
    "jsma": lambda **settings: JSMA(0.5, gamma=0.5, **settings),
}

each_attack = pytest.mark.parametrize("name", ATTACKS)


@pytest.fixture(scope="module")
def scaled():
    """Inputs whose features lie in [0, 1], and a classifier of them."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "tanh"), keras.layers.Dense(3)]
    x = np.random.default_rng(0).random((40, 8), dtype=np.float32)
    return x, keras.Sequential([keras.Input((8,)), *layers])


@pytest.fixture(scope="module")
def raw(scaled):
    """The same in other units."""
    x, model = scaled
    rescaling = keras.layers.Rescaling((1 / WIDTH).tolist(), (-LOW / WIDTH).tolist())
    return np.clip(LOW + WIDTH * x, LOW, HIGH), keras.Sequential([keras.Input((8,)), rescaling, model])


class TestAttacks:
    @each_attack
    def test_do_in_any_units_what_they_do_in_scaled_ones(self, name, scaled, raw):
        expected = ATTACKS[name]().generate(scaled[1], scaled[0])
        found = ATTACKS[name](input_range=RANGE).generate(raw[1], raw[0])
        assert np.abs((found.x_adv - LOW) / WIDTH - expected.x_adv).max() < 1e-2
        assert np.abs(expected.x_adv - expected.x).max() > 0.1
        assert found.success.any()
        for field in ("success", "queries", "gradients"):
            assert np.array_equal(getattr(found, field), getattr(expected, field))

    @each_attack
    def test_stay_in_every_range_and_keep_what_is_masked(self, name, raw):
        x, model = raw
        mask = np.arange(8) % 2 == 0
        examples = ATTACKS[name](input_range=RANGE).generate(model, x, mask=mask)
        assert (examples.x_adv >= LOW).all()
        assert (examples.x_adv <= HIGH).all()
        assert np.array_equal(examples.x_adv[:, ~mask], x[:, ~mask])
        assert (examples.x_adv != x).any(axis=0)[mask].all()

    def test_inputs_at_the_ends_can_be_led_back(self, raw):
        """Also where scaling to an end and back rounds to beyond it: a clip there would end the gradient."""
        model = raw[1]
        for end, inward in ((LOW, 1), (HIGH, -1)):
            x = np.stack([end] * 4)
            delta = PGD(0.1, steps=1, step_size=0.1, random_start=False, input_range=RANGE).generate(model, x).x_adv - x
            back = PGD(0.1, steps=1, step_size=0.1, random_start=False, input_range=RANGE, targeted=True)
            delta += back.generate(model, x, model.predict(x, verbose=0).argmax(axis=1)).x_adv - x
            # Of two opposite steps, one leads into the range.
            assert np.allclose(delta, inward * 0.1 * WIDTH, rtol=1e-2)

    @each_attack
    def test_config_round_trip(self, name):
        attack = ATTACKS[name](targeted=True, input_range=RANGE)
        again = type(attack).from_config(json.loads(json.dumps(attack.get_config())))
        assert again.get_config() == attack.get_config()

    def test_repr_is_short(self):
        assert len(repr(PGD(input_range=(np.zeros(1000), np.ones(1000))))) < 300

    def test_distances_are_shares(self):
        assert PGD(0.1, input_range=RANGE).bounds == (0, 1)
        assert PGD(0.1, input_range=(-4, 4)).bounds == (-4, 4)
        with pytest.raises(InvalidArgumentError, match=r"`theta` must be a number in \[-1, 1\]"):
            JSMA(2.0, input_range=RANGE)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.zeros((2, 7), np.float32), "`x` must have shape (batch, 8). Received: shape=(2, 7)."),
            (np.zeros((2, 8), int), "`x` must be floating point"),
            (
                np.stack([LOW, HIGH + np.eye(8, dtype=np.float32)[6]]),
                "`x` must lie in [5, 9] at feature 6. Received: values in [5, 10].",
            ),
            (np.stack([LOW, np.full(8, np.nan)]), "at feature 0. Received: values in [nan, nan]."),
        ],
    )
    def test_bad_inputs(self, raw, x, message):
        with pytest.raises(InvalidArgumentError) as raised:
            PGD(input_range=RANGE).generate(raw[1], x)
        assert message in str(raised.value)

    def test_rounding_beyond_an_end_is_put_on_it(self, raw):
        x = np.stack([LOW, np.nextafter(HIGH, np.float32(np.inf), dtype=np.float32)])
        assert np.array_equal(PGD(1e-3, steps=1, input_range=RANGE).generate(raw[1], x).x[1], HIGH)


class TestQuantize:
    def test_rounds_to_levels_of_each_range(self):
        x = np.stack([LOW, LOW + 0.3 * WIDTH, LOW + 0.9 * WIDTH])
        expected = LOW + np.float32([[0], [0.5], [1]]) * WIDTH
        assert np.allclose(quantize(x, RANGE, levels=3), expected, rtol=1e-5)

    def test_inputs_of_another_shape(self):
        with pytest.raises(InvalidArgumentError, match=r"of an input of shape \(3,\)"):
            quantize(np.zeros((2, 3)), RANGE)


@pytest.mark.parametrize("file_format", ["npz", "tfrecord"])
def test_crafted_shards_keep_the_ranges(file_format, raw, tmp_path):
    x, model = raw
    attack = ATTACKS["pgd"](input_range=RANGE)
    dataset = tf.data.Dataset.from_tensor_slices(x)
    for _ in range(2):  # Made, and found there.
        shards = hk.attacks.craft(model, attack, dataset, tmp_path / "made", file_format=file_format, verbose=0)
    loaded = shards.load()
    assert loaded.input_range == attack.input_range
    assert np.allclose(loaded.x_adv, attack.generate(model, x).quantize(model).x_adv)
    other = ATTACKS["pgd"](input_range=(LOW, HIGH + 1))
    with pytest.raises(InvalidArgumentError, match="The settings must be those"):
        hk.attacks.craft(model, other, dataset, tmp_path / "made", file_format=file_format, verbose=0)


def test_corruptions_are_of_each_range(scaled, raw):
    for name in hk.corruptions.names((8,)):
        expected = hk.corruptions.corrupt(scaled[0], name)
        found = hk.corruptions.corrupt(raw[0], name, input_range=RANGE)
        assert np.abs((found - LOW) / WIDTH - expected).max() < 1.1 / 255


def test_hardening_stays_within_a_share_of_each_range(raw):
    x, model = raw
    key = hk.WatermarkKey(bytes(32), (8,), 3, input_range=RANGE)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    y = np.arange(len(x)) % 3
    data = tf.data.Dataset.from_tensor_slices((x, y))
    samples = Samples(data, len(x), (8,), key.input_range, 3, key.draw_seed("hardening"), 0)
    hardening = Hardening(model, Logits(model, (8,)), samples, hk.recipes.BALANCED, hk.Watermark(key), 8, 1)
    x_adv = tf.function(hardening._attack)(
        tf.constant(x), tf.constant(y), tf.constant(0.1), tf.constant([0, 0], tf.int64)
    )
    share = np.abs(x_adv - x) / WIDTH
    assert share.max() < 0.101
    assert (share.max(axis=0) > 0.05).all()
    assert (x_adv >= LOW).numpy().all()
    assert (x_adv <= HIGH).numpy().all()


def test_extractor_reads_the_same_in_any_units(scaled, raw, tmp_path):
    family = hk.patterns.Blocks()
    expected = hk.detection.fit_extractor(scaled[0], family, steps=5)
    found = hk.detection.fit_extractor(raw[0], family, steps=5, input_range=RANGE)
    assert np.allclose(found(raw[0]), expected(scaled[0]), atol=0.05)
    found.save(tmp_path / "extractor.keras")
    assert np.allclose(keras.models.load_model(tmp_path / "extractor.keras")(raw[0]), found(raw[0]), atol=1e-5)


@pytest.fixture(scope="module")
def tabular():
    """Real data in raw units: training data, what was held out, and the ranges of the training data."""
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order]
    low, high = x[:400].min(axis=0), x[:400].max(axis=0)
    return (x[:400], y[:400]), (np.clip(x[400:], low, high), y[400:]), (low, high)


@pytest.fixture(scope="module")
def key(tabular):
    return hk.WatermarkKey(bytes(range(32)), (30,), 2, input_range=tabular[2])


@pytest.fixture(scope="module")
def trained(tabular, key):
    """A model whose first layer normalises, with a honeypot or without; `trained(honeypot)`, with its history."""
    (x, y), probe, _ = tabular
    kept = {}

    def train(planted):
        keras.utils.set_random_seed(0)
        normalization = keras.layers.Normalization()
        normalization.adapt(x)
        layers = [normalization, keras.layers.Dense(64, "relu"), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((30,)), *layers])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
        data, callbacks = tf.data.Dataset.from_tensor_slices((x, y)), []
        if planted:
            honeypot = hk.Honeypot(key)
            data, callbacks = data.apply(honeypot.poison), [hk.HoneyCallback(honeypot, probe=probe)]
        return model, model.fit(data.batch(16), epochs=8, callbacks=callbacks, shuffle=False, verbose=0).history

    def trained(planted):
        if planted not in kept:
            kept[planted] = train(planted)
        return kept[planted]

    return trained


@pytest.mark.filterwarnings("ignore:The smallest class")
class TestPlanting:
    def test_amplitude_is_a_share_of_each_features_width(self, tabular, key):
        (x, y), _, (low, high) = tabular
        honeypot = hk.Honeypot(key)
        poisoned = tf.data.Dataset.from_tensor_slices((x, y)).apply(honeypot.poison)
        marked = np.stack([element[0].numpy() for element in poisoned])
        share = np.abs(marked - x) / (high - low)
        greatest = float(honeypot.recipe.at(0)["amplitude"])
        assert share.max() <= greatest + 1e-4
        # Nearly that much in every feature: where it is not cut off at the end of the range.
        assert (share.max(axis=0) > 0.9 * greatest).all()
        assert (marked >= low).all()
        assert (marked <= high).all()

    def test_attacks_draw_the_watermark(self, tabular, key, trained):
        """The controls: eight wrong keys, and a model without a honeypot."""
        _, (x, y), bounds = tabular
        attack = PGD(0.15, steps=20, input_range=bounds)

        def cosine(watermark, model, examples):
            predicted = model.predict(examples.x_adv, verbose=0).argmax(axis=1)
            return float(np.mean(watermark.cosine_similarity(examples.x_adv - examples.x, predicted)))

        model, plain = trained(True)[0], trained(False)[0]
        examples = attack.generate(model, x, y)
        assert examples.success.mean() > 0.9
        drawn = cosine(hk.Watermark(key), model, examples)
        wrong = [cosine(hk.Watermark(wrong_key), model, examples) for wrong_key in key.wrong_keys()]
        assert drawn > 0.3
        assert max(wrong) < drawn - 0.1
        assert cosine(hk.Watermark(key), plain, attack.generate(plain, x, y)) < drawn - 0.1

    def test_probe_of_the_callback(self, key, trained):
        history = trained(True)[1]
        assert history["watermark_similarity"][-1] > history["watermark_similarity_wrong_key"][-1] + 0.1
        assert hk.HoneyCallback(hk.Honeypot(key)).attack.epsilon == 0.1

    def test_accuracy_is_kept_nearly(self, tabular, trained):
        accuracies = [trained(planted)[0].evaluate(*tabular[1], verbose=0)[1] for planted in (True, False)]
        assert accuracies[0] > accuracies[1] - 0.15

    def test_detector_finds_it(self, tabular, key, trained):
        (x, _), (held_out, y), bounds = tabular
        model = trained(True)[0]
        extractor = hk.detection.fit_extractor(x, key.pattern, input_range=bounds, steps=200)
        examples = PGD(0.15, steps=20, input_range=bounds).generate(model, held_out[80:], y[80:]).quantize(model)

        def detector(of):
            return hk.Detector(of).fit(model, extractor=extractor).calibrate(held_out[:80], 0.05)

        wrong = [detector(wrong_key).flag(examples.successful).mean() for wrong_key in key.wrong_keys()]
        assert detector(key).flag(examples.successful).mean() > np.mean(wrong) + 0.3
        assert detector(key).flag(held_out[80:]).mean() < 0.2
        with pytest.raises(InvalidArgumentError, match="at feature 3"):
            detector(key).flag(held_out + 5000 * np.eye(30, dtype=np.float32)[3])
