"""The gRPC API that clients of TensorFlow Serving speak, in front of a `Guard`."""

from __future__ import annotations

import math
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from honeykeras._optional import load_optional
from honeykeras.export.signatures import DEFAULT
from honeykeras.gateway.backend import Model
from honeykeras.gateway.failures import CODES, RequestError, invalid
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.identity import Caller, client_of, gathered
from honeykeras.gateway.tensors import serialized

_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


def make_server(guard: Guard, limit: Callable[[str], Any] | None = None) -> tuple[grpc.aio.Server, Any]:
    """The server that clients reach, and the health service in it.

    Args:
        guard: Who answers.
        limit: Raises `RequestError` if a client asks too often; awaited with its name.
    """
    what = "A gateway"
    services = [
        load_optional(f"tensorflow_serving.apis.{name}_service_pb2_grpc", "serving", what)
        for name in ("prediction", "model")
    ]
    health, health_service = (
        load_optional(f"grpc_health.v1.{name}", "gateway", what) for name in ("health", "health_pb2_grpc")
    )
    # Bodies are as large as those of the REST API may be, and some more for what is around them.
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", guard.policy.limits.body + 2**16)])
    services[0].add_PredictionServiceServicer_to_server(_predictions(services[0], guard, limit), server)
    services[1].add_ModelServiceServicer_to_server(_models(services[1], guard, limit), server)
    alive = health.aio.HealthServicer()
    health_service.add_HealthServicer_to_server(alive, server)
    return server, alive


async def set_health(alive: Any, serving: bool) -> None:
    """Tells who asks for the health of the server and its services whether they serve."""
    health = load_optional("grpc_health.v1.health_pb2", "gateway", "A gateway").HealthCheckResponse
    for service in ("", *_SERVICES):
        await alive.set(service, health.SERVING if serving else health.NOT_SERVING)


def _predictions(service: Any, guard: Guard, limit: Callable[[str], Any] | None) -> Any:
    apis = {
        name: load_optional(f"tensorflow_serving.apis.{name}_pb2", "serving", "A gateway")
        for name in ("predict", "classification", "get_model_metadata")
    }

    class Predictions(service.PredictionServiceServicer):
        async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            return await _told(context, self._predict(request, context))

        async def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
            return await _told(context, self._classify(request, context))

        async def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            return await _told(context, self._metadata(request, context))

        async def _predict(self, request: Any, context: Any) -> Any:
            client = await _client(guard, context, limit)
            name = request.model_spec.signature_name or DEFAULT
            model = _model(request.model_spec)
            if name not in await guard.signatures(model):
                raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
            inputs = {key: _array(value, guard.policy.limits.body) for key, value in request.inputs.items()}
            answer = await guard.ask(model, name, inputs, client, list(request.output_filter))
            response = apis["predict"].PredictResponse()
            _name(response.model_spec, model, answer.version, name)
            for key, value in answer.outputs.items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            return response

        async def _classify(self, request: Any, context: Any) -> Any:
            client = await _client(guard, context, limit)
            name = request.model_spec.signature_name or DEFAULT
            model = _model(request.model_spec)
            signature = (await guard.signatures(model)).get(name)
            if signature is None:
                raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
            if not signature.is_classification:
                raise invalid("Expected classification signature method_name to be tensorflow/serving/classify.")
            ((given, _),) = signature.inputs.items()
            answer = await guard.ask(model, name, {given: np.array(_examples(request.input), object)}, client)
            response = apis["classification"].ClassificationResponse()
            _name(response.model_spec, model, answer.version, name)
            for labels, scores in zip(answer.outputs["classes"], answer.outputs["scores"], strict=True):
                row = response.result.classifications.add()
                for label, score in zip(labels, scores, strict=True):
                    row.classes.add(label=label.decode(), score=float(score))
            return response

        async def _metadata(self, request: Any, context: Any) -> Any:
            await _client(guard, context, limit)
            if list(request.metadata_field) != ["signature_def"]:
                raise invalid(f"Metadata field {list(request.metadata_field)} is not supported")
            model = _model(request.model_spec)
            shown = apis["get_model_metadata"].SignatureDefMap()
            for name, signature in (await guard.signatures(model)).items():
                shown.signature_def[name].CopyFrom(signature.definition)
            response = apis["get_model_metadata"].GetModelMetadataResponse()
            (latest, *_) = [each.version for each in await guard.states(model)]
            _name(response.model_spec, model, latest)
            response.metadata["signature_def"].Pack(shown)
            return response

    return Predictions()


def _models(service: Any, guard: Guard, limit: Callable[[str], Any] | None) -> Any:
    status = load_optional("tensorflow_serving.apis.get_model_status_pb2", "serving", "A gateway")

    class Models(service.ModelServiceServicer):
        async def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
            return await _told(context, self._status(request, context))

        async def _status(self, request: Any, context: Any) -> Any:
            await _client(guard, context, limit)
            response = status.GetModelStatusResponse()
            for each in await guard.states(_model(request.model_spec)):
                found = response.model_version_status.add(version=each.version, state=each.state)
                found.status.error_code = CODES.index(each.code)
                found.status.error_message = each.message
            return response

    return Models()


async def _told(context: Any, answer: Awaitable[Any]) -> Any:
    """An answer, or the error in its place."""
    try:
        return await answer
    except RequestError as error:
        await context.abort(grpc.StatusCode[error.code], error.message)


async def _client(guard: Guard, context: Any, limit: Callable[[str], Any] | None) -> str:
    headers = gathered((key, value) for key, value in context.invocation_metadata() if isinstance(value, str))
    names = context.auth_context().get("x509_common_name", [])
    certificate = names[0].decode(errors="replace") if len(names) == 1 else None
    client = client_of(guard.policy.clients, Caller(_peer(context.peer()), headers, certificate))
    if limit is not None:
        await limit(client)
    return client


def _peer(peer: str) -> str:
    """The address in what gRPC calls a peer, such as `ipv4:10.1.2.3:50000`."""
    found = re.fullmatch(r"ipv[46]:\[?([^\]]+?)\]?:\d+", urllib.parse.unquote(peer))
    return found[1] if found else "local"


def _model(spec: Any) -> Model:
    kind = spec.WhichOneof("version_choice")
    return Model(
        spec.name,
        spec.version.value if kind == "version" else None,
        spec.version_label if kind == "version_label" else None,
    )


def _name(spec: Any, model: Model, version: int, signature: str = "") -> None:
    spec.name, spec.signature_name = model.name, signature
    spec.version.value = version


def _array(value: Any, most: int) -> np.ndarray:
    # One value can stand for all of a tensor that states a shape as large as it likes.
    size = math.prod(dim.size for dim in value.tensor_shape.dim)
    if any(dim.size < 0 for dim in value.tensor_shape.dim) or size > most:
        raise invalid(f"An input must state its shape, of at most {most} elements")
    try:
        return tf.make_ndarray(value)
    except Exception:  # As many kinds as there are ways to state a tensor wrongly.
        raise invalid("An input must be a tensor whose values fill its shape") from None


def _examples(given: Any) -> Sequence[bytes]:
    kind = given.WhichOneof("kind")
    found = getattr(given, kind).examples if kind else []
    if not found:
        raise invalid("Input is empty")
    return serialized(found, getattr(getattr(given, kind), "context", None))
