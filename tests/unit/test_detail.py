"""Strengths that follow from how detailed images are."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.ranges import UNIT
from honeykeras.survey import look_through

SHAPE = (9, 9, 2)


def batches(x, size=4):
    return tf.data.Dataset.from_tensor_slices((x, np.arange(len(x)) % 2)).batch(size)


def chessboard(amplitude, count=7):
    """One pixel up, one down around the middle: what a pixel is beyond its neighbourhood is known."""
    rows, columns = np.indices(SHAPE[:2])
    board = 0.5 + amplitude * np.where((rows + columns) % 2, 1.0, -1.0)
    return np.repeat(np.repeat(board[None, ..., None], SHAPE[2], axis=3), count, axis=0).astype(np.float32)


class TestSurvey:
    def test_detail_of_a_chessboard(self):
        # Inside, a pixel is 8/9 of its swing beyond its neighbourhood's mean; at an edge or in a corner, where 6 and 4
        # fields cancel, all of it.
        inside, border = 7 * 7, 9 * 9 - 7 * 7
        expected = 0.2 * np.sqrt((inside * (8 / 9) ** 2 + border) / 81)
        assert look_through(batches(chessboard(0.2)), 2, UNIT).detail == pytest.approx(expected, rel=1e-5)

    def test_is_a_share_of_the_range(self):
        x = chessboard(0.2)
        unit, bytes_ = (look_through(batches(scale * x), 2, hk.InputRange(0.0, scale)).detail for scale in (1.0, 255.0))
        assert bytes_ == pytest.approx(unit, rel=1e-5)

    def test_does_not_depend_on_batches(self):
        x = np.random.default_rng(0).random((10, *SHAPE), np.float32)
        small, whole = (look_through(batches(x, size), 2, UNIT).detail for size in (3, 10))
        assert small == pytest.approx(whole)

    def test_smooth_images_have_none(self):
        grey = np.full((4, *SHAPE), 0.3, np.float32)
        assert look_through(batches(grey), 2, UNIT).detail == pytest.approx(0, abs=1e-6)

    def test_vectors_have_no_such_thing(self):
        assert look_through(batches(np.zeros((4, 5), np.float32)), 2, UNIT).detail is None


class TestRecipe:
    recipe = dataclasses.replace(hk.recipes.BALANCED, amplitude=((0, 0.4), (2, 0.2)))

    def test_photographs_get_fainter_watermarks(self):
        fainter = self.recipe.for_detail(0.05)
        assert fainter.amplitude == ((0, pytest.approx(0.1)), (2, pytest.approx(0.05)))
        assert fainter.min_amplitude == pytest.approx(self.recipe.min_amplitude / 4)
        assert fainter.floor == pytest.approx(self.recipe.floor / 4)
        assert fainter.adversarial_epsilon < self.recipe.adversarial_epsilon / 4
        assert fainter.poison_rate == self.recipe.poison_rate

    def test_once_only(self):
        fainter = self.recipe.for_detail(0.05)
        assert fainter.for_detail(0.05) == fainter

    @pytest.mark.parametrize("detail", [None, 0.1, 0.3])
    def test_drawings_and_vectors_keep_the_strengths(self, detail):
        assert self.recipe.for_detail(detail) is self.recipe

    def test_only_where_the_recipe_is_to_follow(self):
        fixed = dataclasses.replace(self.recipe, follow_data=False)
        assert fixed.for_detail(0.05) is fixed
        assert hk.recipes.PAPER.for_detail(0.05) is hk.recipes.PAPER


def test_honeypot_plants_at_the_strength_of_its_data():
    honeypot = hk.Honeypot(hk.WatermarkKey(bytes(32), SHAPE, 2))
    x = chessboard(0.05, count=40)
    detail = look_through(batches(x), 2, UNIT).detail
    poisoned = np.concatenate([marked for marked, _ in batches(x).apply(honeypot.poison).as_numpy_iterator()])
    assert honeypot.planting.recipe == honeypot.recipe.for_detail(detail)
    assert honeypot.planting.recipe.amplitude < 0.1
    moved = np.abs(poisoned - x).max(axis=(1, 2, 3))
    assert 0 < moved.max() <= honeypot.planting.recipe.amplitude + 1e-6
