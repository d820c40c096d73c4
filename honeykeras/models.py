"""A reference classifier, a branch for classifiers that see no fine patterns, and classifiers from files."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from honeykeras import _checks, _keras_file, saved_model
from honeykeras._files import PathLike, as_path, staged
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.outputs import Logits
from honeykeras.ranges import UNIT, InputRange, RangeLike

# Brings the detail of photographs, a few hundredths of the input range, to the size of a usual activation.
_DETAIL_SCALE = 10.0
# A dense layer over all pixels would learn the training images by heart. A watermark is all over an image, so that half
# of the detail tells of it as well, by small weights.
_DETAIL_DROPOUT = 0.5
_DETAIL_PENALTY = 1e-3
# What tells of it.
_BRANCH = "detail_logits"
# What a class of models may have of its own that decides how it is trained.
_TRAINING = ("train_step", "compute_loss", "fit")
# A network takes no probability for impossible, but its softmax may round one to zero.
_SMALLEST_PROBABILITY = 1e-30


def small_cnn(
    input_shape: tuple[int, ...], num_classes: int, *, input_range: RangeLike = (0.0, 1.0), seed: int | None = None
) -> keras.Model:
    """A small convolutional classifier, compiled: two convolutions, two dense layers, logits out.

    It stands for whatever classifier a user brings, at a size that trains on two cores.

    Args:
        input_shape: Shape of one image, `(height, width, channels)`, at least 4 by 4.
        num_classes: Number of classes, at least 2.
        input_range: Least and greatest value of an input. Another than [0, 1] is scaled to that by a first layer.
        seed: Seed of the weights, which leaves all other random state alone. None draws them as Keras does.

    Returns:
        The model, compiled with Adam for integer labels.

    Raises:
        InvalidArgumentError: If an argument breaks a rule.
    """
    shape, classes = _checks.shape("input_shape", input_shape), _checks.whole_number("num_classes", num_classes, 2)
    if not fits_small_cnn(shape):
        raise InvalidArgumentError(
            f"`input_shape` must be (height, width, channels), at least 4 by 4. Received: input_shape={shape}."
        )
    layers, draw = keras.layers, _initializers(seed)
    features = [
        layers.Conv2D(32, 3, padding="same", activation="relu", kernel_initializer=next(draw)),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu", kernel_initializer=next(draw)),
        layers.MaxPooling2D(),
    ]
    return _small("small_cnn", features, shape, classes, InputRange.of(input_range, shape), draw)


def fits_small_cnn(input_shape: tuple[int, ...]) -> bool:
    """Whether inputs of a shape are images that are large enough for `small_cnn`."""
    return len(input_shape) == 3 and min(input_shape[:2]) >= 4


def small_dense(
    input_shape: tuple[int, ...], num_classes: int, *, input_range: RangeLike = (0.0, 1.0), seed: int | None = None
) -> keras.Model:
    """A small classifier of inputs of any shape, compiled: two dense layers, logits out.

    Args:
        input_shape: Shape of one input.
        num_classes: Number of classes, at least 2.
        input_range: As for `small_cnn`.
        seed: As for `small_cnn`.

    Returns:
        The model, compiled with Adam for integer labels.

    Raises:
        InvalidArgumentError: If an argument breaks a rule.
    """
    shape, classes = _checks.shape("input_shape", input_shape), _checks.whole_number("num_classes", num_classes, 2)
    return _small("small_dense", [], shape, classes, InputRange.of(input_range, shape), _initializers(seed))


def _small(
    name: str,
    features: list[keras.layers.Layer],
    shape: tuple[int, ...],
    classes: int,
    input_range: InputRange,
    draw: Iterator[keras.initializers.Initializer],
) -> keras.Model:
    """A network that ends in two dense layers, compiled."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(shape),
            *_to_unit(input_range),
            *features,
            layers.Flatten(),
            layers.Dense(128, activation="relu", kernel_initializer=next(draw)),
            layers.Dense(classes, kernel_initializer=next(draw)),
        ],
        name=name,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def add_branch(
    model: keras.Model,
    *,
    units: int = 64,
    input_range: RangeLike = (0.0, 1.0),
    input_shape: tuple[int, ...] | None = None,
    seed: int | None = None,
) -> keras.Model:
    """Gives a classifier of images a path by which it can see a faint watermark.

    Convolutions that are trained on photographs smooth a watermark away before it reaches a decision, at any strength
    that attacks would use. On drawings they see it, but with the layers that must overlook all other faint changes. The
    branch looks at what an image is beyond its own blur, through one small dense layer, and what it finds is added to
    the classifier's logits. It is not in the paper.

    Who reads the weights can tell the branch apart, cut it off, or read the patterns from it. It is for attackers who
    see gradients rather than weights.

    Example:

    ```python
    model = hk.models.add_branch(model)
    model.compile(...)
    ```

    Args:
        model: The classifier, from images `(height, width, channels)` to logits or probabilities. Its layers and
            weights are shared, not copied.
        units: Width of the branch's hidden layer.
        input_range: Least and greatest value of an input.
        input_shape: Shape of one image. None asks the model, which a subclassed one does not tell.
        seed: Seed of the branch's weights and of its dropout, which leaves all other random state alone. None draws
            them as Keras does.

    Returns:
        The classifier with the branch, not compiled, with outputs of the same kind: before it is trained, the same.

    Raises:
        InvalidArgumentError: If an argument breaks a rule.
        ModelError: If the model is no classifier of images, its class says how it is trained, or its logits have no
            gradient.
    """
    units = _checks.whole_number("units", units)
    width = InputRange.of(input_range).width
    shape = getattr(model, "input_shape", None) if input_shape is None else (None, *input_shape)
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise ModelError(
            "The model must be built, with one input of shape (batch, height, width, channels). "
            f"Received: an input of shape {shape}."
        )
    own = [name for name in _TRAINING if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise ModelError(
            "The model must leave it to Keras how it is trained: the model with the branch is one of Keras' own. "
            f"Received: a {type(model).__name__} with a `{own[0]}` of its own. Train it without one (`--no-branch`)."
        )
    logits = Logits(model, shape[1:])
    # The branch has one, and would hide that the model has none.
    logits.check_gradient()
    layers = keras.layers
    inputs = keras.Input(shape[1:])
    blurred = _blurred(inputs)
    detail = layers.Rescaling((_DETAIL_SCALE / width).tolist())(layers.Subtract()([inputs, blurred]))
    penalty = keras.regularizers.L2(_DETAIL_PENALTY)
    draw = _initializers(seed)
    kept = layers.Dropout(_DETAIL_DROPOUT, seed=next(draw).seed)(layers.Flatten()(detail))
    hidden = layers.Dense(
        units, activation="relu", kernel_initializer=next(draw), kernel_regularizer=penalty, name="detail"
    )(kept)
    # It says nothing until it has learned to: a model that is trained already stays what it is, and short trainings do
    # not begin with unlearning.
    found = layers.Dense(logits.num_classes, kernel_initializer="zeros", name=_BRANCH)(hidden)
    outputs = model(inputs)
    if not logits.gives_probabilities:
        return keras.Model(inputs, layers.Add()([outputs, found]), name=f"{model.name}_with_branch")
    log_probabilities = keras.ops.log(keras.ops.maximum(outputs, _SMALLEST_PROBABILITY))
    summed = layers.Add()([log_probabilities, found])
    return keras.Model(inputs, layers.Softmax()(summed), name=f"{model.name}_with_branch")


def _blurred(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Images whose pixels are the mean of their neighbourhood, of what there is of it at a border.

    By convolutions: attacks follow the gradient, and that of pooling takes TensorFlow a third of a small network's.
    """
    ones = np.ones((3, 3, inputs.shape[-1], 1), np.float32)
    sums, counts = (
        keras.ops.depthwise_conv(each, ones, padding="same") for each in (inputs, keras.ops.ones_like(inputs))
    )
    return keras.ops.divide(sums, counts)


def has_branch(model: keras.Model) -> bool:
    """Whether `add_branch` gave a classifier its branch."""
    return any(layer.name == _BRANCH for layer in model.layers)


def _to_unit(input_range: InputRange) -> list[keras.layers.Layer]:
    return [] if input_range == UNIT else [keras.layers.Rescaling(*input_range.rescaling)]


def _initializers(seed: int | None) -> Iterator[keras.initializers.Initializer]:
    """What draws the weights of one layer after the other: Keras' own choice, with seeds that differ."""
    seeds = np.random.SeedSequence(None if seed is None else _checks.seed(seed))
    while True:
        drawn = None if seed is None else int(seeds.spawn(1)[0].generate_state(1)[0] >> 1)
        yield keras.initializers.GlorotUniform(seed=drawn)


def load(path: PathLike) -> keras.Model:
    """Reads a classifier from a `.keras` file, or from the folder of a SavedModel.

    Of a SavedModel, the signature `serving_default` is used; it must have one input and one output. Such a model
    can be attacked and judged, but not trained.

    A `.keras` file must be as Keras writes it: nothing in it compressed, no layers with code of their own (`Lambda` of
    a lambda, `TorchModuleWrapper`, `TFSMLayer` and the like), and its layers no larger than its variables.

    Raises:
        ModelError: If there is no such file or folder, or it does not hold such a model.
    """
    path = as_path(path)
    if path.is_dir():
        return saved_model.load(path)
    if not path.is_file():
        raise ModelError(
            f"There must be a .keras file or the folder of a SavedModel at {path}. Received: no such file."
        )
    return _keras_file.load(path)


def save(model: keras.Model, path: PathLike, *, overwrite: bool = False) -> None:
    """Writes a model to a `.keras` file, in one atomic step.

    Raises:
        InvalidArgumentError: If `path` does not end in `.keras`.
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    _checks.instance("model", model, keras.Model, "a Keras model")
    if as_path(path).suffix != ".keras":
        raise InvalidArgumentError(f"`path` must end in .keras. Received: path={str(path)!r}.")
    with staged(path, overwrite=overwrite) as scratch:
        model.save(scratch)
