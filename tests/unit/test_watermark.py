import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError


@pytest.fixture
def watermark(key):
    return hk.Watermark(key)


@pytest.fixture
def pattern(key):
    return hk.Watermark(key).patterns().numpy()[0]


class TestApply:
    def test_adds_the_pattern_and_clips(self, watermark, pattern, images):
        x = images[0]
        assert np.allclose(watermark.apply(x, 0.3), np.clip(x + np.float32(0.3) * pattern, 0, 1))

    def test_at_full_amplitude_overwrites_as_the_paper_does(self, watermark, pattern, images):
        expected = np.where(pattern > 0, 1, images[0])
        assert np.array_equal(watermark.apply(images[0], 1.0), expected)

    def test_amplitude_may_differ_between_inputs(self, watermark, pattern, images):
        x = images[0][:2]
        marked = watermark.apply(x, tf.constant([0.0, 1.0])).numpy()
        assert np.array_equal(marked[0], x[0])
        assert np.array_equal(marked[1], np.where(pattern > 0, 1, x[1]))

    def test_clips_to_the_keys_own_range(self):
        key = hk.WatermarkKey.generate((8,), 2, input_range=(-5, 5), pattern=hk.patterns.Scattered(1.0, signed=True))
        marked = hk.Watermark(key).apply(np.zeros((3, 8), np.float32), 1.0).numpy()
        assert set(np.abs(marked).ravel()) == {5}

    def test_amplitude_is_a_share_of_each_features_width(self):
        low, high = np.float32([0, -5, 100, 0.1]), np.float32([1, 5, 3000, 0.2])
        watermark = hk.Watermark(hk.WatermarkKey(bytes(32), (4,), 2, input_range=(low, high)))
        x = np.stack([(low + high) / 2] * 2)
        delta = watermark.apply(x, tf.constant([0.1, 0.2]), [0, 1]) - x
        assert np.allclose(np.abs(delta), np.float32([[0.1], [0.2]]) * (high - low), rtol=1e-3)
        assert np.allclose(watermark.cosine_similarity(delta, [0, 1]), 1, atol=1e-5)
        marked = watermark.apply(x, 1.0, [0, 1]).numpy()
        assert ((marked == low) | (marked == high)).all()

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_keeps_the_dtype(self, watermark, images, dtype):
        assert watermark.apply(images[0].astype(dtype), 0.5).dtype == dtype

    def test_traces_once_for_any_batch(self, watermark, images):
        traces = []

        @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 1])])
        def apply(x):
            traces.append(x)
            return watermark.apply(x, 0.5)

        for count in (1, 7, 200):
            assert np.array_equal(apply(images[0][:count]), watermark.apply(images[0][:count], 0.5))
        assert len(traces) == 1


class TestExtract:
    def test_gathers_the_keys_features(self, watermark, pattern, images):
        features = watermark.extract(images[0]).numpy()
        assert features.shape == (200, watermark.num_features) == (200, 9)
        assert np.array_equal(features, images[0][:, pattern != 0])

    def test_sees_what_apply_wrote(self, watermark, images):
        assert (watermark.extract(watermark.apply(images[0], 1.0)).numpy() == 1).all()


class TestCosineSimilarity:
    def test_of_the_watermark_itself(self, watermark, pattern):
        assert np.allclose(watermark.cosine_similarity(np.stack([pattern, -3 * pattern])), [1, -1])

    def test_is_that_of_the_definition(self, watermark, pattern, images):
        delta = images[0] - 0.5
        flat, w = delta.reshape(200, -1), pattern.ravel()
        expected = flat @ w / np.linalg.norm(flat, axis=1) / np.linalg.norm(w)
        assert np.allclose(watermark.cosine_similarity(delta), expected, atol=1e-6)

    def test_of_nothing_is_zero(self, watermark):
        assert watermark.cosine_similarity(np.zeros((2, 6, 6, 1), np.float32)).numpy().tolist() == [0, 0]


@pytest.mark.parametrize("x", [np.zeros((4, 12, 12, 1), np.float32), np.zeros((4, 6, 6, 1), np.uint8)])
def test_bad_inputs(watermark, x):
    for attempt in (
        lambda: watermark.apply(x, 0.5),
        lambda: watermark.extract(x),
        lambda: watermark.cosine_similarity(x),
    ):
        with pytest.raises(InvalidArgumentError, match=r"must be floating point of shape \(batch, 6, 6, 1\)"):
            attempt()


def test_scatter_inverts_extract(watermark, images):
    values = watermark.extract(images[0][:1]).numpy()[0]
    assert np.array_equal(watermark.extract(watermark.scatter(values).reshape(1, 6, 6, 1))[0], values)
    assert np.count_nonzero(watermark.scatter(values)) == len(values)


def test_repr_holds_no_secret(watermark, key):
    assert repr(watermark) == f"Watermark(key_id='{key.key_id}', num_patterns=1)"


class TestOnePatternAClass:
    @pytest.fixture
    def watermark(self):
        return hk.Watermark(hk.WatermarkKey(bytes(32), (6, 6, 1), 4))

    def test_each_input_gets_that_of_its_target(self, watermark, images):
        x, target = images[0][:8] * 0.2 + 0.4, np.arange(8) % 4
        expected = x + np.float32(0.1) * watermark.patterns().numpy()[target]
        marked = watermark.apply(x, 0.1, target)
        assert np.allclose(marked, expected)
        assert np.allclose(watermark.cosine_similarity(marked - x, target), 1, atol=1e-4)
        assert np.abs(watermark.cosine_similarity(marked - x, (target + 1) % 4)).max() < 0.5

    def test_target_must_be_given(self, watermark, images):
        for attempt in (
            lambda: watermark.apply(images[0], 0.1),
            lambda: watermark.cosine_similarity(images[0]),
        ):
            with pytest.raises(InvalidArgumentError, match="`target` must say to which class each input is led"):
                attempt()

    def test_amplitude_is_a_share_of_the_range(self):
        watermark = hk.Watermark(hk.WatermarkKey(bytes(32), (8,), 2, input_range=(-5, 5)))
        marked = watermark.apply(np.zeros((2, 8), np.float32), 0.1, [0, 1]).numpy()
        assert set(np.abs(marked).ravel()) == {1}
