"""`SealedVector`: numbers that stand in an artifact as ciphertext alone, and are opened when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras._files import PathLike
from honeykeras.errors import InvalidArgumentError
from honeykeras.export import opening
from honeykeras.export.sealing import OVERHEAD_BYTES, SealingKey, seal

# What `tf.io.matching_files` takes for more than a character.
_WILDCARDS = set("*?[]\\")
# A path from the root, or a URL of one of TensorFlow's other file systems.
_ABSOLUTE = "(/|[a-z][a-z0-9+.-]*://).*"


def seal_vector(values: np.ndarray, key: SealingKey, artifact_id: bytes) -> bytes:
    """Seals a vector, as `SealedVector` opens it.

    Args:
        values: Shape `(size,)`; kept as float32.
        key: The key that will open it.
        artifact_id: 16 bytes that no other artifact has.
    """
    return seal(np.asarray(values, "<f4").tobytes(), key, artifact_id)


class SealedVector(tf.saved_model.experimental.TrackableResource):
    """A vector for use in an exported function, float32, shape `(size,)`.

    Its ciphertext is an asset, a file of its own in the version folder: another key needs another file, and leaves the
    model as it is. When the artifact is loaded, the graph looks for the key file, opens the ciphertext and keeps the
    numbers in a resource, which no checkpoint and no further saving of the loaded model writes out, as they would a
    `tf.Variable`. If anything fails, loading fails, with the reason and without the key.

    Nothing in it tells what the numbers are for, error texts included: the graph can be read by whoever has the
    artifact.

    Nothing can be read before it was exported and loaded again.
    """

    def __init__(self, file: PathLike, artifact_id: bytes, size: int, key_paths: Sequence[str]) -> None:
        """Makes the resource. Track it with the archive that exports a function which reads it.

        Args:
            file: What `seal_vector` gave, in a file. It is copied under its name when the artifact is written.
            artifact_id: Of this artifact.
            size: How many numbers.
            key_paths: Where the key file may be; the first that is there is taken. What neither starts
                with `/` nor is a URL, such as `gs://...`, is relative to the version folder, wherever that is moved to.

        Raises:
            InvalidArgumentError: If there are no `key_paths`, or one has a wildcard, or `size` is no whole number of at
                least 1.
        """
        # Integers as these have kernels on no other device.
        super().__init__(device="/CPU:0")
        check_key_paths(key_paths)
        self._size = _checks.whole_number("size", size)
        self._artifact_id = artifact_id
        self._key_paths = list(key_paths)
        self._file = self._track_trackable(tf.saved_model.Asset(str(file)), name="file")
        # It would be made when it is first read, inside of the function that reads it.
        with tf.init_scope():
            _ = self.resource_handle

    def read(self) -> tf.Tensor:
        """The numbers, inside an exported function."""
        with tf.device("/CPU:0"):
            values = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.float32)
            return tf.ensure_shape(values, [self._size])

    def _create_resource(self) -> tf.Tensor:
        with tf.device("/CPU:0"):
            # Loaded side by side, two artifacts share nothing.
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[self._size], shared_name=self._artifact_id.hex())

    def _initialize(self) -> None:
        with tf.device("/CPU:0"):
            key_path = find_key_file(self._file.asset_path, self._key_paths)
            key, is_key = opening.parse_key(tf.io.read_file(key_path))
            content, whole = tf.io.read_file(self._file.asset_path), 4 * self._size + OVERHEAD_BYTES
            sealed = tf.io.decode_raw(content, tf.uint8, fixed_length=whole)
            octets, authentic = opening.open_sealed(tf.ensure_shape(sealed, [whole]), key, self._artifact_id)
            authentic &= tf.equal(tf.strings.length(content), whole)
            shape = [f"The key file must hold {2 * opening.KEY_BYTES} hexadecimal digits, or {opening.KEY_BYTES} bytes"]
            with tf.control_dependencies([tf.debugging.Assert(is_key, [*shape, key_path])]):
                reason = ["Another key is needed, or the file was altered", self._file.asset_path, key_path]
                opened = tf.debugging.Assert(authentic, reason)
            with tf.control_dependencies([opened]):
                values = tf.bitcast(tf.reshape(octets, [self._size, 4]), tf.float32)
                tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=values)


def check_key_paths(key_paths: Sequence[str]) -> None:
    """Raises `InvalidArgumentError` if these are no paths of key files, as `SealedVector` takes them."""
    if isinstance(key_paths, str) or not key_paths or _WILDCARDS.intersection("".join(key_paths)):
        raise InvalidArgumentError(f"`key_paths` must be one or more paths without wildcards. Received: {key_paths!r}.")


def find_key_file(asset_path: tf.Tensor, key_paths: Sequence[str | bytes]) -> tf.Tensor:
    """The path of the key file, in a graph; an error where there is none.

    Args:
        asset_path: That of the sealed file, a scalar string.
        key_paths: As for `SealedVector`.
    """
    # Assets lie in a folder of the version folder.
    folder = tf.strings.regex_replace(asset_path, "[^/]*/[^/]*$", "")
    # All in one constant, which `graph.opened` replaces.
    paths = tf.constant(key_paths)
    places = tf.where(tf.strings.regex_full_match(paths, _ABSOLUTE), paths, tf.strings.join([folder, paths]))
    # Of all at once, the result would be sorted.
    found = tf.concat([tf.io.matching_files(place) for place in tf.unstack(places)], axis=0)
    tried = tf.strings.reduce_join(places, separator=", ")
    with tf.control_dependencies([tf.debugging.Assert(tf.size(found) > 0, ["No key file was found at", tried])]):
        return tf.identity(found[0])
