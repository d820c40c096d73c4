import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import honeykeras as hk
from honeykeras.detection import (
    KINDS,
    FullDetector,
    LogisticDetector,
    PaperDetector,
    Samples,
    conformal_threshold,
    fit_extractor,
)
from honeykeras.detection.extractor import build_extractor
from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.outputs import predict_labels


@pytest.fixture
def samples(key):
    """Clean images, and images with a faint watermark."""
    rng = np.random.default_rng(0)
    clean = rng.random((3000, 6, 6, 1), dtype=np.float32)
    return clean[:1500], hk.Watermark(key).apply(clean[1500:], 0.8).numpy()


@pytest.fixture(scope="module")
def model():
    """A classifier that says something of each image; nothing here depends on what."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])


@pytest.fixture
def detector(key, samples, model):
    clean, marked = samples
    return fit(key, model, clean[:500], marked[:500]).calibrate(clean[500:1000], 0.05)


def fit(key, model, clean, marked):
    return PaperDetector(key).fit(model, Samples(clean, adversarial=marked))


class TestThreshold:
    @pytest.mark.parametrize("max_fpr", [0.01, 0.05, 0.2])
    def test_keeps_the_rate_on_average(self, max_fpr):
        """Over many calibrations: the mean realised rate is at most the stated one, and not far below."""
        rng = np.random.default_rng(0)
        rates = [
            np.mean(rng.normal(size=2000) > conformal_threshold(rng.normal(size=300), max_fpr)) for _ in range(400)
        ]
        assert np.mean(rates) <= max_fpr + 3 * np.std(rates) / 20
        assert np.mean(rates) >= max_fpr - 1 / 300 - 3 * np.std(rates) / 20

    def test_is_the_stated_order_statistic(self):
        assert conformal_threshold(np.arange(99.0), 0.05) == 94
        assert conformal_threshold(np.arange(19.0), 0.05) == 18
        assert conformal_threshold(np.arange(999.0)[::-1], 0.01) == 989

    def test_ties_are_not_flagged(self):
        scores = np.array([0.0] * 50 + [1.0] * 50)
        assert np.mean(scores > conformal_threshold(scores, 0.1)) == 0

    def test_too_few_scores(self):
        with pytest.raises(InvalidArgumentError, match=r"on at least 99 clean inputs. Received: 98"):
            conformal_threshold(np.zeros(98), 0.01)

    @pytest.mark.parametrize("max_fpr", [0, 1, -0.1, 1.5, float("nan"), None])
    def test_bad_rate(self, max_fpr):
        with pytest.raises(InvalidArgumentError, match=r"`max_fpr` must be a number in \(0, 1\)"):
            conformal_threshold(np.zeros(100), max_fpr)


class TestPaperDetector:
    def test_tells_the_watermark_and_keeps_the_rate(self, detector, samples):
        clean, marked = samples
        assert detector.flag(marked[1000:]).mean() > 0.9
        assert detector.flag(clean[1000:]).mean() < 0.1

    def test_a_wrong_key_does_not(self, key, model, samples):
        """The control: a watermark at other features is not seen."""
        clean, marked = samples
        wrong = next(
            wrong_key
            for wrong_key in map(key.wrong_key, range(1000))
            if not (hk.Watermark(wrong_key).patterns().numpy() * hk.Watermark(key).patterns().numpy()).any()
        )
        detector = fit(wrong, model, clean[:500], marked[:500]).calibrate(clean[500:1000], 0.05)
        assert detector.flag(marked[1000:]).mean() < 0.15

    def test_uses_the_keys_features_only(self, key, detector, samples):
        x = samples[0][:10]
        elsewhere = np.where(hk.Watermark(key).patterns().numpy()[0] == 0, 1 - x, x)
        assert np.array_equal(detector.score(elsewhere), detector.score(x))

    def test_fitting_again_voids_the_threshold(self, detector, model, samples):
        detector.fit(model, Samples(samples[0], adversarial=samples[1]))
        with pytest.raises(InvalidArgumentError, match="must be calibrated first"):
            detector.flag(samples[0])

    @pytest.mark.parametrize("action", ["score", "flag", "calibrate", "layer"])
    def test_must_be_fitted_first(self, key, samples, action):
        arguments = {"score": (samples[0],), "flag": (samples[0],), "calibrate": (samples[0], 0.1), "layer": ()}[action]
        with pytest.raises(InvalidArgumentError, match="must be fitted first"):
            getattr(PaperDetector(key), action)(*arguments)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.zeros((3, 5, 5, 1), np.float32), "must have shape (batch, 6, 6, 1). Received: shape=(3, 5, 5, 1)"),
            (np.zeros((0, 6, 6, 1), np.float32), "at least one sample"),
            (np.zeros((3, 6, 6, 1), int), "must be floating point"),
            (np.full((3, 6, 6, 1), 7.0), "must lie in [0, 1]"),
        ],
    )
    def test_bad_inputs(self, key, detector, model, samples, x, message):
        for attempt in (
            lambda: detector.score(x),
            lambda: fit(key, model, x, samples[1]),
            lambda: fit(key, model, samples[0], x),
            lambda: detector.calibrate(x, 0.1),
        ):
            with pytest.raises(InvalidArgumentError) as raised:
                attempt()
            assert message in str(raised.value)

    def test_repr_holds_no_secret(self, key, detector):
        assert repr(detector) == f"PaperDetector(key_id='{key.key_id}')"


class TestKeyScores:
    """On a key with a pattern for each class, and marked images of which each carries that of its class."""

    @pytest.fixture(scope="class")
    @staticmethod
    def blocks():
        return hk.WatermarkKey(bytes(32), (6, 6, 1), 4)

    @pytest.fixture(scope="class")
    @staticmethod
    def clean():
        rng = np.random.default_rng(0)
        # Smooth, as images are.
        coarse = rng.random((4000, 3, 3, 1), dtype=np.float32)
        return hk.attacks.quantize(tf.image.resize(coarse, (6, 6)).numpy())

    @pytest.fixture(scope="class")
    @staticmethod
    def extractor(blocks, clean):
        return fit_extractor(clean, blocks.pattern, steps=150)

    @pytest.fixture(scope="class")
    @staticmethod
    def marked(blocks, clean, model):
        """What an attack makes that draws the pattern of the class to which it leads."""
        watermark = hk.Watermark(blocks)
        x = watermark.apply(clean[3000:], 0.25, np.arange(1000) % 4).numpy()
        led_to = predict_labels(model, x) == np.arange(1000) % 4
        return hk.attacks.quantize(x[led_to])

    @pytest.fixture(scope="class")
    @staticmethod
    def detector(blocks, clean, extractor, model):
        return hk.Detector(blocks).fit(model, extractor=extractor).calibrate(clean[:1500], 0.05)

    def test_finds_the_watermark_and_keeps_the_rate(self, detector, clean, marked):
        assert detector.flag(marked).mean() > 0.7
        assert detector.flag(clean[1500:3000]).mean() < 0.08

    def test_a_wrong_key_does_not(self, blocks, clean, detector, model, marked):
        """The control, on average: with so few dimensions, one or the other wrong key is like the right one."""
        found = [
            detector.for_key(wrong_key).fit(model).calibrate(clean[:1500], 0.05).flag(marked).mean()
            for wrong_key in map(blocks.wrong_key, range(24))
        ]
        assert np.mean(found) < 0.2

    @pytest.mark.parametrize("kind", [LogisticDetector, FullDetector])
    def test_learning_kinds(self, kind, blocks, clean, extractor, model, marked):
        half = len(marked) // 2
        detector = kind(blocks).fit(model, Samples(clean[:1000], adversarial=marked[:half]), extractor=extractor)
        detector.calibrate(clean[1000:2000], 0.05)
        assert detector.flag(marked[half:]).mean() > 0.7
        assert detector.flag(clean[2000:3000]).mean() < 0.09
        x = np.concatenate([clean[:200], marked[:200]])
        found = detector.layer()(x, model(x))
        assert np.abs(found["score"].numpy() - detector.score(x)).max() < 1e-4
        assert np.array_equal(found["flag"], detector.flag(x))

    def test_kinds_say_what_they_show(self):
        assert {name: kind.key_specific for name, kind in KINDS.items()} == {
            "key": True,
            "logistic": True,
            "full": False,
            "paper": False,
            "trapdoor": False,
        }

    def test_scores_of_unrelated_keys_are_standard(self, blocks, clean, extractor, model):
        """Whatever the input: over many keys, each score has mean 0 and variance 1."""
        rng = np.random.default_rng(0)
        x = np.concatenate([clean[:20], rng.random((20, 6, 6, 1), dtype=np.float32)])
        detector, outputs = hk.Detector(blocks).fit(model, extractor=extractor), model(x)
        codes = (tf.constant(blocks.wrong_key(number).draw_codes().ravel(), tf.float64) for number in range(300))
        scores = [detector.key_scores(x, outputs, each) for each in codes]
        assert np.abs(np.mean(scores, axis=0)).max() < 5 / np.sqrt(300)
        assert np.abs(np.var(scores, axis=0) - 1).max() < 5 * np.sqrt(2 / 300)

    def test_layer_is_the_detector(self, detector, clean, marked, model):
        """Within 1e-5, and the same flags, on thousands of inputs."""
        x = np.concatenate([clean, marked])
        found = detector.layer()(x, model.predict(x, verbose=0))
        assert np.abs(found["score"].numpy() - detector.score(x)).max() < 1e-5
        assert np.array_equal(found["flag"], detector.flag(x))

    def test_extractor_can_be_kept(self, blocks, detector, clean, model, tmp_path):
        """It holds no secret: a detector made with it anew decides alike."""
        hk.models.save(detector.extractor, tmp_path / "extractor.keras")
        kept = hk.models.load(tmp_path / "extractor.keras")
        again = hk.Detector(blocks).fit(model, extractor=kept).calibrate(clean[:1500], 0.05)
        assert np.allclose(again.score(clean[:100]), detector.score(clean[:100]), atol=1e-6)

    @pytest.mark.parametrize(("shape", "size"), [((29, 25, 1), 1), ((28, 28, 1), 1), ((64, 49, 3), 3), ((7, 5, 2), 1)])
    def test_extractor_tells_of_each_block(self, shape, size):
        """Where one step is several blocks, and where neither goes into an image's sides, too."""
        family = hk.patterns.Blocks(size)
        extractor = build_extractor(shape, family)
        views = extractor(np.zeros((2, *shape), np.float32))
        assert views.shape == (2, 2, math.prod(family.code_shape(shape)))

    def test_extractor_repeats(self, blocks, clean):
        first, second = (fit_extractor(clean, blocks.pattern, steps=3, seed=7) for _ in range(2))
        assert np.allclose(first.predict(clean[:5], verbose=0), second.predict(clean[:5], verbose=0), atol=1e-5)

    def test_vectors(self):
        """Tabular features: no blocks, no convolutions."""
        rng = np.random.default_rng(0)
        mixed = rng.normal(size=(3000, 40)) @ rng.normal(size=(40, 40)) / 40
        x = np.clip(0.5 + mixed, 0, 1).astype(np.float32)
        key = hk.WatermarkKey(bytes(32), (40,), 2)
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(2)])
        detector = hk.Detector(key).fit(model, x).calibrate(x[:1500], 0.05)
        marked = hk.Watermark(key).apply(x[1500:], 0.15, predict_labels(model, x[1500:])).numpy()
        same = predict_labels(model, marked) == predict_labels(model, x[1500:])
        assert detector.flag(marked[same]).mean() > 0.5
        assert detector.flag(x[1500:]).mean() < 0.08

    def test_bad_use(self, key, blocks, clean, extractor, model):
        with pytest.raises(InvalidArgumentError, match="needs a key of the family 'blocks'"):
            hk.Detector(key)
        with pytest.raises(InvalidArgumentError, match="needs a key of the family 'blocks'"):
            fit_extractor(clean, key.pattern)
        with pytest.raises(InvalidArgumentError, match="either clean inputs to train an extractor on, or one"):
            hk.Detector(blocks).fit(model)
        with pytest.raises(InvalidArgumentError, match="must be fitted first"):
            hk.Detector(blocks).extractor  # noqa: B018 - the property raises
        other = hk.WatermarkKey(bytes(32), (8, 8, 1), 4)
        with pytest.raises(InvalidArgumentError, match="`extractor` must be one for inputs of shape"):
            hk.Detector(other).fit(hk.models.small_cnn((8, 8, 1), 4), extractor=extractor)
        with pytest.raises(InvalidArgumentError, match="`steps` must be a whole number"):
            fit_extractor(clean, blocks.pattern, steps=0)


@pytest.mark.parametrize("max_fpr", [0.01, 0.05])
def test_rate_on_untouched_clean_images_over_ten_seeds(digits, classifier, watermark_key, extractor, max_fpr):
    """Split-conformal: of `m` further images, beta-binomially many are flagged (Vovk 2012, section 2)."""
    detector = hk.Detector(watermark_key).fit(classifier, extractor=extractor)
    x = np.concatenate([digits.detector.x, digits.calibration.x, digits.test.x])
    n, m = 500, len(x) - 500
    above = n + 1 - np.ceil(round((n + 1) * (1 - max_fpr), 9))
    expected = stats.betabinom(m, above, n + 1 - above)
    counts = []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(x))
        counts.append(detector.calibrate(x[order[:n]], max_fpr).flag(x[order[n:]]).sum())
    assert expected.ppf(5e-4) <= min(counts)
    assert max(counts) <= expected.ppf(1 - 5e-4)
    # Orders are independent, so that the counts are, too.
    assert abs(np.mean(counts) - expected.mean()) < 2.6 * expected.std() / np.sqrt(10)


def outputs(x):
    """What a classifier might say; the paper's detector does not look at it."""
    return tf.zeros([tf.shape(x)[0], 4])


def _graph(function, *specs):
    return tf.function(function).get_concrete_function(*specs).graph.as_graph_def().SerializeToString()


class TestLayer:
    def test_equals_the_detector(self, detector, samples):
        """Scores within 1e-6, and the same flags, on thousands of inputs."""
        x = np.concatenate(samples)
        found = detector.layer()(x, outputs(x))
        assert np.abs(found["score"].numpy() - detector.score(x)).max() < 1e-6
        assert np.array_equal(found["flag"], detector.flag(x))
        assert 0 < np.mean(found["flag"]) < 1
        assert (found["score"].dtype, found["flag"].dtype) == ("float32", "bool")

    def test_equals_the_detector_where_scores_are_high(self, key, model, samples):
        clean, _ = samples
        strong = hk.Watermark(key).apply(clean, 1.0).numpy()
        detector = fit(key, model, clean, strong).calibrate(clean, 0.05)
        found = detector.layer()(strong, outputs(strong))
        assert np.abs(found["score"].numpy() - detector.score(strong)).max() < 1e-6
        assert np.array_equal(found["flag"], detector.flag(strong))

    def test_runs_in_a_model(self, detector, samples):
        inputs = keras.Input((6, 6, 1))
        model = keras.Model(inputs, detector.layer()(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs))))
        found = model.predict(samples[0], verbose=0)
        assert np.array_equal(found["flag"], detector.flag(samples[0]))

    def test_traces_once_for_any_batch(self, detector, samples):
        layer, traces = detector.layer(), []

        @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 1])])
        def call(x):
            traces.append(x)
            return layer(x, outputs(x))

        for count in (1, 64, 500):
            assert call(samples[0][:count])["score"].shape == (count,)
        assert len(traces) == 1

    def test_has_no_variables(self, detector, samples):
        layer = detector.layer()
        layer(samples[0], outputs(samples[0]))
        assert layer.weights == []

    @pytest.mark.parametrize("export", [lambda model, path: model.export(path, verbose=False), tf.saved_model.save])
    def test_cannot_be_exported(self, detector, tmp_path, export):
        """Either the layer is asked and refuses, or TensorFlow finds a resource that nobody may save."""
        inputs = keras.Input((6, 6, 1))
        model = keras.Model(inputs, detector.layer()(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs))))
        with pytest.raises((SecretSerializationError, AssertionError), match=r"in the clear|untracked"):
            export(model, str(tmp_path / "model"))
        assert not list(tmp_path.rglob("*.pb"))
        assert not list(tmp_path.rglob("variables*"))

    def test_is_in_no_constant_of_a_graph(self, key, detector, samples):
        """What a graph dump for TensorBoard would show; the control is a watermark, which is there."""
        layer, watermark = detector.layer(), hk.Watermark(key)
        positions = np.flatnonzero(hk.Watermark(key).patterns().numpy())
        needles = [positions.astype(kind).tobytes() for kind in ("<i4", "<i8")]
        needles.append(layer._secret.read().numpy().tobytes()[:64])
        spec = tf.TensorSpec([None, 6, 6, 1])
        graph = (
            tf.function(layer)
            .get_concrete_function(spec, tf.TensorSpec([None, 4]))
            .graph.as_graph_def()
            .SerializeToString()
        )
        control = _graph(watermark.extract, spec)
        assert not any(needle in graph for needle in needles)
        assert any(needle in control for needle in needles)

    @pytest.mark.parametrize("x", [np.zeros((2, 5, 5, 1), np.float32), np.zeros((2, 6, 6, 1), np.uint8)])
    def test_bad_inputs(self, detector, x):
        with pytest.raises(InvalidArgumentError, match=r"`x` must be floating point of shape \(batch, 6, 6, 1\)"):
            detector.layer()(x, outputs(x))

    def test_is_exact_under_any_policy(self, detector, samples):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            found = detector.layer()(samples[0], outputs(samples[0]))
        finally:
            keras.config.set_dtype_policy("float32")
        assert np.abs(found["score"].numpy() - detector.score(samples[0])).max() < 1e-6

    def test_cannot_be_saved(self, detector, tmp_path):
        inputs = keras.Input((6, 6, 1))
        model = keras.Model(inputs, detector.layer()(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs))))
        with pytest.raises(SecretSerializationError, match="cannot be saved in the clear"):
            model.save(tmp_path / "model.keras")
        with pytest.raises(SecretSerializationError):
            detector.layer().get_config()
