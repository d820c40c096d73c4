"""`Upstream`: a TensorFlow Serving behind the gateway, by gRPC."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf

from honeykeras._files import PathLike, read_file
from honeykeras._messages import shortened
from honeykeras._optional import load_optional
from honeykeras.gateway.backend import Answer, Backend, Model, State
from honeykeras.gateway.failures import CODES, HTTP_STATUS, RequestError
from honeykeras.gateway.tensors import Signature, signatures

# Probabilities of a batch of images, and what evidence is made of, are far above gRPC's own 4 MiB.
_OPTIONS = [
    ("grpc.max_receive_message_length", 2**28),
    ("grpc.max_send_message_length", 2**28),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Of a name that stands for several servers, each gets its share.
    ("grpc.lb_policy_name", "round_robin"),
]


@dataclasses.dataclass(frozen=True)
class Credentials:
    """By what a server is known, and the gateway to it: files in PEM.

    Attributes:
        authority: The certificate of who signed the server's. Defaults to those that the system trusts.
        certificate: The gateway's own, if the server wants one.
        key: The private key of that, readable by its owner alone.
    """

    authority: PathLike | None = None
    certificate: PathLike | None = None
    key: PathLike | None = None

    def load(self) -> grpc.ChannelCredentials:
        """What gRPC makes of them."""
        authority, certificate = (
            None if path is None else read_file(path, "certificate", private=False)
            for path in (self.authority, self.certificate)
        )
        key = None if self.key is None else read_file(self.key, "private key", private=True)
        return grpc.ssl_channel_credentials(authority, key, certificate)


class _Known(NamedTuple):
    version: int
    signatures: Mapping[str, Signature]


class Upstream(Backend):
    """A TensorFlow Serving behind the gateway, by gRPC."""

    def __init__(
        self, address: str, *, tls: Credentials | None = None, deadline: Callable[[], float] = lambda: 10.0
    ) -> None:
        """Names the server; `start` opens a channel.

        Args:
            address: Host and port.
            tls: Speaks TLS, and by what certificates. Defaults to plain text, for a server on the same host or network.
            deadline: How many seconds an answer may take, as the policy says that is in force.
        """
        self._address, self._deadline = address, deadline
        self._credentials = None if tls is None else tls.load()
        self._known: dict[Model, _Known] = {}

    async def start(self) -> None:
        what = "A gateway"
        predict, get_model_status, get_model_metadata, model_pb2 = (
            load_optional(f"tensorflow_serving.apis.{name}", "serving", what)
            for name in ("predict_pb2", "get_model_status_pb2", "get_model_metadata_pb2", "model_pb2")
        )
        services = [
            load_optional(f"tensorflow_serving.apis.{name}_service_pb2_grpc", "serving", what)
            for name in ("prediction", "model")
        ]
        self._predict, self._status, self._metadata, self._model = (
            predict, get_model_status, get_model_metadata, model_pb2
        )  # fmt: skip
        self._channel = (
            grpc.aio.insecure_channel(self._address, _OPTIONS)
            if self._credentials is None
            else grpc.aio.secure_channel(self._address, self._credentials, _OPTIONS)
        )
        self._predictions, self._models = (
            services[0].PredictionServiceStub(self._channel), services[1].ModelServiceStub(self._channel)
        )  # fmt: skip

    async def close(self) -> None:
        await self._channel.close()

    async def signatures(self, model: Model) -> Mapping[str, Signature]:
        if model not in self._known:
            request = self._metadata.GetModelMetadataRequest(
                model_spec=self._spec(model), metadata_field=["signature_def"]
            )
            response = await self._ask(self._predictions.GetModelMetadata, request)
            found = self._metadata.SignatureDefMap()
            response.metadata["signature_def"].Unpack(found)
            self._remember(model, _Known(response.model_spec.version.value, signatures(found.signature_def)))
        return self._known[model].signatures

    def _remember(self, model: Model, known: _Known) -> None:
        # Names come from clients.
        if len(self._known) >= 1000:
            self._known.clear()
        self._known[model] = known

    async def run(self, model: Model, signature: str, inputs: Mapping[str, np.ndarray]) -> Answer:
        request = self._predict.PredictRequest(model_spec=self._spec(model))
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = await self._ask(self._predictions.Predict, request)
        version = response.model_spec.version.value
        known = self._known.get(model)
        if known is not None and known.version != version:
            # Another version is served by now, which may have other signatures.
            del self._known[model]
        return Answer(version, {name: tf.make_ndarray(value) for name, value in response.outputs.items()})

    async def states(self, model: Model) -> list[State]:
        request = self._status.GetModelStatusRequest(model_spec=self._spec(model))
        response = await self._ask(self._models.GetModelStatus, request)
        states = self._status.ModelVersionStatus.State
        return [
            State(each.version, states.Name(each.state), CODES[each.status.error_code], each.status.error_message)
            for each in response.model_version_status
        ]

    async def is_healthy(self) -> bool:
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    def _spec(self, model: Model) -> Any:
        spec = self._model.ModelSpec(name=model.name)
        if model.version is not None:
            spec.version.value = model.version
        if model.label is not None:
            spec.version_label = model.label
        return spec

    async def _ask(self, call: Any, request: Any) -> Any:
        try:
            return await call(request, timeout=self._deadline())
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            # What the channel says of a server that is not there names its address.
            told = {
                "UNAVAILABLE": "The model is not available",
                "DEADLINE_EXCEEDED": "The model took too long to answer",
            }
            details = told.get(code) or shortened(error.details() or code)
            raise RequestError(code if code in HTTP_STATUS else "UNKNOWN", details) from None
