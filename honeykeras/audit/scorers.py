"""What sees flags and evidence in the requests of a log: an artifact, or a detector with its model.

Which one is a plain value that goes to workers; each opens it once, and all of a process share it.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from honeykeras import detection, detectorfile, manifest, models, provenance
from honeykeras._datasets import kind_of
from honeykeras._files import read_passphrase
from honeykeras._messages import first_line
from honeykeras.errors import InvalidArgumentError
from honeykeras.evidence import Observations, Observer, Rules
from honeykeras.export import SealingKey
from honeykeras.export.signatures import DEFAULT, EVIDENCE
from honeykeras.gateway.failures import invalid
from honeykeras.gateway.loaded import LoadedVersion
from honeykeras.gateway.tensors import Signature
from honeykeras.gateway.twins import public, twin


@dataclasses.dataclass(frozen=True)
class Scored:
    """What was seen in inputs. As secret as the key.

    Attributes:
        flags: Which are flagged, shape `(n,)`, bool.
        scores: The detector's, shape `(n,)`, float32.
        seen: What evidence is made of.
        rules: What ledgers go by.
    """

    flags: np.ndarray
    scores: np.ndarray
    seen: Observations
    rules: Rules

    def __getitem__(self, chosen: Any) -> Scored:
        """What was seen in some of them: a slice, indices or a mask."""
        return Scored(self.flags[chosen], self.scores[chosen], self.seen[chosen], self.rules)

    @classmethod
    def joined(cls, parts: Sequence[Scored]) -> Scored:
        """Several of one version, one after the other."""
        flags, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("flags", "scores"))
        return cls(flags, scores, Observations.joined([part.seen for part in parts]), parts[0].rules)


class Scorer(abc.ABC):
    """Sees flags and evidence in requests."""

    @abc.abstractmethod
    def prepared(self, signature: str, inputs: Mapping[str, np.ndarray]) -> tuple[str, Mapping[str, np.ndarray]]:
        """A request as it is scored: by which signature, and with the names and dtypes that this one takes.

        Raises:
            RequestError: If it is not what the model takes.
        """

    @abc.abstractmethod
    def score(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Scored:
        """Looks at prepared requests of one signature, one after the other.

        Raises:
            RequestError: If the model refuses them.
        """


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """Names what scores, for workers to open.

    Attributes:
        path: The file or folder that has the key.
    """

    path: Path

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What the version whose key it has is called."""

    @property
    def model(self) -> str | None:
        """The name of the model whose requests are looked at; None for all."""
        return None

    @abc.abstractmethod
    def open(self) -> Scorer:
        """Opens it.

        Raises:
            HoneyKerasError: If it is not there, not what it must be, or does not open.
        """


@functools.cache
def opened(source: Source) -> Scorer:
    """What a source names, opened once in a process."""
    return source.open()


@dataclasses.dataclass(frozen=True)
class Artifact(Source):
    """A version folder for a trusted host, whose signature `extended_evidence` tells what ledgers take.

    Attributes:
        path: The version folder, such as `serving/mnist/1`.
        public_key: File of the public key that its signature must be by.
        sealing_keys: Files of keys, of which one opens it. Without any, that must be where the artifact looks for it.
        unsigned: Runs its graph though nobody verified it. One that was tampered with gives the key away.
    """

    public_key: Path | None = None
    sealing_keys: tuple[Path, ...] = ()
    unsigned: bool = False

    @property
    def name(self) -> str:
        return self.path.absolute().name

    @property
    def model(self) -> str | None:
        return self.path.absolute().parent.name

    def open(self) -> Scorer:
        identity = manifest.read(self.path).identity
        if identity.role != manifest.ROLES[1]:
            raise InvalidArgumentError(
                f"{self.path} must be an artifact for a trusted host, which has a detector. Received: one to hand out."
            )
        loaded = LoadedVersion.open(
            self.path, public_key=self.public_key, sealing_key=self._key(identity.key_id), unsigned=self.unsigned
        )
        if EVIDENCE not in loaded.signatures:
            raise InvalidArgumentError(
                f"{self.path} must tell its operator what evidence is made of. Received: signatures "
                f"{sorted(loaded.signatures)}. Export it with `--evidence`."
            )
        return _OfArtifact(loaded)

    def _key(self, key_id: str | None) -> SealingKey | None:
        """Of several versions' keys, the one for this version."""
        keys = {key.key_id: key for key in map(SealingKey.load, self.sealing_keys)}
        if keys and key_id not in keys:
            raise InvalidArgumentError(
                f"Among the sealing keys must be {key_id}, which opens {self.path}. Received: {', '.join(keys)}."
            )
        return keys.get(key_id or "")


class _OfArtifact(Scorer):
    def __init__(self, loaded: LoadedVersion) -> None:
        self._loaded = loaded

    def prepared(self, signature: str, inputs: Mapping[str, np.ndarray]) -> tuple[str, Mapping[str, np.ndarray]]:
        known = public(self._loaded.signatures)
        if signature not in known:
            raise invalid(f"there is no signature {signature}")
        named = _named(known[signature], inputs)
        known[signature].check(named)
        return twin(signature, self._loaded.signatures), named

    def score(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Scored:
        told = self._loaded.run(signature, inputs)
        return Scored(told["flag"], told["score"], Observations.of_answers(told), Rules.of_answers(told))


def _named(signature: Signature, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Inputs by the names of the signature, where a log does not have them; numbers of arrays in its dtype."""
    if set(inputs) != {""} or len(signature.inputs) != 1:
        return inputs
    ((name, tensor),) = signature.inputs.items()
    ((_, value),) = inputs.items()
    return {name: value.astype(tensor.dtype) if tensor.dtype.kind == value.dtype.kind == "f" else value}


@dataclasses.dataclass(frozen=True)
class FittedDetector(Source):
    """A detector file, with the model that it is for and clean inputs.

    Attributes:
        path: The detector file.
        classifier: The model: a `.keras` file or the folder of a SavedModel.
        clean: Clean inputs that the model was not trained on, as `data.load` reads them: they say what is usual.
        passphrase_file: File whose first line is the detector file's passphrase.
    """

    classifier: Path
    clean: str
    passphrase_file: Path | None = None

    def __post_init__(self) -> None:
        kind_of(self.clean)

    @property
    def name(self) -> str:
        header, _ = detectorfile.read_header(self.path)
        return str(header["detector_id"])

    def open(self) -> Scorer:
        passphrase = read_passphrase(self.passphrase_file)
        detector = detection.load(self.path, models.load(self.classifier), passphrase)
        if not isinstance(detector, detection.KeyScoreDetector):
            raise InvalidArgumentError(
                f"{self.path} must hold a detector that has an extractor, of the kind key or logistic. Received: one "
                f"of the kind {detector.name}."
            )
        clean = provenance.unseen(self.classifier, self.clean, detector.watermark.input_range)
        return _OfDetector(detector, Observer(detector, clean))


class _OfDetector(Scorer):
    def __init__(self, detector: detection.KeyScoreDetector, observer: Observer) -> None:
        self._detector, self._observer = detector, observer
        self._shape = detector.watermark.input_shape

    def prepared(self, signature: str, inputs: Mapping[str, np.ndarray]) -> tuple[str, Mapping[str, np.ndarray]]:
        if signature != DEFAULT or len(inputs) != 1:
            raise invalid(f"a detector file is asked by {DEFAULT}; an artifact can be by {signature}")
        ((name, x),) = inputs.items()
        if x.dtype.kind != "f" or x.ndim != len(self._shape) + 1 or x.shape[1:] != self._shape:
            raise invalid(f"inputs must be floating point, of shape {self._shape}, and are {x.dtype} of {x.shape[1:]}")
        return DEFAULT, {name: x.astype(np.float32)}

    def score(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Scored:
        ((_, x),) = inputs.items()
        try:
            scores = self._detector.score(x)
            seen = self._observer.observe(x)
        except InvalidArgumentError as error:
            raise invalid(first_line(error)) from None
        return Scored(scores > self._detector.threshold, scores, seen, self._observer.rules)
