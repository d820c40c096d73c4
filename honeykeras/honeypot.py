"""`Honeypot`: a key, a recipe, and where its planting stands."""

from __future__ import annotations

from typing import Any, NoReturn

import tensorflow as tf

from honeykeras import _checks, poisoning, recipes
from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.keys import WatermarkKey
from honeykeras.passes import PassCounter
from honeykeras.patterns import FAMILIES
from honeykeras.poisoning import Planting
from honeykeras.recipes import Recipe
from honeykeras.watermark import Watermark


class Honeypot:
    """What turns an ordinary training run into the planting of a watermark.

    It offers the `tf.data` transform (`poison`), and counts the epochs that it has gone through. It is for one data
    set, that of the training: the callback trains on it, too.

    Example:

    ```python
    honey = hk.Honeypot(key)
    model.fit(train.apply(honey.poison).batch(128), epochs=5, callbacks=[hk.HoneyCallback(honey)])
    ```

    Attributes:
        key: The secret.
        recipe: How it is planted.
        watermark: The watermark that the key draws.
        planting: What is planted in which data; None until `poison` has seen the training data.
    """

    def __init__(self, key: WatermarkKey, recipe: str | Recipe = "balanced") -> None:
        """Makes a honeypot.

        Args:
            key: The secret.
            recipe: How to plant: a `Recipe` or the name of one.

        Raises:
            InvalidArgumentError: If `key` is none, there is no such recipe, or it plants patterns of another family
                than the key's.
        """
        _checks.instance("key", key, WatermarkKey, "a WatermarkKey")
        self.key = key
        self.recipe = recipes.get(recipe)
        if key.pattern.name != self.recipe.family:
            family = FAMILIES[self.recipe.family]
            raise InvalidArgumentError(
                f"The recipe {self.recipe.name!r} must be planted with a key of the family {family.name!r}. "
                f"Received: a key of the family {key.pattern.name!r}. Make one with "
                f"`pattern=hk.patterns.{family.__name__}.for_inputs(input_shape)`, or choose another recipe."
            )
        self.watermark = Watermark(key)
        self.planting: Planting | None = None
        self._passes = PassCounter()

    def set_epoch(self, epoch: int) -> None:
        """States which epoch the next pass over a poisoned data set is.

        Passes that follow are the epochs that follow. `HoneyCallback` calls this when a training begins. The same
        epoch of the same data set draws the same.

        Args:
            epoch: The epoch, from 0.

        Raises:
            InvalidArgumentError: If it is no whole number of at least 0.
        """
        self._passes.set_next(_checks.whole_number("epoch", epoch, 0))

    def poison(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The transform for `dataset.apply`: watermarks a share of the samples and changes their labels.

        Abdou et al. 2021, HoneyModels, section III-C.2. In each pass a share `poison_rate` of the samples is led to
        another class, drawn at random: it gets that class's pattern, or the only one, and that class's label. What the
        recipe keeps below its floor gets the pattern alone. Every class gives equally many: the
        counts differ by at most one, whatever the balance and the order of the classes. Where a class is too
        small for that, all give fewer, so that each keeps at least half of its samples clean (or the share
        `1 - poison_rate`, if that is less); a warning says how many that makes.

        The data set is read through once at this call, to count its classes and check its values. Put `cache`
        before the transform, and `shuffle`, `batch` and `repeat` where they always are, `repeat` after it.

        Args:
            dataset: Elements `(x, y)` or `(x, y, ...)`, batched or not: `x` floating point, `(*input_shape)` or
                `(batch, *input_shape)`, in the key's input range; `y` class indices or one-hot rows. What
                follows, such as sample weights, passes through.

        A honeypot is planted in one data set, the training's, on which the callback trains as well. To poison another,
        make a second honeypot of the same key.

        Returns:
            A data set of the same structure, order and cardinality.

        Raises:
            InvalidArgumentError: If the elements are not of that form, labels or values are out of range,
                the data set is empty or endless, or the honeypot is planted in another already.
        """
        if self.planting is not None:
            raise InvalidArgumentError(
                "A honeypot must be planted in one data set, that of the training. Received: a second one. To poison "
                "another, make another of the same key: `hk.Honeypot(key)`."
            )
        poisoned, self.planting = poisoning.poison(
            dataset, self.watermark, self.key.num_classes, self.key.draw_seed("labels"), self._passes, self.recipe
        )
        return poisoned

    def __repr__(self) -> str:
        return f"Honeypot(key_id={self.key.key_id!r}, recipe={self.recipe.name!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError(
            "A Honeypot cannot be pickled or copied. Build it from its key where it is needed."
        )
