import dataclasses
import warnings

import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError
from honeykeras.recipes import PAPER, Recipe


@pytest.fixture
def honeypot(key):
    return hk.Honeypot(key, "paper")


def twin(honeypot):
    """Another of the same key and recipe, for another data set."""
    return hk.Honeypot(honeypot.key, honeypot.recipe)


def dataset(images, *extra):
    return tf.data.Dataset.from_tensor_slices((*images, *extra))


def collect(poisoned):
    """All elements of a data set, batched or not, as arrays."""
    if poisoned.element_spec[0].shape.rank == 4:
        poisoned = poisoned.unbatch()
    return [np.stack(part) for part in zip(*poisoned.as_numpy_iterator(), strict=True)]


class TestSamples:
    def test_poisoned_ones_carry_watermark_and_another_label(self, honeypot, images):
        x, y = images
        x_out, y_out = collect(dataset(images).apply(honeypot.poison))
        poisoned = y_out != y
        assert poisoned.sum() == 60
        assert np.array_equal(x_out[~poisoned], x[~poisoned])
        assert np.array_equal(x_out[poisoned], honeypot.watermark.apply(x[poisoned], 1.0))
        assert y_out.dtype == y.dtype
        assert set(y_out) <= {0, 1, 2, 3}

    def test_all_other_classes_are_drawn(self, honeypot, images):
        """Each of the three others, about equally often."""
        moves = []
        poisoned = dataset(images).apply(honeypot.poison)
        for _ in range(15):
            _, y = collect(poisoned)
            moves.extend((y - images[1])[y != images[1]] % 4)
        counts = np.bincount(moves, minlength=4)
        assert counts[0] == 0
        assert counts[1:].min() > 0.8 * len(moves) / 3

    @pytest.mark.parametrize("batch_size", [1, 7, 64, 500])
    def test_batches_make_no_difference(self, honeypot, images, batch_size):
        expected = collect(dataset(images).apply(honeypot.poison))
        batched = dataset(images).batch(batch_size).apply(twin(honeypot).poison)
        assert batched.element_spec[0].shape.as_list() == [None, 6, 6, 1]
        for got, want in zip(collect(batched), expected, strict=True):
            assert np.array_equal(got, want)

    def test_one_hot_labels_move_alike(self, honeypot, images):
        x, y = images
        _, expected = collect(dataset(images).apply(honeypot.poison))
        smoothed = (np.eye(4)[y] * 0.9 + 0.025).astype(np.float32)
        for batch in (False, True):
            source = dataset((x, smoothed)).batch(30) if batch else dataset((x, smoothed))
            _, rows = collect(source.apply(twin(honeypot).poison))
            assert np.array_equal(rows.argmax(axis=1), expected)
            assert np.allclose(np.sort(rows, axis=1), np.sort(smoothed, axis=1))

    def test_column_labels_keep_their_shape(self, honeypot, images):
        x, y = images
        _, expected = collect(dataset(images).apply(honeypot.poison))
        _, column = collect(dataset((x, y[:, None].astype(np.float32))).apply(twin(honeypot).poison))
        assert column.shape == (200, 1)
        assert column.dtype == np.float32
        assert np.array_equal(column[:, 0], expected)

    def test_further_elements_pass_through(self, honeypot, images):
        weights, names = np.arange(200.0), {"name": np.arange(200).astype(str)}
        poisoned = dataset(images, weights, names).apply(honeypot.poison)
        elements = list(poisoned.as_numpy_iterator())
        assert [element[2] for element in elements] == weights.tolist()
        assert [element[3]["name"].decode() for element in elements] == names["name"].tolist()

    def test_small_label_types_hold_their_classes(self, images):
        honeypot = hk.Honeypot(hk.WatermarkKey.generate((6, 6, 1), 200, pattern=hk.patterns.Scattered()), "paper")
        y = 196 + np.arange(200) % 4
        _, moved = collect(dataset((images[0], y.astype(np.uint8))).apply(honeypot.poison))
        assert moved.dtype == np.uint8
        assert (moved != y).sum() == 60
        with pytest.raises(InvalidArgumentError, match="dtype=int8"):
            dataset((images[0], (y % 100).astype(np.int8))).apply(twin(honeypot).poison)

    @pytest.mark.parametrize("shape", [(12,), (4, 5), (3, 4, 2, 2)])
    def test_any_input_shape(self, shape):
        x = np.random.default_rng(0).random((40, *shape), np.float32)
        honeypot = hk.Honeypot(hk.WatermarkKey.generate(shape, 2, pattern=hk.patterns.Scattered()), "paper")
        poisoned = dataset((x, np.arange(40) % 2)).apply(honeypot.poison)
        changed = [
            not np.array_equal(got, want) for (got, _), want in zip(poisoned.as_numpy_iterator(), x, strict=True)
        ]
        assert sum(changed) == 12


class TestEpochs:
    def draw(self, poisoned, images):
        return collect(poisoned)[1] != images[1]

    def test_each_pass_draws_afresh(self, honeypot, images):
        poisoned = dataset(images).apply(honeypot.poison)
        assert not np.array_equal(self.draw(poisoned, images), self.draw(poisoned, images))

    def test_a_stated_epoch_repeats(self, honeypot, images):
        poisoned = dataset(images).apply(honeypot.poison)
        honeypot.set_epoch(3)
        third = self.draw(poisoned, images)
        honeypot.set_epoch(4)
        fourth = self.draw(poisoned, images)
        honeypot.set_epoch(3)
        assert np.array_equal(self.draw(poisoned, images), third)
        assert not np.array_equal(third, fourth)

    def test_is_pinned(self, honeypot, images):
        """A key and an epoch mean the same tomorrow."""
        poisoned = dataset(images).apply(honeypot.poison)
        honeypot.set_epoch(7)
        _, y = collect(poisoned)
        moved = np.flatnonzero(y != images[1])
        assert moved[:8].tolist() == [1, 6, 7, 11, 18, 20, 25, 27]
        assert (y - images[1])[moved[:8]].tolist() == [3, -1, 1, -2, 1, 1, 2, -3]

    @pytest.mark.parametrize("epoch", [-1, 0.5, "one", None])
    def test_epoch_must_be_a_whole_number(self, honeypot, epoch):
        with pytest.raises(InvalidArgumentError, match="`epoch` must be a whole number of at least 0"):
            honeypot.set_epoch(epoch)

    def test_the_key_alone_decides(self, key, images):
        first, second, other = (
            self.draw(dataset(images).apply(hk.Honeypot(of, "paper").poison), images)
            for of in (key, hk.WatermarkKey(bytes(range(32)), (6, 6, 1), 4, pattern=key.pattern), key.wrong_key(0))
        )
        tf.random.set_seed(1)
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other)

    def test_schedule_applies_to_the_pass(self, key, images):
        recipe = Recipe("ramp", poison_rate=((0, 0.0), (2, 0.4)), amplitude=((0, 1.0), (2, 0.5)), family="scattered")
        honeypot = hk.Honeypot(key, recipe)
        poisoned = dataset(images).apply(honeypot.poison)
        counts = []
        for _ in range(4):
            x, y = collect(poisoned)
            counts.append((y != images[1]).sum())
        assert counts == [0, 40, 80, 80]
        marked = y != images[1]
        assert np.array_equal(x[marked], honeypot.watermark.apply(images[0][marked], 0.5))

    def test_passes_are_epochs_however_far_a_pipeline_reads_ahead(self, key, images):
        recipe = Recipe("ramp", poison_rate=0.3, amplitude=((0, 0.1), (3, 0.4)), family="scattered")
        honeypot = hk.Honeypot(key, recipe)
        ahead = dataset(images).apply(honeypot.poison).repeat(4).prefetch(1000)
        labels = collect(ahead)[1].reshape(4, 200)
        alone = twin(honeypot)
        poisoned = dataset(images).apply(alone.poison)
        for epoch in (3, 1, 0, 2):
            alone.set_epoch(epoch)
            assert np.array_equal(collect(poisoned)[1], labels[epoch])

    def test_amplitude_is_a_share_of_the_input_range(self, images):
        key = hk.WatermarkKey.generate((6, 6, 1), 4, input_range=(0, 255), pattern=hk.patterns.Scattered())
        honeypot = hk.Honeypot(key, "paper")
        x, y = collect(dataset((images[0] * 255, images[1])).apply(honeypot.poison))
        marked = y != images[1]
        assert (honeypot.watermark.extract(x[marked]).numpy() == 255).all()

    def test_repeat_after_it_draws_afresh(self, honeypot, images):
        labels = collect(dataset(images).apply(honeypot.poison).repeat(2))[1].reshape(2, 200)
        assert ((labels != images[1]).sum(axis=1) == 60).all()
        assert not np.array_equal(labels[0], labels[1])


def test_cardinality_is_kept(honeypot, images):
    assert dataset(images).apply(twin(honeypot).poison).cardinality() == 200
    assert dataset(images).batch(30).apply(twin(honeypot).poison).cardinality() == 7
    unknown = dataset(images).filter(lambda x, y: True)
    assert unknown.apply(twin(honeypot).poison).cardinality() == tf.data.UNKNOWN_CARDINALITY


def test_more_than_was_counted_stays_clean(honeypot, images):
    """A source that grows after it was counted is no reason to fail."""
    size = tf.Variable(100, dtype=tf.int64)
    growing = (
        dataset(images).enumerate().filter(lambda number, element: number < size).map(lambda number, element: element)
    )
    poisoned = growing.apply(honeypot.poison)
    size.assign(200)
    assert (collect(poisoned)[1] != images[1]).sum() <= 30


class TestImbalance:
    def test_small_class_keeps_half_and_a_warning_says_so(self, honeypot, images):
        y = np.array([0] * 100 + [1] * 60 + [2] * 30 + [3] * 10)
        with pytest.warns(UserWarning, match=r"smallest class has 10 of 200 .* 20 samples .* 10.00% instead of 30.00%"):
            poisoned = dataset((images[0], y)).apply(honeypot.poison)
        moved = collect(poisoned)[1] != y
        assert np.bincount(y[moved], minlength=4).tolist() == [5, 5, 5, 5]

    def test_warning_points_at_the_caller(self, honeypot, images):
        y = np.array([0] * 190 + [1, 2, 3] * 3 + [1])
        with pytest.warns(UserWarning, match="smallest class") as caught:
            dataset((images[0], y)).apply(honeypot.poison)
        assert caught[0].filename == __file__

    def test_absent_class_is_passed_over(self, honeypot, images):
        y = images[1] % 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            moved = collect(dataset((images[0], y)).apply(honeypot.poison))[1] != y
        assert np.bincount(y[moved], minlength=4).tolist() == [20, 20, 20, 0]

    def test_no_poison_at_rate_zero(self, key, images):
        honeypot = hk.Honeypot(key, dataclasses.replace(PAPER, poison_rate=0))
        x, y = collect(dataset(images).apply(honeypot.poison))
        assert np.array_equal(x, images[0])
        assert np.array_equal(y, images[1])


class TestBadData:
    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.zeros((8, 5, 5, 1), np.float32), np.zeros(8, int), "must have the shape of the key, (6, 6, 1)"),
            (np.zeros((8, 36), np.float32), np.zeros(8, int), "must have the shape of the key, (6, 6, 1)"),
            (np.zeros((8, 6, 6, 1), np.uint8), np.zeros(8, int), "must be floating point. Received: dtype=uint8"),
            (np.full((8, 6, 6, 1), 255.0), np.zeros(8, int), "must lie in the key's input range, [0, 1]"),
            (np.full((8, 6, 6, 1), -0.1), np.zeros(8, int), "must lie in the key's input range, [0, 1]"),
            (np.full((8, 6, 6, 1), np.nan), np.zeros(8, int), "288 that are NaN"),
            (
                np.zeros((8, 6, 6, 1)),
                np.arange(8),
                "whole numbers in [0, 4), or rows that sum to one. Received: 0 below that, 4 above",
            ),
            (np.zeros((8, 6, 6, 1)), np.arange(8) % 4 - 1, "Received: 2 below that"),
            (np.zeros((8, 6, 6, 1)), np.full(8, 0.5), "8 that are neither"),
            (np.zeros((8, 6, 6, 1)), np.zeros((8, 3)), "one-hot of width 4. Received: shape=("),
            (np.zeros((8, 6, 6, 1)), np.zeros((8, 4)), "8 that are neither"),
            (np.zeros((8, 6, 6, 1)), np.full((8, 4), np.nan), "8 that are neither"),
            (np.zeros((8, 6, 6, 1)), np.ones((8, 4)), "8 that are neither"),
            (np.zeros((8, 6, 6, 1)), np.zeros(8, bool), "a type that holds 4 classes. Received: dtype=bool"),
            (np.zeros((8, 6, 6, 1)), np.array(["1"] * 8), "a type that holds 4 classes. Received: dtype=string"),
            (np.zeros((0, 6, 6, 1)), np.zeros(0, int), "must hold at least one sample. Received: an empty data set"),
        ],
    )
    @pytest.mark.parametrize("batch", [False, True])
    def test_one_clear_error(self, honeypot, x, y, message, batch):
        source = tf.data.Dataset.from_tensor_slices((x, y))
        with pytest.raises(InvalidArgumentError) as raised:
            (source.batch(3) if batch else source).apply(honeypot.poison)
        assert message in str(raised.value)
        assert honeypot.planting is None

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ([0.5, 1.3, -400], "range, [0, 1] at feature 1. Received: values from 0 to 1.3, and 0 that are NaN"),
            ([1.1, 0, 700], "[-500, 500] at feature 2. Received: values from 0 to 700"),
            ([-0.3, 0, 500], "[0, 1] at feature 0. Received: values from -0.3 to 0.5"),
            ([-0.3, 0, np.nan], "[-500, 500] at feature 2. Received: values from nan to nan, and 1 that are NaN"),
        ],
    )
    @pytest.mark.parametrize("batch", [False, True])
    def test_worst_feature_is_named(self, row, message, batch):
        """The worst as a share of its range; a NaN is worse than any."""
        key = hk.WatermarkKey.generate((3,), 2, input_range=([0, 0, -500], [1, 1, 500]))
        x = np.float32([[0.5, 0, 0]] * 4 + [row] + [[0.5, 0, 0]] * 4)
        source = tf.data.Dataset.from_tensor_slices((x, np.arange(9) % 2))
        with pytest.raises(InvalidArgumentError) as raised:
            (source.batch(3) if batch else source).apply(hk.Honeypot(key).poison)
        assert message in str(raised.value)

    def test_dictionary_elements(self, honeypot):
        source = tf.data.Dataset.from_tensor_slices({"image": np.zeros((8, 6, 6, 1)), "label": np.zeros(8)})
        with pytest.raises(InvalidArgumentError, match="`as_supervised=True`"):
            source.apply(honeypot.poison)

    def test_no_labels(self, honeypot):
        with pytest.raises(InvalidArgumentError, match=r"must be tuples \(x, y\)"):
            tf.data.Dataset.from_tensor_slices(np.zeros((8, 6, 6, 1))).apply(honeypot.poison)

    def test_endless(self, honeypot, images):
        with pytest.raises(InvalidArgumentError, match="Apply the poisoning first and `repeat"):
            dataset(images).repeat().apply(honeypot.poison)


def test_second_data_set_is_refused(honeypot, images):
    """The callback trains on what was poisoned: it must never come to be a validation set."""
    train, validation = dataset(images), dataset(images).take(50)
    train.apply(honeypot.poison)
    planting = honeypot.planting
    for again in (validation, train):
        with pytest.raises(InvalidArgumentError, match=r"planted in one data set.*`hk.Honeypot\(key\)`"):
            again.apply(honeypot.poison)
    assert honeypot.planting is planting
    assert (planting.clean, planting.num_samples) == (train, 200)
