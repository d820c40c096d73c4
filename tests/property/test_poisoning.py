import warnings

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import honeykeras as hk
from honeykeras.recipes import Recipe


@st.composite
def label_sets(draw):
    """Labels of two to five classes, in any balance and order; classes may be missing."""
    num_classes = draw(st.integers(2, 5))
    sizes = draw(st.lists(st.integers(0, 40), min_size=num_classes, max_size=num_classes).filter(any))
    labels = np.repeat(np.arange(num_classes), sizes)
    if draw(st.booleans()):
        labels = np.random.default_rng(draw(st.integers(0, 9))).permutation(labels)
    return num_classes, labels


@settings(max_examples=20, deadline=None)
@given(
    labels=label_sets(),
    rate=st.floats(0, 0.99),
    batch_size=st.integers(1, 50),
    shuffle=st.booleans(),
    epoch=st.integers(0, 1000),
)
def test_classes_are_poisoned_equally_whatever_their_balance_and_order(labels, rate, batch_size, shuffle, epoch):
    num_classes, y = labels
    key = hk.WatermarkKey(bytes(32), (3,), num_classes)
    honeypot = hk.Honeypot(key, Recipe("any", poison_rate=rate, amplitude=0.5))
    honeypot.set_epoch(epoch)
    # Each sample carries its true label in a feature that no watermark reaches: the weight.
    source = tf.data.Dataset.from_tensor_slices((np.full((len(y), 3), 0.25, np.float32), y, y))
    if shuffle:
        source = source.shuffle(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poisoned = source.batch(batch_size).apply(honeypot.poison)
    x, given_labels, true_labels = (np.concatenate(part) for part in zip(*poisoned.as_numpy_iterator(), strict=True))
    marked = (x != 0.25).any(axis=1)
    assert np.array_equal(marked, given_labels != true_labels)

    sizes = np.bincount(y, minlength=num_classes)
    counts = np.bincount(true_labels[marked], minlength=num_classes)[sizes > 0]
    assert counts.max() - counts.min() <= 1

    smallest = sizes[sizes > 0].min()
    wanted = round(rate * len(y))
    possible = int(max(0.5, rate) * smallest) * len(counts)
    assert counts.sum() == min(wanted, possible)
