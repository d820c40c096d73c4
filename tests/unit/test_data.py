import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.attacks import quantize
from honeykeras.errors import DatasetError, InvalidArgumentError


def parts(data):
    return data.train, data.detector, data.calibration, data.test


def test_digits_parts_are_disjoint_and_whole(digits):
    images = np.concatenate([part.x for part in parts(digits)])
    # Two images of the same bytes would be in the same part.
    assert [len(part) for part in parts(digits)] == [802, 300, 300, 395]
    assert len({image.tobytes() for image in images}) == len(images) == 1797
    assert all(set(part.y) == set(range(10)) for part in parts(digits))


def test_digits_are_scaled_and_quantised(digits):
    for part in parts(digits):
        assert part.x.shape[1:] == part.input_shape == digits.input_shape == (8, 8, 1)
        assert (part.x.dtype, part.y.dtype) == (np.float32, np.int64)
        assert (part.x.min(), part.x.max()) == (0, 1)
        assert np.array_equal(part.x, quantize(part.x))


def test_seed_decides_the_parts(digits):
    again, other = hk.data.load("digits"), hk.data.load("digits", seed=1)
    assert np.array_equal(again.test.x, digits.test.x)
    assert again.digest == digits.digest != other.digest
    assert not np.array_equal(other.test.x, digits.test.x)


def test_dataset_is_the_split(digits):
    for part in (digits.test, digits.test.head(100)):
        x, y = next(part.dataset().batch(1000).as_numpy_iterator())
        assert np.array_equal(x, part.x)
        assert np.array_equal(y, part.y)
        assert int(part.dataset().cardinality()) == len(part)


def test_head_is_in_memory(digits):
    head = digits.test.head(10)
    assert isinstance(head, hk.data.Split)
    assert np.array_equal(head.x, digits.test.x[:10])
    assert len(digits.test.head(10_000)) == len(digits.test)


def test_another_range(digits):
    as_bytes = digits.rescaled((0, 255))
    assert as_bytes.epsilon == pytest.approx(0.3 * 255)
    for part, same in zip(parts(as_bytes), parts(digits), strict=True):
        assert np.allclose(part.x, same.x * 255, rtol=1e-6)
        assert np.array_equal(part.y, same.y)
    assert np.array_equal(as_bytes.test.head(5).rescaled(as_bytes.input_range, hk.InputRange()).x, digits.test.x[:5])
    assert digits.rescaled((0, 1)) is digits


def test_bytes_are_scaled_to_the_range_that_the_model_takes(digits):
    loaded = hk.data.load("digits", input_range=(-1, 1))
    assert np.allclose(loaded.test.x, 2 * digits.test.x - 1, atol=1e-6)
    assert loaded.epsilon == pytest.approx(0.6)
    assert loaded.input_range == hk.InputRange(-1, 1)


@pytest.mark.parametrize("source", ["m" * 2000, "no such", "", "mnist:", ["digits"], "a\0b"])
def test_no_source(source):
    with pytest.raises(InvalidArgumentError, match="`dataset` must be digits, a name of tensorflow-datasets"):
        hk.data.load(source)


@pytest.mark.parametrize("source", ["no/such/folder", "./nothing", "nothing.npz"])
def test_source_that_is_not_there(source):
    with pytest.raises(InvalidArgumentError, match=f"must be a data set at {source}. Received: no such file"):
        hk.data.load(source)


@pytest.mark.parametrize("seed", [-1, 0.5, "one", 2**32])
def test_bad_seed(seed):
    with pytest.raises(InvalidArgumentError, match="`seed` must be a whole number from 0 to 4294967295"):
        hk.data.load("digits", seed=seed)


def test_what_tensorflow_datasets_cannot_load_is_one_line(monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host\nwith a long story")

    monkeypatch.setattr("tensorflow_datasets.load", fail)
    with pytest.raises(DatasetError) as raised:
        hk.data.load("mnist")
    assert "cannot load 'mnist': no route to host" in str(raised.value)
    assert "TFDS_DATA_DIR" in str(raised.value)
    assert "long story" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "sizes", "shape", "epsilon", "first"),
    [
        ("mnist", [53_000, 2_000, 5_000, 10_000], (28, 28, 1), 0.3, None),
        ("cifar10:3.0.2", [43_000, 2_000, 5_000, 10_000], (32, 32, 3), 8 / 255, "airplane"),
    ],
)
def test_real_images(name, sizes, shape, epsilon, first):
    tfds = pytest.importorskip("tensorflow_datasets")
    if not tfds.builder(name).data_path.exists():
        pytest.skip(f"{name} is not prepared in TFDS_DATA_DIR, and tests download nothing")
    data = hk.data.load(name)
    assert [len(part) for part in parts(data)] == sizes
    assert (data.input_shape, data.num_classes, data.epsilon) == (shape, 10, epsilon)
    assert (data.class_names or [None])[0] == first
    seen = data.test.head(50).x
    assert np.array_equal(seen, quantize(seen))
    assert set(data.test.y) == set(range(10))
    used = {image.tobytes() for image in data.calibration.x}
    assert not any(image.tobytes() in used for image in data.detector.x)


def test_reduced(digits):
    few = digits.reduced(50)
    assert np.array_equal(few.train.x, digits.train.x[:50])
    assert few.test is digits.test
    with pytest.raises(InvalidArgumentError, match="`train_samples` must be a whole number from 1 to 802"):
        digits.reduced(803)


def test_key_must_fit(digits):
    digits.check_key(hk.WatermarkKey.generate((8, 8, 1), 10))
    each = np.zeros((8, 8, 1)), np.ones((8, 8, 1))
    for shape, classes, bounds in (
        ((8, 8), 10, (0, 1)),
        ((8, 8, 1), 9, (0, 1)),
        ((8, 8, 1), 10, (0, 255)),
        ((8, 8, 1), 10, each),
    ):
        with pytest.raises(
            InvalidArgumentError, match=r"of shape \(8, 8, 1\) in \[0, 1\] and 10 classes, as digits has"
        ):
            digits.check_key(hk.WatermarkKey.generate(shape, classes, input_range=bounds))


def test_streamed_parts_are_read_anew_in_each_pass():
    passes = []

    def note(x, y):
        tf.py_function(lambda: passes.append(1), [], [])
        return x, y

    x, y = np.arange(6, dtype=np.float32).reshape(6, 1) / 6, np.arange(6) % 2
    part = hk.data.StreamedSplit(tf.data.Dataset.from_tensor_slices((x, y)).map(note), 6)
    before = len(passes)
    assert np.array_equal(part.x, x)
    assert np.array_equal(part.y, y)
    assert len(passes) == before + 12


def test_few_of_a_streamed_part_are_of_all_classes():
    """Though the part is sorted by class."""
    y = np.repeat(np.arange(10), 300)
    samples = tf.data.Dataset.from_tensor_slices((np.arange(3000, dtype=np.float32)[:, None], y))
    part = hk.data.StreamedSplit(samples, 3000)
    few = part.head(200)
    assert len(few) == 200
    assert min(np.bincount(few.y, minlength=10)) > 5
    assert np.array_equal(few.y, y[few.x[:, 0].astype(int)])
    everything = np.concatenate([x for x, _ in part.mixed(100)])
    assert np.array_equal(np.sort(everything[:, 0]), np.arange(3000))
    mixed = hk.data.StreamedSplit(samples, 3000, is_mixed=True)
    assert np.array_equal(mixed.head(200).y, y[:200])
    assert len(part.head(5000)) == 3000
    assert len(part.head(200, max_bytes=40)) == 10
    assert len(part.head(200, max_bytes=1)) == 1
