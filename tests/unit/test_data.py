import numpy as np
import pytest

import honeykeras as hk
from honeykeras.attacks import quantize
from honeykeras.errors import DatasetError, InvalidArgumentError


def parts(data):
    return data.train, data.detector, data.calibration, data.test


def test_digits_parts_are_disjoint_and_whole(digits):
    images = np.concatenate([part.x for part in parts(digits)])
    assert [len(part) for part in parts(digits)] == [800, 300, 300, 397]
    assert len({image.tobytes() for image in images}) == len(images) == 1797
    assert all(set(part.y) == set(range(10)) for part in parts(digits))


def test_digits_are_scaled_and_quantised(digits):
    for part in parts(digits):
        assert part.x.shape[1:] == digits.input_shape == (8, 8, 1)
        assert (part.x.dtype, part.y.dtype) == (np.float32, np.int64)
        assert (part.x.min(), part.x.max()) == (0, 1)
        assert np.array_equal(part.x, quantize(part.x))


def test_seed_decides_the_parts(digits):
    again, other = hk.data.load("digits"), hk.data.load("digits", seed=1)
    assert np.array_equal(again.test.x, digits.test.x)
    assert not np.array_equal(other.test.x, digits.test.x)


def test_dataset_is_the_split(digits):
    x, y = next(digits.test.dataset().batch(1000).as_numpy_iterator())
    assert np.array_equal(x, digits.test.x)
    assert np.array_equal(y, digits.test.y)


def test_unknown_name():
    with pytest.raises(
        InvalidArgumentError, match=r"one of \['digits', 'mnist', 'cifar10'\]. Received: dataset='mnits'"
    ):
        hk.data.load("mnits")


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
    ("name", "sizes", "shape", "epsilon"),
    [
        ("mnist", [53_000, 2_000, 5_000, 10_000], (28, 28, 1), 0.3),
        ("cifar10", [43_000, 2_000, 5_000, 10_000], (32, 32, 3), 8 / 255),
    ],
)
def test_real_images(name, sizes, shape, epsilon):
    tfds = pytest.importorskip("tensorflow_datasets")
    if not tfds.builder(name).data_path.exists():
        pytest.skip(f"{name} is not prepared in TFDS_DATA_DIR, and tests download nothing")
    data = hk.data.load(name)
    assert [len(part) for part in parts(data)] == sizes
    assert (data.input_shape, data.num_classes, data.epsilon) == (shape, 10, epsilon)
    assert np.array_equal(data.test.x[:50], quantize(data.test.x[:50]))
    assert set(data.test.y) == set(range(10))
    used = {image.tobytes() for image in data.calibration.x}
    assert not any(image.tobytes() in used for image in data.detector.x)


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
