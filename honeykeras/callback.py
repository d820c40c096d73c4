"""`HoneyCallback`: drives the planting during `fit`, and watches it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks, survey, transfer_examples
from honeykeras._files import PathLike
from honeykeras.attacks import PGD, Attack
from honeykeras.errors import InvalidArgumentError, PlantingWarning
from honeykeras.hardening import Hardens, Samples
from honeykeras.honeypot import Honeypot
from honeykeras.outputs import Logits, predict_labels
from honeykeras.recipes import Recipe
from honeykeras.surrogates import train as train_surrogates
from honeykeras.watermark import Watermark

# By how much, and by how many standard deviations of wrong keys, the watermark must be drawn beyond wrong keys'.
_LEAST_DRAWN, _DEVIATIONS = 0.05, 3.0


class HoneyCallback(Hardens):
    """Keeps a honeypot in step with training, hardens the model off the key, and probes what attacks reconstruct.

    Where the recipe asks for adversarial examples or alignment, each training step is followed by one of `Hardening`
    on the clean data that was poisoned.

    When training begins it tells the honeypot at which epoch, so that a resumed training (`initial_epoch`) goes on
    with the draws and the schedules of where it stopped. From there on the passes over the data are counted, so
    that nothing depends on how far a pipeline reads ahead. With `probe` data, a quick attack at the end of each
    epoch tells how much of the watermark the attack draws:

    - `watermark_similarity`: mean cosine similarity of watermark and perturbation (Abdou et al. 2021,
      HoneyModels, section III-C.3);
    - `watermark_similarity_wrong_key`: the same for eight keys that were never planted, on average. Where the
      first does not stand out from this one, nothing is planted;
    - `watermark_probes_fooled`: the share of the probes, of those that the model gets right, on which the attack
      succeeded. Of those are the other two; where there are none, they are NaN.

    Where nothing of the watermark is drawn at the end of a training, a `PlantingWarning` says so.

    All go into `logs`. Callbacks that are to see them (`CSVLogger`, `TensorBoard`, `EarlyStopping`) come after
    this one in the list; `History` and the progress bar always do.

    Example:

    ```python
    honey = hk.Honeypot(key)
    model.fit(
        train.apply(honey.poison).batch(128),
        epochs=5,
        callbacks=[hk.HoneyCallback(honey, probe=validation), keras.callbacks.CSVLogger("log.csv")],
    )
    ```
    """

    def __init__(
        self,
        honeypot: Honeypot,
        probe: tf.data.Dataset | tuple[np.ndarray, np.ndarray] | None = None,
        *,
        probe_size: int = 128,
        attack: Attack | None = None,
        surrogates: Sequence[keras.Model] = (),
        backup_dir: PathLike | None = None,
    ) -> None:
        """Makes the callback.

        Args:
            honeypot: The honeypot whose `poison` the training data went through.
            probe: Clean images and labels that are not trained on: a data set of `(x, y)`, batched or not, or
                a pair of arrays. Without it, nothing is probed.
            probe_size: How many of them to attack, at most.
            attack: The attack. Defaults to ten steps of PGD in a tenth of the input range.
            surrogates: For a recipe that has a `transfer_share`: plain models of the same data, on which images of the
                training are attacked when it begins, for the model to keep their labels on. Without any, two small
                networks are trained for it then.
            backup_dir: A folder for what the model's own file has no place for, the state of the second optimizer,
                after each epoch. With it and `keras.callbacks.BackupAndRestore`, which is to come after this callback
                and may have the same folder, a training that was stopped goes on as if it had not been.

        Raises:
            InvalidArgumentError: If the probe does not fit the honeypot's key, or the recipe has no use for surrogates.
        """
        super().__init__(backup_dir)
        _checks.instance("honeypot", honeypot, Honeypot, "a Honeypot")
        if surrogates and not honeypot.recipe.transfer_share:
            raise InvalidArgumentError(
                f"`surrogates` must be left out if the recipe has no `transfer_share`, as {honeypot.recipe.name!r} has "
                f"none. Received: {len(surrogates)} models."
            )
        self._surrogates = list(surrogates)
        self.honeypot = honeypot
        self._nothing_drawn: str | None = None
        input_range = honeypot.key.input_range
        self.attack = attack or PGD(epsilon=0.1 * float(input_range.working.width), steps=10, input_range=input_range)
        self._probe = None if probe is None else _take(probe, honeypot, _checks.whole_number("probe_size", probe_size))
        self._wrong = [Watermark(wrong_key) for wrong_key in honeypot.key.wrong_keys()] if self._probe else []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self._nothing_drawn = None
        key, planting = self.honeypot.key, self.honeypot.planting
        # Told at once, and not after the first epoch.
        Logits(self.model, key.input_shape, key.num_classes)
        if planting is None:
            warnings.warn(
                "No data set was poisoned with this honeypot: apply it to the training data with "
                "`dataset.apply(honeypot.poison)`.",
                stacklevel=2,
            )
        elif planting.recipe.adds_examples or planting.recipe.alignment:
            seed, order_seed = key.draw_seed("hardening"), int(key.draw_seed("hardening order")[0])
            about = key.input_shape, key.input_range, key.num_classes
            samples = Samples(planting.clean, planting.num_samples, *about, seed, order_seed)
            self.harden(samples, planting.recipe, self.honeypot.watermark, self._made(samples, planting.recipe))

    def _made(self, samples: Samples, recipe: Recipe) -> transfer_examples.TransferExamples | None:
        """What is made on other models, if the recipe has it."""
        if not recipe.transfer_share:
            return None
        count = min(samples.count, transfer_examples.IMAGES)
        size = min(count, transfer_examples.BATCH_SIZE)
        taken = samples.batches(size, 0).take(count // size).as_numpy_iterator()
        seed = int(self.honeypot.key.draw_seed("surrogates")[0]) % 2**32
        # They can take longer than the first epoch.
        verbose = self.params.get("verbose", 0)
        surrogates = self._surrogates or train_surrogates(samples, seed, verbose=verbose)
        return transfer_examples.make(list(taken), surrogates, recipe.transfer_epsilon, samples.input_range, seed)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_end(logs)
        if self._nothing_drawn:
            warnings.warn(self._nothing_drawn, PlantingWarning, stacklevel=2)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._begun:
            self.honeypot.set_epoch(epoch)
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._probe:
            fooled, right, wrong = self._reconstruct(*self._probe)
            self._nothing_drawn = self._complaint(right, wrong)
            if logs is not None:
                logs.update(
                    watermark_similarity=right,
                    watermark_similarity_wrong_key=float(np.mean(wrong)),
                    watermark_probes_fooled=fooled,
                )
        super().on_epoch_end(epoch, logs)

    def _reconstruct(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float, list[float]]:
        """How many probes are fooled, and how similar perturbations of those are to the watermark and wrong keys'."""
        known = predict_labels(self.model, x) == y
        x_adv = self.attack.generate(self.model, x, y).x_adv
        predicted = np.maximum(predict_labels(self.model, x_adv), 0)
        # What the model gets wrong by itself is nothing that the attack did.
        fooled = known & (predicted != y)
        share = float(fooled.sum() / max(known.sum(), 1))
        watermarks = (self.honeypot.watermark, *self._wrong)
        if not fooled.any():
            return share, math.nan, [math.nan] * len(self._wrong)
        delta, led_to = (x_adv - x)[fooled], predicted[fooled]
        right, *wrong = (float(tf.reduce_mean(each.cosine_similarity(delta, led_to))) for each in watermarks)
        return share, right, wrong

    def _complaint(self, right: float, wrong: list[float]) -> str | None:
        """What to say if nothing of the watermark is drawn: no more than wrong keys' may seem to be by chance."""
        if math.isnan(right):
            return (
                "Whether anything was planted that attacks draw is not known: the attack fooled the model on none of "
                "the probes. Give a stronger one, `HoneyCallback(..., attack=...)`, or more probes."
            )
        if right >= np.mean(wrong) + max(_LEAST_DRAWN, _DEVIATIONS * float(np.std(wrong))):
            return None
        choose = "" if self.honeypot.recipe.adds_examples else "choose the recipe `balanced`, "
        return (
            f"Nothing was planted that attacks draw: what they add has a similarity of {right:.3f} with the watermark, "
            f"and of {np.mean(wrong):.3f} with wrong keys. Train for more epochs, {choose}raise the recipe's "
            "`alignment`, or give a classifier of images a branch (`models.add_branch`)."
        )


def _take(probe: Any, honeypot: Honeypot, size: int) -> tuple[np.ndarray, np.ndarray]:
    key = honeypot.key
    if isinstance(probe, tf.data.Dataset):
        batched = survey.check_structure(probe, key.input_shape, key.num_classes)
        samples = (probe.unbatch() if batched else probe).take(size).batch(size)
        probe = next(iter(samples.as_numpy_iterator()), None)
    if not isinstance(probe, tuple) or len(probe) < 2:
        raise InvalidArgumentError(f"`probe` must hold at least one sample (x, y). Received: {type(probe).__name__}.")
    x, y = (_checks.array("probe", part)[:size] for part in probe[:2])
    x = _checks.inputs("probe", x, key.input_shape, key.input_range)
    return x, _checks.labels("probe", y, len(x), key.num_classes)
