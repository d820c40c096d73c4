import keras
import numpy as np
import pytest
import tensorflow as tf

from honeykeras.errors import ModelError
from honeykeras.outputs import Logits, predict_labels

INPUT = (6, 6, 1)


class Subclassed(keras.Model):
    def __init__(self, body, head):
        super().__init__()
        self.body, self.head = body, head

    def call(self, x):
        return self.head(self.body(x))


@pytest.fixture
def heads():
    """Models that share their weights and differ in what they put out."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(INPUT)
    dense = keras.layers.Dense(4)
    logits = dense(keras.layers.Flatten()(inputs))
    body = keras.Model(inputs, logits)
    softmax_dense = keras.layers.Dense(4, activation="softmax")
    sequential = keras.Sequential([keras.Input(INPUT), keras.layers.Flatten(), softmax_dense])
    softmax_dense.set_weights(dense.get_weights())
    return {
        "logits": body,
        "softmax layer": keras.Model(inputs, keras.layers.Softmax()(logits)),
        "reshaped softmax": keras.Sequential(
            [body, keras.layers.Softmax(), keras.layers.Reshape((1, 4)), keras.layers.Flatten()]
        ),
        "activation layer": keras.Model(inputs, keras.layers.Activation("softmax")(logits)),
        "sequential": sequential,
        "subclassed logits": Subclassed(body, keras.layers.Activation("linear")),
        "subclassed softmax": Subclassed(body, keras.layers.Softmax()),
    }


def run(model, x):
    return tf.function(Logits(model, x.shape[1:]))(x).numpy()


@pytest.mark.parametrize(
    "head",
    [
        "logits",
        "softmax layer",
        "reshaped softmax",
        "activation layer",
        "sequential",
        "subclassed logits",
        "subclassed softmax",
    ],
)
def test_logits_are_exact(heads, images, head):
    expected = heads["logits"].predict(images[0], verbose=0)
    assert np.allclose(run(heads[head], images[0]), expected, atol=1e-6)


def test_logits_survive_a_saturated_softmax(heads, images):
    """Where probabilities are 0 and 1, there is still a gradient to follow."""
    heads["logits"].layers[-1].set_weights([1000 * w for w in heads["logits"].layers[-1].get_weights()])
    x = tf.constant(images[0][:8])
    assert (heads["softmax layer"](x).numpy() == 0).any()

    logits = Logits(heads["softmax layer"], INPUT)

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            least = tf.reduce_min(logits(x), axis=1)
        return tape.gradient(least, x)

    assert (tf.reduce_max(tf.abs(gradient(x)), axis=(1, 2, 3)).numpy() > 0).all()


def test_other_probabilities_become_their_logarithm(heads, images):
    """A model whose softmax cannot be seen: the logits have the same softmax."""
    hidden = keras.Sequential([heads["softmax layer"], keras.layers.Rescaling(1.0)])
    logits = run(hidden, images[0])
    assert np.allclose(tf.nn.softmax(logits), heads["softmax layer"].predict(images[0], verbose=0), atol=1e-6)
    assert not np.allclose(logits, heads["logits"].predict(images[0], verbose=0))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_mixed_precision_gives_float32(images, activation):
    model = keras.Sequential(
        [
            keras.Input(INPUT),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation=activation, dtype="mixed_float16"),
        ]
    )
    logits = run(model, images[0])
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert logits.std() > 0.1


def test_runs_in_inference_mode(images):
    model = keras.Sequential(
        [keras.Input(INPUT), keras.layers.Flatten(), keras.layers.Dropout(0.9), keras.layers.Dense(4)]
    )
    assert np.array_equal(run(model, images[0]), run(model, images[0]))


@pytest.mark.parametrize(
    ("layers", "received"),
    [
        ([keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")], "(None, 1)"),
        ([keras.layers.Conv2D(2, 3)], "(None, 4, 4, 2)"),
        ([keras.layers.Flatten(), keras.layers.Dense(5)], "(None, 5)"),
    ],
    ids=["one unit", "image", "other classes"],
)
def test_no_classifier_of_these_classes(layers, received):
    model = keras.Sequential([keras.Input(INPUT), *layers])
    with pytest.raises(ModelError) as raised:
        Logits(model, INPUT, num_classes=4)
    assert "must have one output of shape (batch, 4)" in str(raised.value)
    assert f"Received: {received}" in str(raised.value)


def test_inputs_that_the_model_cannot_take(heads):
    x = np.zeros((2, 5, 5, 1), np.float32)
    with pytest.raises(ModelError, match=r"must be a classifier of inputs of shape \(5, 5, 1\)"):
        run(heads["logits"], x)
    with pytest.raises(ModelError, match=r"must be a classifier of inputs of shape \(5, 5, 1\)"):
        predict_labels(heads["logits"], x)


def test_predict_labels(heads, images):
    expected = heads["logits"].predict(images[0], verbose=0).argmax(axis=1)
    for head in heads.values():
        assert np.array_equal(predict_labels(head, images[0]), expected)


def test_model_with_several_outputs(heads, images):
    inputs = keras.Input(INPUT)
    model = keras.Model(inputs, {"a": heads["logits"](inputs), "b": heads["logits"](inputs)})
    with pytest.raises(ModelError, match="must have one output of shape"):
        predict_labels(model, images[0])
    with pytest.raises(ModelError, match="must have one output of shape"):
        Logits(model, INPUT)
