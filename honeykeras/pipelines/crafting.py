"""`craft`: adversarial examples of whole data sets, as `attacks.craft` makes them, on workers of Apache Beam."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras._files import PathLike
from honeykeras.attacks import Attack, Shards
from honeykeras.attacks.craft import Chunk as Labelled
from honeykeras.attacks.craft import Making, Work
from honeykeras.attacks.craft import craft as in_process
from honeykeras.attacks.shards import Store
from honeykeras.pipelines.classifiers import Classifier
from honeykeras.pipelines.spread import spread
from honeykeras.pipelines.tasks import Chunk, Task


@dataclasses.dataclass(frozen=True)
class _Craft(Task):
    """Makes a shard, with what is random in it drawn by the places of its images in all of the data set."""

    classifier: Classifier
    attack: type[Attack]
    config: dict[str, Any]
    store: Store
    levels: int | None
    mask: np.ndarray
    batch_size: int

    def open(self) -> Callable[[int, Chunk], None]:
        model = self.classifier.open()
        attack = self.attack.from_config(self.config)
        making = Making(attack, self.store, self.levels, self.mask, self.batch_size)

        def make(number: int, chunk: Chunk) -> None:
            making.make(model, number, chunk["x"], chunk.get("y"))

        return make

    def is_done(self, number: int) -> bool:
        return self.store.path(number).exists()


def craft(
    classifier: Classifier,
    attack: Attack,
    dataset: tf.data.Dataset,
    folder: PathLike,
    *,
    options: Sequence[str] = (),
    verbose: int = 1,
    **settings: Any,
) -> Shards:
    """Makes adversarial examples of a data set, in files, on as many workers as there are.

    The same seed gives the same examples as `attacks.craft`, whatever the number of workers, but for the rounding of
    floating point. All workers must reach the classifier, the folder, and the one beside it that holds the data set
    meanwhile. Work that was cut off is continued by the same call, or by `attacks.craft`.

    Args:
        classifier: What is attacked.
        attack: The attack; its class must be one that workers can import.
        dataset: As for `attacks.craft`.
        folder: Likewise.
        options: Beam's own, such as `--runner=FlinkRunner` or `--direct_num_workers=2`.
        verbose: 1 shows a progress bar, 0 nothing.
        **settings: `file_format`, `shard_size`, `levels`, `mask` and `batch_size`, as for `attacks.craft`.

    Returns:
        The shards.

    Raises:
        HoneyKerasError: As `attacks.craft`, or as a worker raises it.
    """

    def make(work: Work) -> None:
        making = work.making
        task = _Craft(
            classifier, type(attack), attack.get_config(), making.store, making.levels, making.mask, making.batch_size
        )
        doing = f"Attacking with {attack.name}"
        spread(_arrays(work.chunks()), task, making.store.folder, options, doing=doing, verbose=verbose)

    # Compares all that is there with the data set, and writes down that it is finished.
    return in_process(classifier.open(), attack, dataset, folder, make_elsewhere=make, verbose=0, **settings)


def _arrays(chunks: Iterator[Labelled]) -> Iterator[Chunk]:
    for x, y in chunks:
        yield {"x": x} if y is None else {"x": x, "y": np.asarray(y)}
