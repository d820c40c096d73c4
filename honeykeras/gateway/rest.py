"""The REST API that clients of TensorFlow Serving speak, in front of a `Guard`."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import fastapi
import numpy as np
from starlette.requests import ClientDisconnect

from honeykeras.export.signatures import DEFAULT
from honeykeras.gateway import rest_format
from honeykeras.gateway.backend import Model, State
from honeykeras.gateway.failures import RequestError, invalid
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.identity import Caller, client_of, gathered
from honeykeras.gateway.tensors import Signature

# As `http_rest_api_util.cc` of TensorFlow Serving has them.
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASKED = re.compile(rf"(?i){_MODEL}:(?P<method>classify|regress|predict)")
_STATUS = re.compile(rf"(?i){_MODEL}")
_API = re.compile(r"(?i)/v1/.*")

_MAX_VERSION = 2**63 - 1


def make_app(guard: Guard, limit: Callable[[str], Any] | None = None) -> fastapi.FastAPI:
    """The application that clients reach.

    Args:
        guard: Who answers.
        limit: Raises `RequestError` if a client asks too often; awaited with its name.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def handle(request: fastapi.Request) -> fastapi.Response:
        if not _API.fullmatch(request.url.path):
            return fastapi.Response(status_code=404)
        try:
            return _response(await _answer(guard, request, limit))
        except RequestError as error:
            return _response(rest_format.error(error.message), error.http_status)
        except ClientDisconnect:
            return fastapi.Response(status_code=499)

    app.add_route("/{path:path}", handle, ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    return app


def _response(content: str, status: int = 200) -> fastapi.Response:
    return fastapi.Response(content.encode(errors="replace"), status, media_type="application/json")


async def _answer(guard: Guard, request: fastapi.Request, limit: Callable[[str], Any] | None) -> str:
    # Sockets of the machine's own have no address.
    peer = request.client.host if request.client else "local"
    caller = Caller(peer, gathered(request.headers.items()), request.scope.get("state", {}).get("certificate"))
    client = client_of(guard.policy.clients, caller)
    if limit is not None:
        await limit(client)
    path = request.url.path
    if request.method == "POST" and (found := _ASKED.fullmatch(path)):
        body = await _body(request, guard.policy.limits.body)
        return await _predict_or_classify(guard, _model(found), found["method"].lower(), body, client)
    if request.method == "GET" and (found := _STATUS.fullmatch(path)):
        return _status(await guard.states(_model(found)))
    raise invalid(f"Malformed request: {request.method} {path}")


def _model(found: re.Match[str]) -> Model:
    version = None if found["version"] is None else int(found["version"])
    if version is not None and version > _MAX_VERSION:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return Model(found["name"], version, found["label"])


async def _body(request: fastapi.Request, most: int) -> bytes:
    """A request's body, unpacked, and no more of it read or unpacked than may be.

    Raises:
        RequestError: If it is larger, or not what its headers say.
    """
    packing = request.headers.get("content-encoding", "identity").lower()
    if packing not in ("identity", "gzip"):
        raise invalid(f"Content-Encoding must be gzip or identity, and is {packing[:50]}")
    unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if packing == "gzip" else None
    parts, size = [], 0
    async for part in request.stream():
        try:
            content = part if unpack is None else unpack.decompress(part, most + 1)
        except zlib.error:
            raise invalid("The body is not what gzip makes") from None
        parts.append(content)
        size += len(content)
        if size > most:
            raise invalid(f"The body must have at most {most} bytes")
    if unpack is not None and size and not unpack.eof:
        raise invalid("The body is not what gzip makes")
    return b"".join(parts)


async def _predict_or_classify(guard: Guard, model: Model, method: str, body: bytes, client: str) -> str:
    document = rest_format.parse(body)
    named = rest_format.signature_name(document)
    signatures = await guard.signatures(model)
    name = named or DEFAULT
    if method == "predict":
        given = rest_format.predict_inputs(document, _known(signatures, name))
        outputs = (await guard.ask(model, name, given.inputs, client)).outputs
        return rest_format.rows(outputs) if given.in_rows else rest_format.columns(outputs)
    signature = _known(signatures, name)
    if method == "regress" or not signature.is_classification:
        expected = "classification" if method == "classify" else "regression"
        raise invalid(f"Expected {expected} signature method_name to be tensorflow/serving/{method}.")
    ((given_name, _),) = signature.inputs.items()
    examples = np.array(rest_format.examples(document), object)
    outputs = (await guard.ask(model, name, {given_name: examples}, client)).outputs
    return rest_format.classifications(outputs["classes"], outputs["scores"])


def _known(signatures: dict[str, Signature], name: str) -> Signature:
    if name not in signatures:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    return signatures[name]


def _status(states: list[State]) -> str:
    """As protobuf writes a `GetModelStatusResponse`."""
    blocks = ",\n".join(
        f'  {{\n   "version": "{each.version}",\n   "state": "{each.state}",\n   "status": {{\n'
        f'    "error_code": "{each.code}",\n    "error_message": {rest_format.text(each.message)}\n   }}\n  }}'
        for each in states
    )
    return f'{{\n "model_version_status": [\n{blocks}\n ]\n}}\n'
