"""`AdversarialTraining`: what a user would do instead of a honeypot, as the anchor that a honeypot is measured by."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras import _checks, surrogates, survey, transfer_examples
from honeykeras._files import PathLike
from honeykeras.hardening import Hardens, Samples
from honeykeras.ranges import InputRange, RangeLike
from honeykeras.recipes import Recipe

# As in Madry et al. 2018, with steps as large as few of them need.
_STEPS, _WARM_UP = 5, 0.3
_CHUNK = 256


class AdversarialTraining(Hardens):
    """Adversarial training with any compiled classifier (Madry et al. 2018, section 2.1), without a key.

    Each step of `fit` on clean data is followed by one on as many adversarial examples, made with the current weights
    and trained on with their true labels. Their radius grows to its full size over the first third of the training.

    Example:

    ```python
    batches = dataset.shuffle(10_000).batch(128)
    hardens = hk.AdversarialTraining(dataset, 0.3, input_shape=(28, 28, 1), num_classes=10)
    model.fit(batches, epochs=5, callbacks=[hardens])
    ```
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        epsilon: float,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        steps: int = _STEPS,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
        backup_dir: PathLike | None = None,
    ) -> None:
        """Makes the callback.

        Args:
            dataset: What the model is trained on: elements `(x, y)`, floating point and class indices or one-hot rows,
                batched or not.
            epsilon: Radius in the L-infinity norm, in input units, or a share of each feature's width where features
                have ranges of their own.
            input_shape: Shape of one input.
            num_classes: How many classes there are.
            steps: How many steps of projected gradient descent each adversarial example takes.
            input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
            seed: Seed of the random starts, and of the order of the samples.
            backup_dir: As for `HoneyCallback`.

        Raises:
            InvalidArgumentError: If an argument breaks a rule, or the data do not fit the rest.
        """
        super().__init__(backup_dir)
        shape = _checks.shape("input_shape", input_shape)
        bounds = InputRange.of(input_range, shape)
        share = _checks.in_interval("epsilon", epsilon, 0, np.inf, closed="()") / float(bounds.working.width)
        classes, seed = _checks.whole_number("num_classes", num_classes, 2), _checks.seed(seed)
        self._recipe = Recipe(
            name="adversarial",
            poison_rate=0.0,
            amplitude=1.0,
            adversarial_epsilon=_checks.in_interval("epsilon", share, 0, 1, closed="(]"),
            adversarial_share=1.0,
            adversarial_steps=_checks.whole_number("steps", steps),
            adversarial_least=1.0,
            adversarial_warm_up=_WARM_UP,
        )
        batched = survey.check_structure(dataset, shape, classes)
        counts = survey.look_through(dataset if batched else dataset.batch(_CHUNK), classes, bounds).counts
        drawn = np.array([seed, 0], np.int64)
        self._trained_on = Samples(dataset, int(counts.sum()), shape, bounds, classes, drawn, seed)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.harden(self._trained_on, self._recipe)


def adversarial_epochs(recipe: Recipe, epochs: int, samples: int) -> int:
    """How many epochs of adversarial training take as many passes through the model as a honeypot's training.

    Args:
        recipe: The honeypot's recipe.
        epochs: How many epochs its training takes.
        samples: How many training samples there are.
    """
    attacked = 1 - recipe.random_share - recipe.transfer_share if recipe.adversarial_epsilon else 0
    examples = 1 + attacked * recipe.adversarial_steps if recipe.adds_examples else float(recipe.alignment > 0)
    # The gradient of a gradient takes another pass forward and back.
    aligning = 2 if recipe.alignment else 0
    passes = epochs * (1 + recipe.adversarial_share * (examples + aligning))
    if recipe.transfer_share:
        passes += (surrogates.SAMPLES + surrogates.COUNT * transfer_examples.gradients(samples)) / samples
    return max(1, round(passes / (1 + _STEPS + 1)))
