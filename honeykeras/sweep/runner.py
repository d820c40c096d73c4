"""`run`: what honeypots cost and what attacks draw of them, over poison rate, size of the watermark and amplitude."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from honeykeras import _checks, _progress, fingerprints, models, patterns, poisoning, training
from honeykeras._files import PathLike
from honeykeras.attacks import AdversarialExamples, Attack
from honeykeras.data import Data
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation.arena import attack_correct, check_attacks, correct
from honeykeras.evaluation.reconstruction import reconstruct
from honeykeras.evaluation.statistics import Proportion
from honeykeras.honeypot import Honeypot
from honeykeras.keys import WatermarkKey
from honeykeras.sweep import files
from honeykeras.sweep.grid import SweepPoint, SweepResult


def run(
    data: Data,
    points: Sequence[SweepPoint],
    folder: PathLike,
    *,
    master: bytes,
    attacks: Sequence[Attack],
    epochs: int,
    batch_size: int = 128,
    samples: int = 200,
    baseline: keras.Model | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> list[SweepResult]:
    """Trains and attacks a honeypot at each point, and the same model without one once, as the control of all.

    After Abdou et al. 2021, HoneyModels, Fig. 4. All trainings start from the same weights and take as long. Only test
    images that a model gets right are attacked, adversarial images are quantised to 8 bits, and only those that still
    fool the model count.

    Each point has a file in `folder`, named by a hash of all that decides it: points with the same settings are made
    once, and a sweep that was interrupted goes on after the last point that was finished. So does one with more points,
    and several processes may share a folder. Files hold the `key_id`, and nothing secret. The model without a honeypot
    lies there, too.

    Example:

    ```python
    points = hk.sweep.points("paper", data.input_shape) + hk.sweep.points("balanced", data.input_shape)
    results = hk.sweep.run(data, points, "sweep", master=secrets.token_bytes(32), attacks=[hk.attacks.PGD()], epochs=4)
    ```

    Args:
        data: The data set. For a sweep of a smaller scale, see `Data.reduced`.
        points: The honeypots, for example those of `points`.
        folder: Where the points are kept. It is made if need be.
        master: The 32 secret bytes of all keys; they differ in their family of patterns alone. To go on with a sweep,
            it must be the same.
        attacks: The attacks; no two of one name.
        epochs: How many epochs each training takes.
        batch_size: How many images a step.
        samples: How many images each attack is run on, at most.
        baseline: A classifier of the same kind, trained as long on the same data without a honeypot, if there is one
            already. Otherwise it is trained.
        seed: Seed of weights and shuffling.
        verbose: 0 shows nothing, 1 a progress bar, 2 how trainings and attacks go as well.

    Returns:
        What was found at each point, in their order.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or a point does not fit the data.
        ModelError: If a model gets nothing right.
        StorageError: If a file of the folder cannot be read or written, or holds something else than its point. That
            is told before anything is trained.
    """
    _checks.instance("data", data, Data, "a Data, such as data.load gives")
    by_name = check_attacks(attacks, data.input_range)
    if not points:
        raise InvalidArgumentError("`points` must hold at least one point. Received: none. `sweep.points` makes some.")
    trained_with: dict[str, Any] = {
        "epochs": _checks.whole_number("epochs", epochs),
        "batch_size": _checks.whole_number("batch_size", batch_size),
        "seed": _checks.seed(seed),
    }
    common = {"data": files.describe_data(data), **trained_with}
    attacked_with = {
        "samples": _checks.whole_number("samples", samples),
        "attacks": {name: attack.get_config() for name, attack in by_name.items()},
        # None stands for the one that the other settings give.
        "baseline": None if baseline is None else fingerprints.of_model(baseline),
    }

    def honeypot_of(point: SweepPoint) -> Honeypot:
        key = WatermarkKey(master, data.input_shape, data.num_classes, pattern=point.pattern)
        return Honeypot(key, point.recipe)

    kept = []
    for point in points:
        settings = _settings(point, honeypot_of(point).key, {**common, **attacked_with})
        # Not after what is varied: several points may have the same settings.
        kept.append((files.path_of(folder, f"{data.name}-{point.recipe.name}", settings), settings))
        # What is wrong with a file is told before hours of training.
        files.read(*kept[-1])

    plain: _Attacked | None = None
    results = []
    for point, (path, settings) in _progress.bar(
        "Sweeping", len(points), "point", verbose, zip(points, kept, strict=True)
    ):
        # Read again: another point of the same settings, or another process, may have made it by now.
        figures = files.read(path, settings)
        if figures is None:
            if plain is None:
                if baseline is None:
                    baseline = _baseline(data, folder, common, trained_with, verbose)
                plain = _Attacked.of(baseline, data, by_name, samples, verbose)
            # Made here, and not with the settings: a honeypot keeps the data set that it was planted in.
            honeypot = honeypot_of(point)
            model, _ = training.fit_classifier(data, honeypot, **trained_with, verbose=_inner(verbose))
            honey = _Attacked.of(model, data, by_name, samples, verbose)
            figures = _compare(_poisoned(data, point), honeypot.key, honey, plain)
            files.write(path, settings, figures)
        fields = {field.name: getattr(figures, field.name) for field in dataclasses.fields(figures)}
        results.append(SweepResult(point.recipe.name, point.varied, point.value, **fields))
    return results


@dataclasses.dataclass(frozen=True)
class _Attacked:
    """A model, its accuracy, and what attacks made of test images."""

    model: keras.Model
    clean_accuracy: Proportion
    examples: Mapping[str, AdversarialExamples]

    @classmethod
    def of(cls, model: keras.Model, data: Data, attacks: Mapping[str, Attack], samples: int, verbose: int) -> _Attacked:
        shown = int(verbose > 1)
        made = {name: attack_correct(model, attack, data.test, samples, shown) for name, attack in attacks.items()}
        return cls(model, Proportion.of(correct(model, data.test, shown)), made)


def _baseline(
    data: Data, folder: PathLike, common: Mapping[str, Any], trained_with: Mapping[str, Any], verbose: int
) -> keras.Model:
    """The model without a honeypot: kept, so that points made after an interruption are held against the same one."""
    path = files.path_of(folder, f"{data.name}-no_honeypot", common, ".keras")
    if path.exists():
        return models.load(path)
    model, _ = training.fit_classifier(data, None, **trained_with, verbose=_inner(verbose))
    models.save(model, path, overwrite=True)
    return model


def _inner(verbose: int) -> int:
    """How much trainings show: a line an epoch, or nothing."""
    return 2 if verbose > 1 else 0


def _settings(point: SweepPoint, key: WatermarkKey, further: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recipe": point.recipe.get_config(),
        "pattern": patterns.to_config(point.pattern),
        "key_id": key.key_id,
        **further,
    }


def _poisoned(data: Data, point: SweepPoint) -> Proportion:
    counts = np.bincount(data.train.y, minlength=data.num_classes)
    return Proportion(poisoning.planned_samples(counts, point.recipe.max_poison_rate), len(data.train))


def _compare(poisoned: Proportion, key: WatermarkKey, honey: _Attacked, plain: _Attacked) -> files.Figures:
    wrong_keys = key.wrong_keys()
    return files.Figures(
        poisoned,
        honey.clean_accuracy,
        plain.clean_accuracy,
        {
            name: reconstruct(key, wrong_keys, (honey.model, made), (plain.model, plain.examples[name]))
            for name, made in honey.examples.items()
        },
    )
