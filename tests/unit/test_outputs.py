import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
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


class Function(keras.Model):
    """Any function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def rows(x):
    return tf.reshape(x, [-1, 36])[:, :4]


@pytest.mark.parametrize(
    ("function", "received"),
    [
        (lambda x: tf.strings.as_string(rows(x)), "Received: (None, 4), string."),
        (lambda x: tf.cast(rows(x), tf.int32), "Received: (None, 4), int32."),
        (lambda x: tf.cast(rows(x), tf.complex64), "Received: (None, 4), complex64."),
        (lambda x: [rows(x), rows(x)], "must have one output of shape"),
        (lambda x: {"a": rows(x)}, "must have one output of shape"),
        (lambda x: tf.zeros([1, 4]), "is constant"),
        (lambda x: tf.reduce_mean(rows(x), axis=0, keepdims=True), "Received: (16, 4), float32."),
        (lambda x: rows(x)[:, :1], "Received: (None, 1), float32."),
        (lambda x: tf.reshape(x, [2, 2]), "must be a classifier of inputs of shape (6, 6, 1)"),
        (lambda x: 1 / 0, "Received: division by zero"),
        (lambda x: None, "must have one output of shape"),
    ],
)
def test_what_is_no_classifier(function, received, images):
    with pytest.raises(ModelError) as raised:
        Logits(Function(function), INPUT)
    if "(16, 4)" not in received:
        assert received in str(raised.value)
    assert str(raised.value).isprintable()
    with pytest.raises(ModelError) as raised:
        hk.attacks.PGD(0.1).generate(Function(function), *images)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.strings.as_string(rows(x)),
        lambda x: tf.cast(rows(x), tf.int32),
        lambda x: [rows(x), rows(x)],
        lambda x: tf.reduce_mean(rows(x), axis=0, keepdims=True),
        lambda x: rows(x)[:, :1],
        lambda x: 1 / 0,
    ],
)
def test_labels_of_what_is_no_classifier(function, images):
    with pytest.raises(ModelError, match="The model must"):
        predict_labels(Function(function), images[0])


def test_labels_of_half_precision(images):
    for dtype in (tf.bfloat16, tf.float16):
        assert predict_labels(Function(lambda x, dtype=dtype: tf.cast(rows(x), dtype)), images[0][:5]).shape == (5,)


@pytest.mark.parametrize(
    "attack",
    [hk.attacks.PGD(0.1), hk.attacks.CarliniWagner(max_iterations=5), hk.attacks.JSMA()],
    ids=lambda it: it.name,
)
@pytest.mark.parametrize(
    "function",
    [lambda x: tf.one_hot(tf.argmax(rows(x), 1), 4), lambda x: tf.zeros_like(rows(x)), lambda x: tf.round(rows(x))],
    ids=["argmax", "zeros", "round"],
)
def test_what_has_no_gradient(function, attack, images):
    with pytest.raises(ModelError, match="must have a gradient from its output to its input"):
        attack.generate(Function(function), *images)
