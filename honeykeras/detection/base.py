"""What all detectors share: a statistic, a calibrated threshold, an id, a file, and the same as a layer."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks, _progress, detectorfile, fingerprints
from honeykeras._files import PathLike
from honeykeras.description import Description
from honeykeras.detection.calibration import conformal_threshold
from honeykeras.detection.layer import DetectorLayer
from honeykeras.detection.samples import Samples
from honeykeras.errors import InvalidArgumentError, KeyFileError, SecretSerializationError
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict, predict_labels
from honeykeras.watermark import Watermark

_BATCH_SIZE = 512
# How many inputs of an array are scored before progress is shown.
_SLICE = 8 * _BATCH_SIZE

_Self = TypeVar("_Self", bound="CalibratedDetector")


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How a threshold was set.

    Attributes:
        threshold: The score above which an input is flagged.
        max_fpr: The false positive rate that it keeps.
        samples: How many clean inputs it was set on.
    """

    threshold: float = dataclasses.field(repr=False)
    max_fpr: float
    samples: int


@runtime_checkable
class ScoresClasses(Protocol):
    """A detector whose statistic can be told for each class that might be predicted, so that it can be attacked."""

    def class_statistics(self, x: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        """What `statistic` would be for each class if it were predicted.

        Args:
            x: Shape `(batch, *input_shape)`, float32.
            secret: The patterns' codes, one after the other, shape `(num_classes * dimensions,)`, float64.

        Returns:
            Shape `(batch, num_classes)`, float64.
        """


class CalibratedDetector(abc.ABC):
    """A detector with a threshold that keeps a false positive rate.

    A subclass gives a statistic in TensorFlow operations, so that Python and an exported graph decide alike, and takes
    what it knows from the model and samples in `fit`. If it runs networks of its own, it names them (`networks`), says
    what they are built of (`network_config`) and builds them again (`build_networks`).

    Example:

    ```python
    detector = hk.Detector(key).fit(model, x_train).calibrate(held_out, max_fpr=0.01)
    detector.flag(queries)
    detector.save("detector.hk")
    detector = hk.Detector.load("detector.hk", model)
    ```

    Attributes:
        name: What options and reports call this kind of detector.
        key_specific: Whether what it finds is evidence of the key. If not, a wrong key or a model without a honeypot
            may do as well, and only controls show how well.
        needs_adversarial: Whether it is fitted on adversarial inputs, too.
        key_id: The key's public name.
        num_classes: How many classes the key is for.
    """

    name: ClassVar[str]
    key_specific: ClassVar[bool]
    needs_adversarial: ClassVar[bool]

    def __init__(self, key: WatermarkKey | Watermark) -> None:
        """Makes a detector for the watermark of `key`, or for one that was drawn already."""
        self.watermark = key if isinstance(key, Watermark) else Watermark(key)
        self.key_id = self.watermark.key_id
        self.num_classes = self.watermark.description.num_classes
        self._model: keras.Model | None = None
        self._secret: np.ndarray | None = None
        self._calibration: Calibration | None = None
        self._run = self._compiled()

    @abc.abstractmethod
    def fit(
        self: _Self,
        model: keras.Model,
        samples: Samples | np.ndarray | None = None,
        *,
        seed: int = 0,
        verbose: int = 0,
    ) -> _Self:
        """Prepares the detector for a model.

        Args:
            model: The classifier whose queries are judged.
            samples: What to fit it on; an array stands for clean inputs.
            seed: Seed of what is random in it.
            verbose: 1 shows a progress bar where there is something to wait for, 0 nothing.

        Returns:
            The detector itself. A threshold set before no longer holds.

        Raises:
            InvalidArgumentError: If the samples have the wrong shape, dtype or range, or lack what this kind needs.
            ModelError: If the model is not one of the key's classes.
        """

    def prepare(  # noqa: B027  most have nothing to prepare
        self, samples: Samples | np.ndarray, *, seed: int = 0, verbose: int = 0, cache: PathLike | None = None
    ) -> None:
        """Makes what depends on neither key nor model, which `fit` would make otherwise.

        Args:
            samples: As for `fit`.
            seed: As for `fit`.
            verbose: As for `fit`.
            cache: A folder in which such things are kept for the next time.
        """

    @abc.abstractmethod
    def statistic(self, x: tf.Tensor, outputs: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        """How adversarial inputs look, in TensorFlow operations.

        Args:
            x: Shape `(batch, *input_shape)`, float32 in the key's input range.
            outputs: What the classifier says of them, shape `(batch, num_classes)`: logits or probabilities.
            secret: What the detector knows, as one vector, float64.

        Returns:
            Shape `(batch,)`, float64; greater is more adversarial.
        """

    def calibrate(self: _Self, clean: np.ndarray | tf.data.Dataset, max_fpr: float, *, verbose: int = 0) -> _Self:
        """Sets the threshold so that at most a share `max_fpr` of clean inputs is flagged.

        Args:
            clean: Held-out clean inputs, as `score` takes them, at least `1 / max_fpr - 1`.
            max_fpr: The false positive rate to keep, in (0, 1).
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            The detector itself.

        Raises:
            InvalidArgumentError: If there are too few inputs, or they have the wrong shape, dtype or range.
        """
        scores = self.score(clean, verbose=verbose)
        threshold = conformal_threshold(scores, max_fpr)
        # An input like the one that sets it is not to be flagged by the rounding of another implementation.
        threshold += 1e-6 * max(1.0, abs(threshold))
        self._calibration = Calibration(threshold, float(max_fpr), len(scores))
        return self

    @property
    def calibration(self) -> Calibration:
        """How the threshold was set."""
        self._fitted()
        if self._calibration is None:
            raise InvalidArgumentError(
                "The detector must be calibrated first. Call `calibrate` on held-out clean inputs."
            )
        return self._calibration

    @property
    def threshold(self) -> float:
        """The score above which an input is flagged."""
        return self.calibration.threshold

    @property
    def model(self) -> keras.Model:
        """The classifier that it was fitted for."""
        return self._fitted()[0]

    @property
    def secret(self) -> np.ndarray:
        """What `statistic` takes as such, one vector, float64: as secret as the key."""
        return self._fitted()[1]

    @property
    def detector_id(self) -> str:
        """A name for all that decides the detector's answers, 16 hexadecimal digits; it is not secret.

        A keyed hash over the kind, the key, the secret, the threshold, and the weights of the detector's networks and
        of the model. So a detector that is calibrated anew has another id, and so has one for other weights.
        """
        return detectorfile.identify(self._contents())

    def check_model(self, model: keras.Model) -> None:
        """Raises `InvalidArgumentError` unless the detector was fitted for a model of these weights."""
        if model is not self.model and fingerprints.of_model(model) != fingerprints.of_model(self.model):
            raise InvalidArgumentError(
                "The detector must have been fitted for the model that it is used with. Received: a model of other "
                "weights. Fit a detector for this one."
            )

    @property
    def networks(self) -> list[keras.Model]:
        """What `statistic` runs beside the classifier."""
        return []

    def network_config(self) -> dict[str, Any]:
        """What `build_networks` needs to build `networks` again, but for their weights; plain data."""
        return {}

    def build_networks(self, model: keras.Model, config: Mapping[str, Any]) -> None:  # noqa: B027  most have none
        """Builds the `networks` that `network_config` described, for a detector that is loaded.

        Args:
            model: The classifier.
            config: The description.
        """

    def for_key(self: _Self, key: WatermarkKey) -> _Self:
        """A detector of the same kind for another key, not fitted: what controls are made with."""
        other = type(self)(key)
        other.adopt(self)
        return other

    def adopt(self, other: CalibratedDetector) -> None:  # noqa: B027  most have nothing to share
        """Takes over from another detector what holds no secret and took long to make, if it is of use to this kind."""

    def check_fits(self, model: keras.Model) -> None:  # noqa: B027  most fit any classifier
        """Raises `ModelError` if no detector of this kind can be fitted for a model; told before long work begins."""

    def score(self, x: np.ndarray | tf.data.Dataset, *, verbose: int = 0) -> np.ndarray:
        """How adversarial each input looks.

        Args:
            x: Inputs, shape `(batch, *input_shape)`, floating point in the key's input range; or a data set of batches
                of such, or of `(x, ...)`, of which one at a time is held.
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            Shape `(batch,)`, float64; greater is more adversarial.
        """
        self._fitted()
        scores = [self._score(batch) for batch in self.batches("Scoring", x, verbose)]
        if not scores:
            raise InvalidArgumentError("`x` must hold at least one batch of inputs. Received: none.")
        return np.concatenate(scores)

    def batches(self, doing: str, x: np.ndarray | tf.data.Dataset, verbose: int = 0) -> Iterator[np.ndarray]:
        """Goes through inputs, as `score` takes them, checks them, and shows how far that has got as `doing`."""
        if isinstance(x, tf.data.Dataset):
            batches = (element[0] if isinstance(element, tuple) else element for element in x.as_numpy_iterator())
            checked, total = (self._check("x", batch) for batch in batches), int(x.cardinality())
        else:
            x = self._check("x", x)
            starts = range(0, len(x), _SLICE)
            checked, total = (x[start : start + _SLICE] for start in starts), len(starts)
        yield from _progress.bar(doing, total, "batch", verbose, checked)

    def _score(self, x: np.ndarray) -> np.ndarray:
        model, secret = self._fitted()
        outputs = predict(model, x)
        parts = [
            self._run(x[start : start + _BATCH_SIZE], outputs[start : start + _BATCH_SIZE], tf.constant(secret)).numpy()
            for start in range(0, len(x), _BATCH_SIZE)
        ]
        return np.concatenate(parts)

    def flag(self, x: np.ndarray | tf.data.Dataset) -> np.ndarray:
        """Whether each input, as `score` takes them, is taken for adversarial, shape `(batch,)`, bool."""
        threshold = self.threshold
        return self.score(x) > threshold

    def layer(self, **kwargs: Any) -> DetectorLayer:
        """The same decision as a Keras layer, called on inputs and the classifier's outputs.

        Args:
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        return DetectorLayer(self.statistic, self.secret, self.threshold, self.watermark.input_shape, **kwargs)

    def save(self, path: PathLike, passphrase: str | None = None, *, overwrite: bool = False) -> None:
        """Writes the detector to a file that its owner alone can read (mode 0600), in one atomic step.

        It holds what the key draws, the detector's secret, its threshold and its networks' weights: it is as secret as
        the key, and the key is not needed to use it. The model is not in it.

        Args:
            path: The file to write.
            passphrase: If given, all that is secret is encrypted under it (Scrypt, ChaCha20-Poly1305).
            overwrite: Whether a file already at `path` may be replaced.

        Raises:
            InvalidArgumentError: If the detector is not calibrated, or the passphrase is empty or no text.
            StorageError: If there is a file at `path` already, or the disk refuses.
        """
        detectorfile.write(path, self._contents(), passphrase, overwrite=overwrite)

    @classmethod
    def load(cls: type[_Self], path: PathLike, model: keras.Model, passphrase: str | None = None) -> _Self:
        """Reads a detector that `save` wrote.

        Args:
            path: The file to read.
            model: The classifier that it was fitted for.
            passphrase: Needed if, and only if, the file was saved under one.

        Returns:
            The detector, calibrated.

        Raises:
            InvalidArgumentError: If the model is another, or the passphrase is no text.
            KeyFileError: If others can read the file, it is truncated, altered or of another version, or holds another
                kind of detector.
            PassphraseError: If the passphrase is missing or wrong.
            StorageError: If there is no such file, or it cannot be read.
        """
        return cls.restore(path, detectorfile.read(path, passphrase), model)

    @classmethod
    def restore(cls: type[_Self], path: PathLike, contents: detectorfile.Contents, model: keras.Model) -> _Self:
        """The detector of a file's contents, as `load` reads them."""
        if contents.kind != cls.name:
            raise KeyFileError(
                f"{path} must hold a detector of the kind {cls.name!r}. Received: one of the kind {contents.kind!r}."
            )
        if contents.model != fingerprints.of_model(model):
            raise InvalidArgumentError(
                f"The detector in {path} must be loaded with the model that it was fitted for. Received: a model of "
                "other weights. Give that model, or fit a detector for this one."
            )
        try:
            description = Description.from_config(contents.description)
            detector = cls(Watermark.from_codes(contents.key_id, description, contents.codes))
            detector.build_networks(model, contents.networks)
            weights = iter(contents.weights)
            for network in detector.networks:
                network.set_weights([next(weights) for _ in network.weights])
            detector._set(model, contents.secret)
            detector._calibration = Calibration(contents.threshold, contents.max_fpr, contents.samples)
            # What does not fit is told now, and not by the first query.
            detector.score(detector._blank())
        except (StopIteration, ValueError, TypeError, KeyError, tf.errors.InvalidArgumentError):
            raise KeyFileError(f"{path} is not a detector that this version can use. Fit it again.") from None
        return detector

    def _contents(self) -> detectorfile.Contents:
        model, secret = self._fitted()
        calibration = self.calibration
        return detectorfile.Contents(
            kind=self.name,
            key_id=self.key_id,
            description=self.watermark.description.get_config(),
            model=fingerprints.of_model(model),
            max_fpr=calibration.max_fpr,
            samples=calibration.samples,
            networks=self.network_config(),
            codes=self.watermark.all_codes,
            secret=secret,
            threshold=calibration.threshold,
            weights=tuple(np.asarray(weight, np.float32) for each in self.networks for weight in each.get_weights()),
        )

    def _set(self, model: keras.Model, secret: np.ndarray) -> None:
        """Ends a fit. A threshold set before no longer holds."""
        self._model, self._secret, self._calibration = model, np.asarray(secret, np.float64), None
        # A trace holds the networks that it was made with.
        self._run = self._compiled()

    def _compiled(self) -> Any:
        return tf.function(self.statistic, autograph=False, reduce_retracing=True)

    def _check_model(self, model: keras.Model) -> None:
        """Raises `ModelError` unless a model is a classifier such as the key is for."""
        predict_labels(model, self._blank(), num_classes=self.num_classes)

    def _blank(self) -> np.ndarray:
        """An input of least values, as a batch of one."""
        return np.broadcast_to(self.watermark.input_range.ends()[0], (1, *self.watermark.input_shape))

    def _fitted(self) -> tuple[keras.Model, np.ndarray]:
        if self._model is None or self._secret is None:
            raise InvalidArgumentError("The detector must be fitted first. Call `fit`.")
        return self._model, self._secret

    def _check(self, name: str, x: Any) -> np.ndarray:
        return _checks.inputs(name, x, self.watermark.input_shape, self.watermark.input_range)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key_id={self.key_id!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError("A detector cannot be pickled or copied. Use `save` and `load`.")
