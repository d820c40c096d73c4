"""A path by which a classifier sees faint patterns."""

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError, ModelError

SHAPE = (8, 8, 3)


def classifier(activation=None, shape=SHAPE):
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(4, activation=activation)])


@pytest.fixture
def x():
    return np.random.default_rng(0).random((6, *SHAPE), np.float32)


def branched(plain, **options):
    """A classifier with a branch that says something, as one does that was trained."""
    model = hk.models.add_branch(plain, **options)
    layer = model.get_layer("detail_logits")
    kernel, bias = layer.get_weights()
    layer.set_weights([np.random.default_rng(1).normal(0, 0.5, kernel.shape), bias])
    return model


def found_by_branch(model, x):
    """What the branch adds to the logits."""
    return keras.Model(model.input, model.get_layer("detail_logits").output).predict(x, verbose=0)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_begins_as_the_classifier_that_it_is_given(activation, x):
    plain = classifier(activation)
    found = hk.models.add_branch(plain, seed=1).predict(x, verbose=0)
    assert np.allclose(found, plain.predict(x, verbose=0), atol=1e-6)


def test_adds_to_logits(x):
    plain = classifier()
    model = branched(plain)
    expected = plain.predict(x, verbose=0) + found_by_branch(model, x)
    assert np.abs(model.predict(x, verbose=0) - expected).max() < 1e-5


def test_probabilities_stay_probabilities(x):
    plain = classifier("softmax")
    model = branched(plain)
    found = model.predict(x, verbose=0)
    weighed = plain.predict(x, verbose=0) * np.exp(found_by_branch(model, x))
    assert np.abs(found - weighed / weighed.sum(axis=1, keepdims=True)).max() < 1e-5


def test_layers_are_shared(x):
    plain = classifier()
    model = branched(plain)
    before = model.predict(x, verbose=0)
    plain.layers[-1].bias.assign_add([1.0, 0.0, 0.0, 0.0])
    assert np.abs(model.predict(x, verbose=0) - before - [1, 0, 0, 0]).max() < 1e-5


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_can_be_saved_and_trained(activation, x, tmp_path):
    model = branched(classifier(activation))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile("adam", loss)
    model.fit(x, np.arange(6) % 4, epochs=1, verbose=0)
    hk.models.save(model, tmp_path / "model.keras")
    loaded = hk.models.load(tmp_path / "model.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


class Subclassed(keras.Model):
    """Does not tell the shape of its input."""

    def __init__(self):
        super().__init__()
        self.network = classifier()

    def call(self, x):
        return self.network(x)


def test_subclassed(x):
    plain = Subclassed()
    model = branched(plain, input_shape=SHAPE)
    expected = plain.predict(x, verbose=0) + found_by_branch(model, x)
    assert np.abs(model.predict(x, verbose=0) - expected).max() < 1e-5


class HasALoss(Subclassed):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(y_pred)


def test_sees_detail_alone(x):
    """A faint chessboard changes what it finds; what varies slowly does not, away from the borders."""
    model = branched(classifier())
    rows, columns = np.indices(SHAPE[:2])
    board = np.where((rows + columns) % 2, 0.05, -0.05)[..., None].astype(np.float32)
    grey = np.full((1, *SHAPE), 0.5, np.float32)
    nothing, brighter, marked = (found_by_branch(model, z) for z in (grey, grey + 0.2, grey + board))
    assert np.abs(nothing).max() < 1e-4
    assert np.abs(brighter).max() < 1e-4
    assert np.abs(marked).max() > 0.01


def test_range_of_inputs(x):
    unit = branched(classifier())
    wide = branched(classifier(), input_range=(0, 255))
    for name in ("detail", "detail_logits"):
        wide.get_layer(name).set_weights(unit.get_layer(name).get_weights())
    assert np.abs(found_by_branch(unit, x) - found_by_branch(wide, 255 * x)).max() < 1e-4


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (classifier(shape=(5,)), {}, ModelError, r"one input of shape \(batch, height, width, channels\)"),
        (keras.Sequential([keras.layers.Dense(3)]), {}, ModelError, "must be built"),
        (keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)]), {}, ModelError, "one"),
        (Subclassed(), {}, ModelError, "must be built"),
        (HasALoss(), {"input_shape": SHAPE}, ModelError, "Received: a HasALoss with a `compute_loss` of its own"),
        (classifier(), {"units": 0}, InvalidArgumentError, "`units` must be a whole number of at least 1"),
        (classifier(), {"input_range": (1, 0)}, InvalidArgumentError, "`input_range`"),
    ],
    ids=["vectors", "not built", "one class", "no shape", "own loss", "no units", "range"],
)
def test_one_clear_error(model, arguments, error, message):
    with pytest.raises(error, match=message):
        hk.models.add_branch(model, **arguments)
