"""The classifier that is trained: the reference one, what a user's function returns, or one from a file.

A builder makes it anew for each training, so that the one with the honeypot and the one without start alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from honeykeras import _checks, _sources, models
from honeykeras._messages import first_line
from honeykeras.data import Data
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.outputs import Logits

_LEARNING_RATE = 1e-3
_CLASS_WEIGHT = "class_weight"
# Losses of Keras' own whose labels are rows, one-hot.
_ONE_HOT_LOSSES = (
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "kl_divergence",
    "kullback_leibler_divergence",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "mean_squared_error",
)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier to train.

    Attributes:
        model: Compiled.
        class_weight: What the loss of each class counts, by its index; None if all count alike.
    """

    model: keras.Model
    class_weight: Mapping[int, float] | None = None

    @property
    def one_hot(self) -> bool:
        """Whether the loss takes labels as one-hot rows."""
        return _name_of(self.model.loss) in _ONE_HOT_LOSSES


class Builder(Protocol):
    """Makes a classifier to train, with the same weights each time."""

    def __call__(self, data: Data, *, seed: int, steps: int) -> Classifier:
        """Makes it.

        Args:
            data: What it will be trained on.
            seed: Seed of the weights.
            steps: How many steps it will be trained.

        Raises:
            ModelError: If there is no such classifier, or it does not fit the data.
        """


def get(source: str | None, *, branch: bool | None = None, strategy: tf.distribute.Strategy | None = None) -> Builder:
    """The builder that a user names.

    Args:
        source: `file.py:function` or `package.module:function`, of a function that gets `(input_shape, num_classes)`
            and returns a compiled Keras model, or the model and a dictionary `{"class_weight": {class: weight}}`; or
            a `.keras` file of a compiled model, which is trained on from its weights, its optimizer starting anew.
            None for the reference classifier.
        branch: Whether the classifier gets a branch (`models.add_branch`). None adds one to classifiers of images that
            have none yet.
        strategy: How the training is spread over devices. None trains as TensorFlow does by itself.

    Raises:
        InvalidArgumentError: If there is no such function or file.
    """
    make: Callable[..., Classifier]
    if source is None:
        make = reference
    elif _sources.is_function(source):
        function = _sources.load_function(source, "model")

        def make(data: Data, *, seed: int, steps: int) -> Classifier:
            return _of_function(source, function, data, seed)

    elif source.endswith(".keras"):
        if not Path(source).is_file():
            raise InvalidArgumentError(f"`model` must be a .keras file that is there. Received: {source}.")

        def make(data: Data, *, seed: int, steps: int) -> Classifier:
            return _of_file(source, data)

    else:
        raise InvalidArgumentError(
            "`model` must be file.py:function or package.module:function, of a function that returns a compiled Keras "
            f"model, or a .keras file. Received: {_checks.shown(source)}."
        )

    def build(data: Data, *, seed: int, steps: int) -> Classifier:
        with (strategy or tf.distribute.get_strategy()).scope():
            made = make(data, seed=seed, steps=steps)
            wanted = len(data.input_shape) == 3 if branch is None else branch
            if not wanted or models.has_branch(made.model):
                return made
            return dataclasses.replace(made, model=_with_branch(made.model, data, seed))

    return build


def reference(data: Data, *, seed: int, steps: int) -> Classifier:
    """The reference classifier; its learning rate falls to zero along a cosine."""
    model = models.small_cnn(data.input_shape, data.num_classes, input_range=data.input_range, seed=seed)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return Classifier(model)


def _of_function(source: str, function: Callable[..., Any], data: Data, seed: int) -> Classifier:
    # Weights are drawn by Keras' global state, in code that is not ours.
    keras.utils.set_random_seed(seed)
    try:
        made = function(data.input_shape, data.num_classes)
    except Exception as error:  # Anybody's code.
        raise ModelError(
            f"{source} must return a compiled Keras model for inputs of shape {data.input_shape} and "
            f"{data.num_classes} classes. Received: {type(error).__name__}: {first_line(error)}"
        ) from error
    model, options = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
    if not isinstance(model, keras.Model) or not isinstance(options, Mapping) or set(options) - {_CLASS_WEIGHT}:
        raise ModelError(
            f"{source} must return a compiled Keras model, or it and a dictionary of `{_CLASS_WEIGHT}`. Received: "
            f"{type(made).__name__ if model is made else _checks.shown([type(each).__name__ for each in made])}."
        )
    _check(source, model, data)
    return Classifier(model, _class_weight(source, options.get(_CLASS_WEIGHT), data))


def _of_file(source: str, data: Data) -> Classifier:
    model = models.load(source)
    _check(source, model, data)
    # Its schedule may be at its end, and what its optimizer has gathered is of another training.
    model.compile_from_config(model.get_compile_config())
    return Classifier(model)


def _check(source: str, model: keras.Model, data: Data) -> None:
    if not model.compiled or model.loss is None:
        raise ModelError(
            f"{source} must be a compiled model, with a loss. Received: one without. Call `compile` on it."
        )
    try:
        # It makes the weights of a model that has none yet, as `build` does not of a subclassed one.
        Logits(model, data.input_shape, data.num_classes)
    except ModelError as error:
        raise ModelError(f"{source} does not fit {data.name}. {error}") from error
    if not model.trainable_variables:
        raise ModelError(f"{source} must have weights that can be trained. Received: none.")


def _class_weight(source: str, weights: Any, data: Data) -> dict[int, float] | None:
    """Weights by the index of their class; a class may be called by its name."""
    if weights is None:
        return None
    numbers: dict[str | int, int] = {name: number for number, name in enumerate(data.class_names or ())}
    numbers |= {number: number for number in range(data.num_classes)}
    known = isinstance(weights, Mapping) and all(each in numbers for each in weights)
    if not known or not all(isinstance(each, (int, float)) and each >= 0 for each in weights.values()):
        raise ModelError(
            f"{source} must give `{_CLASS_WEIGHT}` as a dictionary from classes of {data.name} to numbers of at least "
            f"0. Received: {_checks.shown(weights)}."
        )
    return dict.fromkeys(range(data.num_classes), 1.0) | {numbers[each]: float(weights[each]) for each in weights}


def _with_branch(model: keras.Model, data: Data, seed: int) -> keras.Model:
    branched = models.add_branch(model, input_range=data.input_range, input_shape=data.input_shape, seed=seed)
    try:
        branched.compile_from_config(model.get_compile_config())
    except Exception as error:  # Keras raises whatever a user's own losses and metrics do.
        raise ModelError(
            "A model that gets a branch must be compiled with what Keras can make anew from its config. Received: "
            f"{first_line(error)} Add the branch in your function (`hk.models.add_branch`) and compile after it, or "
            "train without one (`--no-branch`)."
        ) from error
    return branched


def _name_of(loss: Any) -> str:
    """What Keras calls a loss: an object, a function, or a name already."""
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or loss)
