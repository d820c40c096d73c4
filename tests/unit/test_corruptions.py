"""Benign corruptions do what their names say."""

import numpy as np
import pytest

from honeykeras import corruptions
from honeykeras.corruptions import corrupt, names
from honeykeras.errors import InvalidArgumentError

SHAPE = (12, 10, 3)


@pytest.fixture
def x():
    return np.random.default_rng(0).random((40, *SHAPE), np.float32)


GREY = np.full((30, *SHAPE), 128 / 255, np.float32)


def test_what_there_is():
    assert set(names(SHAPE)) == {
        "gaussian_noise",
        "salt_and_pepper",
        "blur",
        "jpeg",
        "brightness",
        "contrast",
        "shift",
    }
    assert names((7,)) == ["gaussian_noise", "salt_and_pepper"]


@pytest.mark.parametrize("name", names(SHAPE))
class TestAll:
    def test_gives_what_an_image_file_holds(self, name, x):
        found = corrupt(x, name)
        assert (found.shape, found.dtype) == (x.shape, np.float32)
        assert found.min() >= 0
        assert found.max() <= 1
        assert np.abs(found * 255 - np.round(found * 255)).max() < 1e-3
        assert np.abs(found - x).max() > 0.02

    def test_range(self, name, x):
        unit, wide = corrupt(x, name), corrupt(10 * x - 5, name, input_range=(-5, 5))
        assert np.abs((wide + 5) / 10 - unit).max() < 1.5 / 255
        assert np.mean(np.abs((wide + 5) / 10 - unit) > 1e-5) < 0.02

    def test_repeats(self, name, x):
        assert np.array_equal(corrupt(x, name, seed=3), corrupt(x, name, seed=3))

    def test_is_traced_once(self, name, x):
        corrupt(x, name)
        corrupt(x[:3], name, seed=1)
        assert corruptions._compiled(name, SHAPE).experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", ["gaussian_noise", "salt_and_pepper"])
def test_seed_decides_the_noise(name, x):
    assert not np.array_equal(corrupt(x, name, seed=1), corrupt(x, name, seed=2))


def test_noise_is_as_strong_as_stated():
    noise = corrupt(GREY, "gaussian_noise") - GREY
    assert noise.std() == pytest.approx(0.05, rel=0.05)
    assert abs(noise.mean()) < 0.003


def test_salt_and_pepper_sets_as_many_as_stated_to_either_end():
    found = corrupt(GREY, "salt_and_pepper")
    assert np.mean(found == 0) == pytest.approx(0.01, rel=0.3)
    assert np.mean(found == 1) == pytest.approx(0.01, rel=0.3)
    assert np.mean(found == GREY) == pytest.approx(0.98, abs=0.01)


def test_blur_spreads_a_point_by_the_binomial_kernel():
    point = np.zeros((1, 5, 5, 1), np.float32)
    point[0, 2, 2] = 1
    expected = np.outer([1, 2, 1], [1, 2, 1]) / 16
    assert np.abs(corrupt(point, "blur")[0, 1:4, 1:4, 0] - expected).max() < 1 / 255
    assert np.array_equal(corrupt(GREY, "blur"), GREY)


def test_brightness_adds_and_stays_in_range():
    assert np.abs(corrupt(GREY, "brightness") - GREY - 0.1).max() < 1 / 255
    assert corrupt(np.full((1, *SHAPE), 0.95, np.float32), "brightness").max() == 1


def test_contrast_draws_together(x):
    found = corrupt(x, "contrast")
    assert (found.std(axis=(1, 2, 3)) / x.std(axis=(1, 2, 3))).mean() == pytest.approx(0.7, abs=0.01)
    assert np.abs(found.mean(axis=(1, 2, 3)) - x.mean(axis=(1, 2, 3))).max() < 1 / 255


def test_shift_moves_right_and_down(x):
    found = corrupt(x, "shift")
    assert np.abs(found[:, 1:, 1:] - x[:, :-1, :-1]).max() < 1 / 255
    assert np.abs(found[:, 0, 1:] - x[:, 0, :-1]).max() < 1 / 255


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_jpeg_loses_little_of_a_smooth_image(channels):
    rows, columns = np.indices((16, 16))
    smooth = np.repeat(((rows + columns) / 30)[None, ..., None], channels, axis=3).astype(np.float32)
    found = corrupt(smooth, "jpeg")
    assert 0 < np.abs(found - smooth).max() < 0.08


@pytest.mark.parametrize(("shape", "name"), [((4, 4, 1), "fog"), ((4,), "blur")])
def test_unknown(shape, name):
    with pytest.raises(InvalidArgumentError, match="`name` must be one of"):
        corrupt(np.zeros((2, *shape), np.float32), name)


def test_names_are_functions_of_the_module():
    assert all(callable(getattr(corruptions, name)) for name in names(SHAPE))
