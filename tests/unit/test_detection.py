import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.detection import conformal_threshold
from honeykeras.errors import InvalidArgumentError, SecretSerializationError


@pytest.fixture
def samples(key):
    """Clean images, and images with a faint watermark."""
    rng = np.random.default_rng(0)
    clean = rng.random((3000, 6, 6, 1), dtype=np.float32)
    return clean[:1500], hk.Watermark(key).apply(clean[1500:], 0.8).numpy()


@pytest.fixture
def detector(key, samples):
    clean, marked = samples
    return hk.Detector(key).fit(clean[:500], marked[:500]).calibrate(clean[500:1000], 0.05)


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


class TestDetector:
    def test_tells_the_watermark_and_keeps_the_rate(self, detector, samples):
        clean, marked = samples
        assert detector.flag(marked[1000:]).mean() > 0.9
        assert detector.flag(clean[1000:]).mean() < 0.1

    def test_a_wrong_key_does_not(self, key, samples):
        """The control: a watermark at other features is not seen."""
        clean, marked = samples
        wrong = next(
            decoy for decoy in map(key.decoy, range(1000)) if not (decoy.draw_patterns() * key.draw_patterns()).any()
        )
        detector = hk.Detector(wrong).fit(clean[:500], marked[:500]).calibrate(clean[500:1000], 0.05)
        assert detector.flag(marked[1000:]).mean() < 0.15

    def test_uses_the_keys_features_only(self, key, detector, samples):
        x = samples[0][:10]
        elsewhere = np.where(key.draw_patterns()[0] == 0, 1 - x, x)
        assert np.array_equal(detector.score(elsewhere), detector.score(x))

    def test_fitting_again_voids_the_threshold(self, detector, samples):
        detector.fit(samples[0], samples[1])
        with pytest.raises(InvalidArgumentError, match="must be calibrated first"):
            detector.flag(samples[0])

    @pytest.mark.parametrize("action", ["score", "flag", "calibrate", "layer"])
    def test_must_be_fitted_first(self, key, samples, action):
        arguments = {"score": (samples[0],), "flag": (samples[0],), "calibrate": (samples[0], 0.1), "layer": ()}[action]
        with pytest.raises(InvalidArgumentError, match="must be fitted first"):
            getattr(hk.Detector(key), action)(*arguments)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.zeros((3, 5, 5, 1), np.float32), "must have shape (batch, 6, 6, 1). Received: shape=(3, 5, 5, 1)"),
            (np.zeros((0, 6, 6, 1), np.float32), "at least one sample"),
            (np.zeros((3, 6, 6, 1), int), "must be floating point"),
            (np.full((3, 6, 6, 1), 7.0), "must lie in [0, 1]"),
        ],
    )
    def test_bad_inputs(self, key, detector, samples, x, message):
        for attempt in (
            lambda: detector.score(x),
            lambda: hk.Detector(key).fit(x, samples[1]),
            lambda: hk.Detector(key).fit(samples[0], x),
            lambda: detector.calibrate(x, 0.1),
        ):
            with pytest.raises(InvalidArgumentError) as raised:
                attempt()
            assert message in str(raised.value)

    def test_repr_holds_no_secret(self, key, detector):
        assert repr(detector) == f"Detector(key_id='{key.key_id}')"


class TestLayer:
    def test_equals_scikit_learn(self, detector, samples):
        """Scores within 1e-6, and the same flags, on thousands of inputs."""
        x = np.concatenate(samples)
        found = detector.layer()(x)
        assert np.abs(found["score"].numpy() - detector.score(x)).max() < 1e-6
        assert np.array_equal(found["flag"], detector.flag(x))
        assert 0 < np.mean(found["flag"]) < 1
        assert (found["score"].dtype, found["flag"].dtype) == ("float32", "bool")

    def test_equals_scikit_learn_where_scores_saturate(self, key, samples):
        clean, _ = samples
        strong = hk.Watermark(key).apply(clean, 1.0).numpy()
        detector = hk.Detector(key).fit(clean, strong).calibrate(clean, 0.05)
        found = detector.layer()(strong)
        assert np.abs(found["score"].numpy() - detector.score(strong)).max() < 1e-6
        assert np.array_equal(found["flag"], detector.flag(strong))

    def test_runs_in_a_model(self, detector, samples):
        inputs = keras.Input((6, 6, 1))
        model = keras.Model(inputs, detector.layer()(inputs))
        found = model.predict(samples[0], verbose=0)
        assert np.array_equal(found["flag"], detector.flag(samples[0]))

    def test_traces_once_for_any_batch(self, detector, samples):
        layer, traces = detector.layer(), []

        @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 1])])
        def call(x):
            traces.append(x)
            return layer(x)

        for count in (1, 64, 500):
            assert call(samples[0][:count])["score"].shape == (count,)
        assert len(traces) == 1

    def test_has_no_variables(self, detector, samples):
        layer = detector.layer()
        layer(samples[0])
        assert layer.weights == []

    @pytest.mark.parametrize("export", [lambda model, path: model.export(path, verbose=False), tf.saved_model.save])
    def test_cannot_be_exported(self, detector, tmp_path, export):
        """Either the layer is asked and refuses, or TensorFlow finds a resource that nobody may save."""
        inputs = keras.Input((6, 6, 1))
        model = keras.Model(inputs, detector.layer()(inputs))
        with pytest.raises((SecretSerializationError, AssertionError), match=r"in the clear|untracked"):
            export(model, str(tmp_path / "model"))
        assert not list(tmp_path.rglob("*.pb"))
        assert not list(tmp_path.rglob("variables*"))

    def test_is_in_no_constant_of_a_graph(self, key, detector, samples):
        """What a graph dump for TensorBoard would show; the control is a watermark, which is there."""
        layer, watermark = detector.layer(), hk.Watermark(key)
        positions = np.flatnonzero(key.draw_patterns())
        needles = [positions.astype(kind).tobytes() for kind in ("<i4", "<i8")]
        needles.append(layer._secret.read().numpy().tobytes()[:64])
        spec = tf.TensorSpec([None, 6, 6, 1])
        graph = tf.function(layer).get_concrete_function(spec).graph.as_graph_def().SerializeToString()
        control = tf.function(watermark.extract).get_concrete_function(spec).graph.as_graph_def().SerializeToString()
        assert not any(needle in graph for needle in needles)
        assert any(needle in control for needle in needles)

    @pytest.mark.parametrize("x", [np.zeros((2, 5, 5, 1), np.float32), np.zeros((2, 6, 6, 1), np.uint8)])
    def test_bad_inputs(self, detector, x):
        with pytest.raises(InvalidArgumentError, match=r"`x` must be floating point of shape \(batch, 6, 6, 1\)"):
            detector.layer()(x)

    def test_is_exact_under_any_policy(self, detector, samples):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            found = detector.layer()(samples[0])
        finally:
            keras.config.set_dtype_policy("float32")
        assert np.abs(found["score"].numpy() - detector.score(samples[0])).max() < 1e-6

    def test_cannot_be_saved(self, detector, tmp_path):
        inputs = keras.Input((6, 6, 1))
        model = keras.Model(inputs, detector.layer()(inputs))
        with pytest.raises(SecretSerializationError, match="cannot be saved in the clear"):
            model.save(tmp_path / "model.keras")
        with pytest.raises(SecretSerializationError):
            detector.layer().get_config()
