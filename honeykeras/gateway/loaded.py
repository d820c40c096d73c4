"""`LoadedVersion`: an artifact that was verified, in this process, to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from honeykeras import saved_model
from honeykeras._files import PathLike
from honeykeras._messages import reason
from honeykeras.export import SealingKey, graph, verification, warmup
from honeykeras.export.signatures import EXTENDED
from honeykeras.gateway.batcher import Arrays
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.tensors import Signature, signatures
from honeykeras.gateway.twins import public, twin


class LoadedVersion:
    """A version of a model that is loaded.

    Attributes:
        signatures: What it can be asked, the operator's signatures included, by name.
    """

    def __init__(self, path: Path, key: SealingKey | None) -> None:
        """Loads an artifact that was verified; `open` verifies it first."""
        described = saved_model.read(path)
        self.signatures: Mapping[str, Signature] = signatures(described.signature_def)
        with graph.opened(path, key) as folder:
            # Signatures live as long as what they were loaded with.
            self._loaded = saved_model.load_graph(folder)
        self._warm_up(path, described)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        public_key: PathLike | None = None,
        sealing_key: SealingKey | None = None,
        unsigned: bool = False,
    ) -> LoadedVersion:
        """Verifies an artifact and loads it.

        Args:
            path: The version folder.
            public_key: As for `export.verification.check`, like the rest.
            sealing_key: What opens it. Without it, the key must be where it looks for it.
            unsigned: Runs its graph though nobody verified it.

        Raises:
            HoneyKerasError: If it is not what was signed, or does not open.
        """
        verification.check(path, public_key=public_key, sealing_key=sealing_key, unsigned=unsigned)
        return cls(path, sealing_key)

    def _warm_up(self, path: Path, described: Any) -> None:
        """Asks what clients will ask first, which takes longest."""
        if EXTENDED in self.signatures and (path / warmup.FILE).is_file():
            for request in warmup.read(path, described):
                if request.signature in public(self.signatures):
                    self.run(twin(request.signature, self.signatures), request.inputs)

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Asks a signature.

        Raises:
            RequestError: If the graph refuses the inputs.
        """
        function = self._loaded.signatures[signature]
        given = {name: tf.constant(value, self._dtype(signature, name)) for name, value in inputs.items()}
        try:
            return {name: value.numpy() for name, value in function(**given).items()}
        except tf.errors.OpError as error:
            # What the graph refuses, in the words of its assertion; TensorFlow's own hints are for who writes a graph.
            raise RequestError(_code(error), reason(error)) from None

    def _dtype(self, signature: str, name: str) -> Any:
        return tf.as_dtype(self.signatures[signature].inputs[name].dtype)


def _code(error: tf.errors.OpError) -> str:
    names = {
        tf.errors.INVALID_ARGUMENT: "INVALID_ARGUMENT",
        tf.errors.FAILED_PRECONDITION: "FAILED_PRECONDITION",
        tf.errors.RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED",
        tf.errors.UNIMPLEMENTED: "UNIMPLEMENTED",
    }
    return names.get(error.error_code, "INTERNAL")
