"""`save` and `save_guarded`: a Keras classifier as a version folder that TensorFlow Serving loads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from honeykeras import _checks, manifest
from honeykeras._files import PathLike, as_path
from honeykeras._messages import file_reason
from honeykeras.detection import CalibratedDetector
from honeykeras.errors import InvalidArgumentError, ModelError, StorageError
from honeykeras.evidence import Observer
from honeykeras.export import batching, graph, leaks, names, policies, sealed_vector, signatures, warmup
from honeykeras.export.publish import check_version, new_version
from honeykeras.export.sealed_detector import SealedDetector
from honeykeras.export.sealed_vector import SealedVector
from honeykeras.export.sealing import SealingKey
from honeykeras.ranges import UNIT, InputRange, RangeLike

KEY_PATHS = ("/run/secrets/model.key", "../../../model.key")
"""Where artifacts look for their key: where container engines put secrets, then beside the folder of all models."""


def save(
    model: keras.Model,
    path: PathLike,
    *,
    version: int | None = None,
    input_shape: Sequence[int] | None = None,
    input_range: RangeLike | None = None,
    class_names: Sequence[str] | None = None,
    keep_secret: CalibratedDetector | None = None,
    own_signatures: signatures.OwnSignatures | None = None,
) -> Path:
    """Exports a classifier as a SavedModel to hand out, in a new version folder, in one atomic step.

    Its signatures, all of batches:

    - `serving_default`: `inputs`, `(batch, *input_shape)`, float32, to `probabilities`, `(batch, num_classes)`,
      float32, whether the model's output is logits or probabilities.
    - `predict_images`, if inputs are images: `image_bytes`, `(batch,)`, string, the content of PNG or JPEG files of
      the inputs' size, to the same.
    - `classify`: TensorFlow Serving's own form, `inputs`, `(batch,)`, string, serialized `tf.Example` of a feature
      `inputs`, to `classes`, string, and `scores`, float32, both `(batch, num_classes)`.

    A request of another rank, shape or type, or without an input, is answered with an error by all of them.

    With it go warmup requests of noise, parameters for batching and a manifest. Before it is published, all its files
    are scanned for leaks, and it is loaded and answers the warmup requests.

    Args:
        model: The classifier.
        path: The model's folder, for example `serving/mnist`. It is what TensorFlow Serving is pointed at. Its name is
            the model's, and is written into the artifact.
        version: Number of the version folder to make, at least 1. Defaults to one more than the highest there.
        input_shape: Shape of one input, without the batch. Needed only for a subclassed model, which does not
            tell.
        input_range: Least and greatest value of an input. What is beyond is clipped, what is no number becomes the
            least, and images are scaled to it. Defaults to that of `keep_secret`; where there is none, inputs are taken
            as they are, and images are scaled to [0, 1].
        class_names: What `classify` calls the classes. Defaults to their numbers.
        own_signatures: Signatures of the user's, instead of these: a function that gets the classifier, which is
            called on inputs, float32 `(batch, *input_shape)`, and gives what the model gives, float32
            `(batch, num_classes)`; and returns `tf.function`s with an input signature, by name, `serving_default` among
            them. `kept_signatures` makes one of a model that is served already.
        keep_secret: A detector for the model. That nothing it knows is in the artifact is then part of the scan.

    Returns:
        The version folder, for example `serving/mnist/1`.

    Raises:
        InvalidArgumentError: If an argument breaks a rule.
        LeakError: If the artifact would hold a secret, or say what it is.
        MissingDependencyError: If TensorFlow Serving's protocol buffers are not installed.
        ModelError: If the model is no classifier, its input shape is not known, or what was exported does not answer.
        StorageError: If the version exists already, or the disk refuses. Versions that exist stay intact.
    """
    check_arguments(path, version)
    shape = _input_shape(model, input_shape)
    if input_range is None and keep_secret is not None:
        input_range = keep_secret.watermark.input_range
    bounds = None if input_range is None else InputRange.of(input_range, shape)
    endpoints = signatures.make_signatures(model, shape, bounds, class_names, own=own_signatures)
    needles = {} if keep_secret is None else leaks.needles(keep_secret)
    return _publish(path, version, endpoints, needles, shape, bounds)


def save_guarded(
    model: keras.Model,
    path: PathLike,
    detector: CalibratedDetector,
    sealing_key: SealingKey,
    *,
    policy: str = policies.DEFAULT,
    key_paths: Sequence[str] = KEY_PATHS,
    version: int | None = None,
    class_names: Sequence[str] | None = None,
    own_signatures: signatures.OwnSignatures | None = None,
    observer: Observer | None = None,
) -> Path:
    """Exports a classifier and its detector as a SavedModel for a host that is trusted.

    It has the signatures that `save` describes, all of which answer as the policy says where the detector flags an
    input; and `extended`, for the operator alone: `inputs` to the model's own `probabilities`, a `score` in [0, 1],
    `(batch,)`, float32, which is 0.5 at the threshold, and a `flag`, `(batch,)`, bool. So has each other signature
    `NAME` a twin, `extended_NAME`, that gives what the model says, `score` and `flag`. Inputs are clipped to the
    detector's input range, so that it judges what the model sees.

    What the detector knows is sealed. The artifact cannot be loaded without the key file, and tells nobody anything
    without it, not even that there is a detector.

    Args:
        model: The classifier.
        path: As for `save`.
        detector: The model's detector, calibrated. Its id goes into the manifest.
        sealing_key: What opens the artifact. Save it where one of `key_paths` finds it.
        policy: What clients are told of an input that is flagged: `mislead` (the model's label, and how sure it is
            goes up where it goes down), `observe` (the model's answer), `decoy` (the two most probable classes change
            places), `uniform` (all classes alike) or `reject` (all zeros). Of logits as of probabilities.
        key_paths: Where the server finds the key; the first that is there is taken. What neither starts with
            `/` nor is a URL, such as `gs://...`, is relative to the version folder.
        version: As for `save`.
        class_names: As for `save`.
        own_signatures: As for `save`; each must call the classifier once.
        observer: The detector's observer. The artifact then has the signature `extended_evidence`, for the operator
            alone, which gives beside what `extended` does what ledgers are fed with (`evidence.Observations.of_answers`
            and `evidence.Rules.of_answers`), so that who keeps ledgers needs no key file. Its answers are as secret as
            the key: some two hundred give the patterns away.

    Returns:
        The version folder.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or the detector is not calibrated, or another model's.
        LeakError, MissingDependencyError, ModelError, StorageError: As `save`.
    """
    check_arguments(path, version, policy=policy, key_paths=key_paths)
    _checks.instance("detector", detector, CalibratedDetector, "a detector, such as Detector(key), calibrated")
    if not isinstance(sealing_key, SealingKey):
        raise InvalidArgumentError(
            f"`sealing_key` must be a SealingKey. Received: {type(sealing_key).__name__}. Make one: "
            "SealingKey.generate()."
        )
    detector.check_model(model)
    if observer is not None and (not isinstance(observer, Observer) or observer.detector is not detector):
        raise InvalidArgumentError(
            "`observer` must be the observer of the detector that is exported: Observer(detector, clean). Received: "
            f"{observer!r}."
        )
    shape, bounds = detector.watermark.input_shape, detector.watermark.input_range
    with tempfile.TemporaryDirectory() as scratch:
        sealed = SealedDetector(detector, sealing_key, key_paths, Path(scratch), observer)
        endpoints = signatures.make_signatures(model, shape, bounds, class_names, sealed, policy, own_signatures)
        needles = leaks.needles(detector, sealing_key)
        if observer is not None:
            needles = {**needles, **leaks.of_values("what evidence is seen with", observer.sight.centres)}
        return _publish(
            path, version, endpoints, needles, shape, bounds, sealed.vector, sealing_key, detector.detector_id
        )


def check_arguments(
    path: PathLike,
    version: int | None = None,
    *,
    policy: str = policies.DEFAULT,
    key_paths: Sequence[str] = KEY_PATHS,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> None:
    """What can be told of arguments of `save` and `save_guarded` before there is a model.

    Raises:
        InvalidArgumentError: If one breaks a rule.
        LeakError: If the name of the model's folder says what it is.
        StorageError: If the version exists already, or the model's folder is none.
    """
    _checks.one_of("policy", policy, policies.POLICIES)
    sealed_vector.check_key_paths(key_paths)
    if num_classes is not None:
        signatures.check_class_names(class_names, num_classes)
    folder = Path(os.path.abspath(as_path(path)))
    leaks.check_name(folder.name)
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"Cannot write {path}: it is not a folder. Choose another place.")
    check_version(path, version)


def _publish(
    path: PathLike,
    version: int | None,
    endpoints: Mapping[str, signatures.Endpoint],
    needles: Mapping[str, bytes],
    input_shape: tuple[int, ...],
    input_range: InputRange | None,
    vector: SealedVector | None = None,
    sealing_key: SealingKey | None = None,
    build_id: str | None = None,
) -> Path:
    # The model's variables are found by its use. If it were tracked as well, they would be written twice.
    archive = keras.export.ExportArchive()
    if vector is not None:
        archive.track(vector)
    for name, endpoint in endpoints.items():
        archive.add_endpoint(name, endpoint.function, input_signature=list(endpoint.inputs))
    with new_version(path, version) as folder:
        scratch = folder.scratch
        key_id = None if sealing_key is None else sealing_key.key_id
        identity = manifest.Identity.of_place(folder.path, key_id, build_id)
        try:
            archive.write_out(str(scratch), verbose=False)
        except tf.errors.OpError as error:
            raise StorageError(
                f"Cannot write {folder.path}: {file_reason(error)}. Nothing was changed there. Make room or choose "
                "another place."
            ) from error
        assets = scratch / tf.saved_model.ASSETS_DIRECTORY
        if not any(assets.iterdir()):
            # No manifest could tell of it.
            assets.rmdir()
        described = graph.read(scratch)
        # Keras makes all signatures `predict`'s.
        for name, endpoint in endpoints.items():
            if endpoint.is_classification:
                described.signature_def[name].method_name = tf.compat.v1.saved_model.CLASSIFY_METHOD_NAME
        graph.write(scratch, names.neutral(described))
        (scratch / batching.BATCHING_FILE).write_text(batching.batching_parameters(), encoding="utf-8")
        warmup.write(scratch, endpoints, input_shape, input_range or UNIT)
        manifest.write(scratch, identity)
        leaks.check(scratch, needles)
        with graph.opened(scratch, sealing_key) as loadable:
            warmup.replay(loadable)
    return folder.path


def _input_shape(model: keras.Model, stated: Sequence[int] | None) -> tuple[int, ...]:
    if stated is not None:
        return _checks.shape("input_shape", stated)
    known = getattr(model, "input_shape", None)
    if not isinstance(known, tuple) or len(known) < 2 or not all(isinstance(size, int) for size in known[1:]):
        raise ModelError(
            f"The shape of the model's one input must be known to export it. Received: input_shape={known}. "
            "Give it, without the batch, as `input_shape`."
        )
    return known[1:]
