"""What inputs may be: one range for all features, or one for each."""

import subprocess
import sys

import numpy as np
import pytest

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError
from honeykeras.ranges import UNIT, InputRange, quantize

RANGES = [UNIT, InputRange(0, 255), InputRange(-1, 1), InputRange((0.0, -5.0), (1.0, 40.0))]


@pytest.fixture(params=RANGES, ids=str)
def bounds(request):
    return request.param


class TestValue:
    def test_is_equal_by_its_ends_and_hashable(self):
        assert InputRange(0, 255) == InputRange(np.float32(0), np.float64(255))
        assert len({InputRange([0, 0], [1, 2]), InputRange((0.0, 0.0), np.array([1, 2]))}) == 1
        assert InputRange(0, 255) != UNIT

    def test_is_frozen(self):
        with pytest.raises(AttributeError):
            UNIT.low = 3

    def test_unpacks_and_comes_back(self, bounds):
        low, high = bounds
        assert InputRange.of((low, high)) == InputRange.of(bounds) == InputRange.of(bounds.get_config()) == bounds

    @pytest.mark.parametrize(
        "ends", [(1, 0), (0, 0), (0, np.nan), (0, np.inf), ("a", 1), (0, [1, 2]), ([], []), (0, 1e-60)]
    )
    def test_that_is_none_is_refused(self, ends):
        with pytest.raises(InvalidArgumentError, match="`input_range` must be two finite numbers"):
            InputRange(*ends)

    @pytest.mark.parametrize("value", [None, 3, (1,), (1, 2, 3), "ab"])
    def test_what_has_no_two_ends_is_refused(self, value):
        with pytest.raises(InvalidArgumentError, match="`input_range` must be two finite numbers"):
            InputRange.of(value)

    def test_must_have_the_shape_of_inputs(self):
        with pytest.raises(InvalidArgumentError, match=r"of an input of shape \(3,\)"):
            InputRange.of(RANGES[-1], (3,))

    def test_needs_no_tensorflow(self):
        code = "import sys; from honeykeras.ranges import InputRange; assert 'tensorflow' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestUse:
    def test_there_and_back(self, bounds):
        unit = np.random.default_rng(0).random((50, 2), np.float32)
        x = bounds.from_unit(unit)
        low, high = bounds.ends()
        assert x.dtype == np.float32
        assert (low <= x).all()
        assert (x <= high).all()
        assert np.allclose(bounds.to_unit(x), unit, atol=1e-6)
        assert np.allclose(bounds.width, high - low)

    def test_clips(self, bounds):
        low, high = bounds.ends()
        assert np.array_equal(bounds.clip(np.stack([low - 1, high + 1])), np.stack([low, high]))

    def test_distances_over_different_units_are_shares(self):
        assert InputRange(0, 255).working == InputRange(0, 255)
        assert RANGES[-1].working == UNIT

    def test_names_the_worst_feature(self):
        assert RANGES[-1].worst(np.array([0, -5]), np.array([1, 40])) is None
        assert RANGES[-1].worst(np.array([0, -50]), np.array([1.5, 40])) == (1,)
        assert RANGES[-1].describe((1,)) == "[-5, 40] at feature 1"
        assert UNIT.worst(np.float32(np.nan), np.float32(1)) == ()

    def test_quantises_into_its_own_levels(self, bounds):
        unit = np.random.default_rng(0).random((50, 2), np.float32)
        x = quantize(bounds.from_unit(unit), bounds)
        assert np.allclose(bounds.to_unit(x), quantize(unit), atol=1e-6)
        assert np.array_equal(quantize(x, bounds), x)


class TestData:
    @pytest.mark.parametrize("bounds", RANGES[1:3], ids=str)
    def test_is_the_same_in_another_range(self, digits, bounds):
        moved = digits.rescaled(bounds)
        assert moved.input_range == bounds
        assert np.allclose(bounds.to_unit(moved.test.x), digits.test.x, atol=1e-6)
        assert moved.epsilon == pytest.approx(digits.epsilon * float(bounds.width))
        assert np.allclose(moved.rescaled(UNIT).train.x, digits.train.x, atol=1e-6)
        assert digits.rescaled((0, 1)) is digits

    def test_key_must_have_its_range(self, digits):
        key = hk.WatermarkKey.generate((8, 8, 1), 10, input_range=(0, 255))
        with pytest.raises(InvalidArgumentError, match=r"in \[0, 1\] and 10 classes.*\[0, 255\].*Data.rescaled"):
            digits.check_key(key)
        digits.rescaled(key.input_range).check_key(key)
