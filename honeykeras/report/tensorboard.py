"""`write_summaries`: a report in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from honeykeras._files import PathLike, as_path, describe
from honeykeras._messages import file_reason
from honeykeras.errors import StorageError
from honeykeras.report.figures import figures, png


def write_summaries(document: Mapping[str, Any], folder: PathLike, *, step: int = 0) -> None:
    """Writes a report's main figures and plots as events, for TensorBoard to show.

    Args:
        document: A report, as `make` or `read` gives it.
        folder: TensorBoard's log folder. Made if need be; what is there stays.
        step: What TensorBoard puts the figures at.

    Raises:
        MissingDependencyError: If matplotlib is not installed.
        StorageError: If the folder cannot be written to.
    """
    import tensorflow as tf

    plots = {name: tf.io.decode_png(png(figure), channels=3)[None] for name, figure in figures(document).items()}
    try:
        as_path(folder).mkdir(parents=True, exist_ok=True)
        with tf.summary.create_file_writer(str(folder)).as_default(step=step):
            for name, value in _scalars(document):
                if value is not None:
                    tf.summary.scalar(f"honeykeras/{name}", value)
            for name, image in plots.items():
                tf.summary.image(f"honeykeras/{name}", image)
    except (OSError, tf.errors.OpError) as error:
        why = describe(error) if isinstance(error, OSError) else file_reason(error)
        raise StorageError(f"Cannot write events to {folder}: {why}.") from error


def _scalars(document: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    viability, detection = document["viability"], document["detection"]
    yield "clean_accuracy", viability["clean_accuracy"]
    yield "baseline_clean_accuracy", viability["baseline_clean_accuracy"]
    arms = {
        "key": detection,
        **{name: detection["controls"][name] for name in ("wrong_key", "no_honeypot", "transfer")},
    }
    for arm, rates in arms.items():
        yield f"{arm}/false_positive_rate", rates["false_positive_rate"]
        yield f"{arm}/true_positive_rate", rates["overall"]["true_positive_rate"]
        for attack, found in rates["attacks"].items():
            yield f"{arm}/{attack}/true_positive_rate", found["true_positive_rate"]
            yield f"{arm}/{attack}/roc_auc", rates["roc"]["auc"][attack]
