"""What a ledger needs to know of queries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from honeykeras.errors import InvalidArgumentError

# Each field's dtype, and how many axes it has.
_FIELDS: Mapping[str, tuple[type[np.generic], int]] = {
    "classes": (np.int64, 1),
    "views": (np.float32, 2),
    "projections": (np.float64, 1),
    "codes": (np.float16, 2),
    "readings": (np.float16, 2),
    "reading_projections": (np.float64, 2),
}


ANSWER_PREFIX = "evidence_"
"""What the names of outputs begin with by which an artifact tells its operator what evidence is made of."""


@dataclasses.dataclass(frozen=True)
class Observations:
    """What was seen of queries, in the order in which they came.

    Controls look with many keys at once. Then projections have one more axis, at the end, of length `keys`.

    As secret as the key: each projection is a linear equation in its patterns, and some two hundred give them away.

    Attributes:
        classes: What the model takes each for, shape `(n,)`, int64.
        views: What the extractor read off each beyond what is usual for its class, shape `(n, dimensions)`, float32.
            The length is some 1 of a usual clean input, and 0 of one in which there is nothing to see.
        projections: Of each view on the pattern of its class, shape `(n,)`, float64. Over the view's length, as good as
            standard normal where the query does not depend on the key.
        codes: Each query in the space of the key's family, by which near duplicates are told, shape `(n, dimensions)`,
            float16.
        readings: What the extractor's linear way to look reads off each, shape `(n, dimensions)`, float16: that of a
            difference of two queries is the difference of theirs.
        reading_projections: Of each reading on the patterns of all classes, shape `(n, num_classes)`, float64.
    """

    classes: np.ndarray
    views: np.ndarray
    projections: np.ndarray
    codes: np.ndarray
    readings: np.ndarray
    reading_projections: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: Any) -> Observations:
        """Those of some queries: a slice, indices or a mask."""
        return Observations(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: list[Observations]) -> Observations:
        """Several, one after the other."""
        fields = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))

    @classmethod
    def of_answers(cls, answers: Mapping[str, Any]) -> Observations:
        """Those that an artifact's signature `extended_evidence`, or a twin of it, tells of queries.

        Args:
            answers: Arrays or tensors by the names of its outputs, as a client of TensorFlow Serving has them.

        Raises:
            InvalidArgumentError: If one is missing, or has another shape.
        """
        found: dict[str, np.ndarray] = {}
        for name, (dtype, rank) in _FIELDS.items():
            told = f"{ANSWER_PREFIX}{name}"
            value = np.asarray(answers[told], dtype) if told in answers else None
            if value is None or value.ndim != rank or len(value) != len(found.get("classes", value)):
                raise InvalidArgumentError(
                    f"`answers` must be those of the signature `extended_evidence`, with `{told}` of {rank} "
                    f"{'axes' if rank > 1 else 'axis'}. Received: "
                    f"{f'outputs {sorted(answers)}' if value is None else f'shape {value.shape}'}."
                )
            found[name] = value
        return cls(**found)

    def to_bytes(self) -> bytes:
        """All of them as bytes, in the clear: as secret as the key."""
        return b"".join(getattr(self, name).astype(dtype).tobytes() for name, (dtype, _) in _FIELDS.items())

    @classmethod
    def from_bytes(cls, content: IO[bytes], count: int, num_classes: int, dimensions: int) -> Observations:
        """Those that `to_bytes` made, read from where `content` stands.

        Args:
            content: What they are in.
            count: How many there are.
            num_classes: How many classes the model has.
            dimensions: How many dimensions views have.
        """
        found = {}
        for name, (dtype, rank) in _FIELDS.items():
            columns = num_classes if name == "reading_projections" else dimensions
            shape = (count, columns)[:rank]
            flat = np.frombuffer(content.read(math.prod(shape) * np.dtype(dtype).itemsize), dtype)
            found[name] = flat.reshape(shape)
        return cls(**found)

    def under(self, patterns: np.ndarray) -> Observations:
        """The same queries as other keys would see them: what controls are made with.

        Args:
            patterns: Another key's patterns, shape `(num_classes, dimensions)`; or those of many, shape
                `(num_classes, dimensions, keys)`.
        """
        views, readings = self.views.astype(patterns.dtype), self.readings.astype(patterns.dtype)
        projections = np.empty((len(self), *patterns.shape[2:]))
        for label in np.unique(self.classes):
            mine = self.classes == label
            projections[mine] = views[mine] @ patterns[label]
        reading_projections = np.stack([readings @ pattern for pattern in patterns], axis=1)
        return dataclasses.replace(self, projections=projections, reading_projections=reading_projections)

    def of_key(self, number: int) -> Observations:
        """The same queries as one of the keys sees them that `under` looked with."""
        return dataclasses.replace(
            self,
            projections=self.projections[:, number],
            reading_projections=self.reading_projections[..., number],
        )

    def __repr__(self) -> str:
        return f"Observations(n={len(self)})"
