"""Warmup requests: what a server runs before it answers anybody, and what an export is tried with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.errors import MissingDependencyError, ModelError
from honeykeras.export import signatures

FILE = Path("assets.extra", "tf_serving_warmup_requests")
# The least that batching makes, and what it makes under load.
_BATCH_SIZES = (1, 32)
_TOLERANCE = 1e-4


class Request(NamedTuple):
    """A request of a file of warmup requests: a signature, and its inputs by name."""

    signature: str
    inputs: Mapping[str, np.ndarray]


def write(folder: Path, names: Mapping[str, Any], input_shape: tuple[int, ...], input_range: _checks.InputRange) -> int:
    """Writes warmup requests for all signatures of an artifact into it; returns how many.

    Inputs are noise. Real ones would be somebody's, and watermarked ones would tell the watermark.

    Args:
        folder: The version folder.
        names: The signatures, by name.
        input_shape: Shape of one input.
        input_range: Least and greatest value of an input.

    Raises:
        MissingDependencyError: If TensorFlow Serving's protocol buffers are not installed.
    """
    apis = _apis()
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in _BATCH_SIZES:
            unit = np.random.default_rng(size).random((size, *input_shape), np.float32)
            low, high = (np.asarray(end, np.float32) for end in input_range)
            for name in sorted(names):
                writer.write(_log(apis, name, low + unit * (high - low), unit).SerializeToString())
                count += 1
    return count


def read(folder: Path) -> Iterator[Request]:
    """The warmup requests of an artifact."""
    apis = _apis()
    for record in tf.data.TFRecordDataset(str(folder / FILE)).as_numpy_iterator():
        log = apis.PredictionLog.FromString(record)
        if log.HasField("classify_log"):
            request = log.classify_log.request
            examples = [example.SerializeToString() for example in request.input.example_list.examples]
            yield Request(request.model_spec.signature_name, {"inputs": np.array(examples, object)})
        else:
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            yield Request(request.model_spec.signature_name, inputs)


def replay(folder: Path) -> int:
    """Runs the warmup requests of an artifact, and looks at the answers; returns how many there are.

    Raises:
        ModelError: If the artifact cannot be loaded, or an answer is not what clients can use: a row for each input,
            of probabilities; and the same by all signatures, where nothing is flagged.
    """
    try:
        served = tf.saved_model.load(str(folder)).signatures
        requests = list(read(folder))
        answers = [(request, _run(served[request.signature], request)) for request in requests]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ModelError(f"{folder} must load and answer. Received: {_reason(error)}") from None
    for request, answer in answers:
        _check(request, answer)
    for size in {_size(request) for request in requests}:
        _compare({request.signature: answer for request, answer in answers if _size(request) == size})
    return len(requests)


def _reason(error: Exception) -> str:
    """The one line of an error that says why. TensorFlow puts where before it, at length."""
    lines = str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if line.startswith("assertion failed")), lines[0]).split(" [[{{")[0].strip()


def _size(request: Request) -> int:
    return len(next(iter(request.inputs.values())))


def _run(signature: Any, request: Request) -> dict[str, np.ndarray]:
    inputs = {name: tf.constant(values) for name, values in request.inputs.items()}
    return {name: values.numpy() for name, values in signature(**inputs).items()}


def _check(request: Request, answer: Mapping[str, np.ndarray]) -> None:
    for name, values in answer.items():
        if len(values) != _size(request):
            raise ModelError(
                f"`{name}` of {request.signature!r} must have a row for each of {_size(request)} inputs. "
                f"Received: shape {values.shape}."
            )
    rows = _probabilities(answer)
    sums = rows.sum(axis=1)
    # A rejected input has a row of zeros.
    if not np.all((np.abs(sums - 1) < _TOLERANCE) | (sums == 0)):
        raise ModelError(f"{request.signature!r} must give probabilities. Received: rows that add up to {sums[:3]}.")


def _compare(answers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Whether signatures that got the same inputs say the same; images were rounded, and are not the same."""
    said = _probabilities(answers[signatures.DEFAULT])
    for name in (signatures.CLASSIFY, signatures.EXTENDED):
        if name not in answers:
            continue
        rows = _probabilities(answers[name])
        same = ~answers[name].get("flag", np.zeros(len(rows), bool))
        if not np.allclose(said[same], rows[same], atol=_TOLERANCE):
            raise ModelError(f"{name!r} must say what {signatures.DEFAULT!r} says. Received: other probabilities.")


def _probabilities(answer: Mapping[str, np.ndarray]) -> np.ndarray:
    return answer["probabilities"] if "probabilities" in answer else answer["scores"]


def _log(apis: Any, name: str, x: np.ndarray, unit: np.ndarray) -> Any:
    log = apis.PredictionLog()
    if name == signatures.CLASSIFY:
        request = log.classify_log.request
        for row in x:
            feature = request.input.example_list.examples.add().features.feature["inputs"]
            feature.float_list.value.extend(row.ravel().tolist())
    else:
        request = log.predict_log.request
        given, values = "inputs", x
        if name == signatures.IMAGES:
            pixels = (unit * 255).astype(np.uint8)
            given, values = "image_bytes", np.array([tf.io.encode_png(image).numpy() for image in pixels], object)
        request.inputs[given].CopyFrom(tf.make_tensor_proto(values))
    request.model_spec.signature_name = name
    return log


def _apis() -> Any:
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        raise MissingDependencyError(
            "Exporting needs the protocol buffers of TensorFlow Serving. Install them: pip install "
            "'honeykeras[serving]'."
        ) from None
    return prediction_log_pb2
