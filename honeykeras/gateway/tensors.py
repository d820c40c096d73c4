"""`Signature`: what a model takes and gives by a name, read from where TensorFlow keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from honeykeras.gateway.failures import invalid

# TensorFlow puts this entry into every SavedModel, for its loader alone.
_INIT_OP = "__saved_model_init_op"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What one tensor of a signature is.

    Attributes:
        dtype: NumPy's dtype; `object` for strings of bytes.
        shape: Its sizes, None where any will do; None for any rank.
        kind: What TensorFlow calls the dtype in messages, such as `DT_FLOAT`.
    """

    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    kind: str

    @classmethod
    def of(cls, info: meta_graph_pb2.TensorInfo) -> Tensor:
        """The one that a signature's definition describes."""
        shape = info.tensor_shape
        sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
        return cls(np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), sizes, tf.as_dtype(info.dtype).name)

    def check(self, name: str, value: np.ndarray) -> None:
        """Raises `RequestError` if a value is of another shape or dtype, or a batch of nothing.

        Kernels trust their inputs, and requests that are put together must not spoil each other.
        """
        if value.dtype != self.dtype:
            raise invalid(f"input {name!r} must be of type {self.kind}, and is of {value.dtype.name}")
        if self.shape is None:
            return
        fits = value.ndim == len(self.shape) and all(
            size in (None, given) for size, given in zip(self.shape, value.shape, strict=True)
        )
        if not fits:
            expected = ",".join("?" if size is None else str(size) for size in self.shape)
            given = ",".join(map(str, value.shape))
            raise invalid(f"input {name!r} must be of shape [{expected}], and is of [{given}]")
        if value.ndim and not len(value):
            raise invalid("A request must hold at least one input")


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a model takes and gives by a name.

    Attributes:
        inputs: Each tensor that it takes, by name.
        outputs: Each that it gives.
        is_classification: Whether it is one for `classify`.
        definition: As TensorFlow has it, for who asks for metadata.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    is_classification: bool
    definition: meta_graph_pb2.SignatureDef = dataclasses.field(repr=False, compare=False)

    @classmethod
    def of(cls, definition: meta_graph_pb2.SignatureDef) -> Signature:
        """The one that a SavedModel defines."""
        return cls(
            {name: Tensor.of(info) for name, info in sorted(definition.inputs.items())},
            {name: Tensor.of(info) for name, info in sorted(definition.outputs.items())},
            definition.method_name == tf.compat.v1.saved_model.CLASSIFY_METHOD_NAME,
            definition,
        )

    def check(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raises `RequestError` if inputs are not what it takes."""
        if inputs.keys() != self.inputs.keys():
            given, taken = inputs.keys(), self.inputs.keys()
            extra, missing = (",".join(sorted(names)) for names in (given - taken, taken - given))
            raise invalid(
                f"input size does not match signature: {len(inputs)}!={len(self.inputs)}. Sent extra: {{{extra}}}. "
                f"Missing but required: {{{missing}}}."
            )
        for name, value in inputs.items():
            self.inputs[name].check(name, value)
        counts = {len(value) for value in inputs.values() if value.ndim}
        if len(counts) > 1:
            raise invalid(f"all inputs must have the same first dimension, and have {sorted(counts)}")


def serialized(examples: Iterable[tf.train.Example], context: tf.train.Example | None = None) -> list[bytes]:
    """Examples as signatures take them, each with the features of a context that it does not have itself."""
    made = []
    for each in examples:
        example = tf.train.Example()
        if context is not None:
            example.CopyFrom(context)
        example.MergeFrom(each)
        made.append(example.SerializeToString())
    return made


def signatures(definitions: Mapping[str, meta_graph_pb2.SignatureDef]) -> dict[str, Signature]:
    """All signatures of a SavedModel, by name."""
    return {name: Signature.of(each) for name, each in sorted(definitions.items()) if name != _INIT_OP}
