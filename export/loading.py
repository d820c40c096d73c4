"""`load`: the classifier in an artifact."""

from __future__ import annotations

import keras

from honeykeras import saved_model
from honeykeras._files import PathLike, as_path
from honeykeras.export import graph, signatures
from honeykeras.export.sealing import SealingKey
from honeykeras.export.verification import check


def load(
    version: PathLike,
    *,
    public_key: PathLike | None = None,
    sealing_key: SealingKey | None = None,
    unsigned: bool = False,
) -> keras.Model:
    """Reads the classifier from an artifact, one that needs a key included, once it is verified.

    What clients would be told of an input that is flagged is left out: the classifier is the one that was exported.
    It can be attacked and judged like any other, but not trained.

    Args:
        version: The version folder, for example `serving/mnist/1`.
        public_key: File of the public key that its signature must be by. One that needs a key is not run without.
        sealing_key: What opens it, if it needs a key. Without it, the key must be where the artifact looks for it.
        unsigned: As for `verify`.

    Raises:
        InvalidArgumentError: If `public_key` and `unsigned` are both given.
        ModelError: If it does anything but compute, cannot be loaded, or is no classifier.
        SignatureError: If its signature is not right, or missing where it needs one, or it is another artifact than
            its place and key say.
        StorageError: If its files are not those of its manifest.
    """
    version = as_path(version)
    identity = check(version, public_key=public_key, sealing_key=sealing_key, unsigned=unsigned)
    name = signatures.DEFAULT if identity.key_id is None else signatures.EXTENDED
    with graph.opened(version, sealing_key) as folder:
        loaded = saved_model.load_graph(folder)
    return saved_model.classifier(version, loaded, name, "probabilities")
