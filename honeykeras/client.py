"""`Client`: asks a model that is served, by TensorFlow Serving or by a gateway before it.

```python
from honeykeras.client import Client

with Client("http://127.0.0.1:8501", "mnist") as client:
    probabilities = client.predict(x)
```
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from honeykeras import _checks
from honeykeras._files import PathLike, read_file
from honeykeras._messages import shortened
from honeykeras._optional import load_optional
from honeykeras.errors import InvalidArgumentError, ServingError

_WHAT = "A client"
# Of these a further try may be answered; of no others.
_AGAIN = (429, 502, 503, 504)
_AGAIN_GRPC = ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
_BACKOFF = 0.2
_LARGEST = 2**28
# So many threads may share a client, and none opens connections that it cannot keep.
_CONNECTIONS = 32


class Client:
    """Asks a model that is served, by REST or gRPC."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        key: str | None = None,
        ca: PathLike | None = None,
        certificate: PathLike | None = None,
        certificate_key: PathLike | None = None,
        timeout: float = 10.0,
        retries: int = 3,
    ) -> None:
        """Names the model; nothing is asked yet.

        Args:
            address: Where it is served: `http://host:port` or `https://host` for REST, `grpc://host:port` for gRPC,
                `grpcs://host:port` for gRPC over TLS.
            model: The model's name.
            version: Which version is asked. Defaults to the one that is served.
            key: This client's key, if the server wants one. It goes over TLS or to this machine alone.
            ca: File of the certificate of who signed the server's, PEM. Defaults to those that the system trusts.
            certificate: File of this client's certificate, PEM, if the server wants one.
            certificate_key: File of the private key of that, PEM.
            timeout: How many seconds a try may take.
            retries: How often it is tried again, later each time, where nobody answers or the server is busy.

        Raises:
            InvalidArgumentError: If an argument breaks a rule.
            MissingDependencyError: If what speaks that API is not installed.
        """
        found = urllib.parse.urlsplit(address) if isinstance(address, str) else None
        if found is None or found.scheme not in ("http", "https", "grpc", "grpcs") or not found.hostname:
            raise InvalidArgumentError(
                f"`address` must be like http://127.0.0.1:8501 or grpc://127.0.0.1:8500. Received: {address!r}."
            )
        _checks.in_interval("timeout", timeout, 0, float("inf"), closed="()")
        _checks.whole_number("retries", retries, 0)
        if key is not None and found.scheme in ("http", "grpc") and found.hostname not in ("127.0.0.1", "localhost"):
            raise InvalidArgumentError("`key` must go over TLS: https:// or grpcs://. Received: an address without.")
        if (certificate is None) != (certificate_key is None):
            raise InvalidArgumentError("`certificate` and `certificate_key` must be given together.")
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        kind = _Rest if found.scheme.startswith("http") else _Grpc
        tls = _Tls(ca, certificate, certificate_key)
        self._api: _Rest | _Grpc = kind(_Asked(address, model, version, headers, tls, timeout, retries))

    def predict(
        self, inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike], signature: str = ""
    ) -> np.ndarray | dict[str, np.ndarray]:
        """What a signature gives.

        Args:
            inputs: A batch, shape `(n, ...)`; or several by name. Strings of bytes as an array of `bytes`.
            signature: Its name. Defaults to the one that is asked where none is named.

        Returns:
            The output, shape `(n, ...)`; by name if there are several.

        Raises:
            ServingError: If there is no answer, with the server's reason.
        """
        found = self._api.predict(inputs, signature)
        return next(iter(found.values())) if len(found) == 1 else found

    def predict_images(self, files: Sequence[bytes]) -> np.ndarray:
        """Probabilities of images, shape `(n, num_classes)`.

        Args:
            files: The content of PNG or JPEG files.
        """
        return np.asarray(self.predict(np.array(list(files), object), "predict_images"))

    def is_available(self) -> bool:
        """Whether a version of the model is served now."""
        try:
            return "AVAILABLE" in self._api.states()
        except ServingError:
            return False

    def close(self) -> None:
        """Lets go of connections."""
        self._api.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Tls(NamedTuple):
    ca: PathLike | None
    certificate: PathLike | None
    key: PathLike | None


class _Asked(NamedTuple):
    """Which model is asked, where, and how."""

    address: str
    model: str
    version: int | None
    headers: dict[str, str]
    tls: _Tls
    timeout: float
    retries: int


class _Rest:
    def __init__(self, asked: _Asked) -> None:
        urllib3 = load_optional("urllib3", "client", _WHAT)
        again = urllib3.Retry(asked.retries, status_forcelist=_AGAIN, allowed_methods=None, backoff_factor=_BACKOFF)
        files = dict(zip(("ca_certs", "cert_file", "key_file"), asked.tls, strict=True))
        given = {name: str(path) for name, path in files.items() if path is not None}
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS, retries=again, timeout=asked.timeout, headers=asked.headers, **given
        )
        self._errors = urllib3.exceptions.HTTPError
        at = "" if asked.version is None else f"/versions/{asked.version}"
        self._url = f"{asked.address.rstrip('/')}/v1/models/{urllib.parse.quote(asked.model, safe='')}{at}"

    def predict(self, inputs: Any, signature: str) -> dict[str, np.ndarray]:
        given = {name: _plain(each) for name, each in inputs.items()} if isinstance(inputs, Mapping) else _plain(inputs)
        body = {"inputs": given, **({"signature_name": signature} if signature else {})}
        outputs = self._ask("POST", f"{self._url}:predict", json.dumps(body))["outputs"]
        named = outputs if isinstance(outputs, dict) and outputs.keys() != {"b64"} else {"outputs": outputs}
        return {name: _array(each) for name, each in named.items()}

    def states(self) -> list[str]:
        return [each["state"] for each in self._ask("GET", self._url)["model_version_status"]]

    def _ask(self, method: str, url: str, body: str | None = None) -> dict[str, Any]:
        try:
            response = self._pool.request(method, url, body=body)
            found = json.loads(response.data)
        except self._errors as error:
            raise ServingError(f"A server must answer at {url}. Received: {shortened(str(error))}") from None
        except ValueError:
            raise ServingError(f"A server of models must answer at {url}. Received: something else.") from None
        if response.status != 200:
            said = found.get("error", "no reason") if isinstance(found, dict) else "no reason"
            raise ServingError(f"The server refused the request: {shortened(str(said))}", response.status)
        return found

    def close(self) -> None:
        self._pool.clear()


class _Grpc:
    def __init__(self, asked: _Asked) -> None:
        self._grpc = load_optional("grpc", "client", _WHAT)
        load = {
            name: load_optional(f"tensorflow_serving.apis.{name}", "client", _WHAT)
            for name in ("predict_pb2", "get_model_status_pb2", "prediction_service_pb2_grpc", "model_service_pb2_grpc")
        }
        self._predict, self._status = load["predict_pb2"], load["get_model_status_pb2"]
        again = {
            "maxAttempts": min(asked.retries + 1, 5),
            "initialBackoff": f"{_BACKOFF}s",
            "maxBackoff": "5s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": _AGAIN_GRPC,
        }
        config = json.dumps({"methodConfig": [{"name": [{}], **({"retryPolicy": again} if asked.retries else {})}]})
        options = [
            ("grpc.service_config", config),
            ("grpc.max_receive_message_length", _LARGEST),
            ("grpc.max_send_message_length", _LARGEST),
        ]
        target = urllib.parse.urlsplit(asked.address)
        self._channel = (
            self._grpc.secure_channel(target.netloc, self._credentials(asked.tls), options)
            if target.scheme == "grpcs"
            else self._grpc.insecure_channel(target.netloc, options)
        )
        self._predictions = load["prediction_service_pb2_grpc"].PredictionServiceStub(self._channel)
        self._models = load["model_service_pb2_grpc"].ModelServiceStub(self._channel)
        self._model, self._version, self._timeout = asked.model, asked.version, asked.timeout
        self._metadata = list(asked.headers.items())

    def _credentials(self, tls: _Tls) -> Any:
        ca, certificate = (
            None if path is None else read_file(path, "certificate", private=False)
            for path in (tls.ca, tls.certificate)
        )
        key = None if tls.key is None else read_file(tls.key, "private key", private=True)
        return self._grpc.ssl_channel_credentials(ca, key, certificate)

    def predict(self, inputs: Any, signature: str) -> dict[str, np.ndarray]:
        import tensorflow as tf

        request = self._predict.PredictRequest()
        self._name(request.model_spec)
        request.model_spec.signature_name = signature
        named = inputs if isinstance(inputs, Mapping) else {self._input(signature): inputs}
        for name, each in named.items():
            array = np.asarray(each)
            request.inputs[name].CopyFrom(
                tf.make_tensor_proto(array.astype(np.float32) if array.dtype.kind == "f" else array)
            )
        response = self._ask(self._predictions.Predict, request)
        return {name: tf.make_ndarray(each) for name, each in response.outputs.items()}

    @staticmethod
    def _input(signature: str) -> str:
        # As honeykeras exports them; others are given by name.
        return "image_bytes" if signature == "predict_images" else "inputs"

    def states(self) -> list[str]:
        request = self._status.GetModelStatusRequest()
        self._name(request.model_spec)
        found = self._ask(self._models.GetModelStatus, request).model_version_status
        return [self._status.ModelVersionStatus.State.Name(each.state) for each in found]

    def _name(self, spec: Any) -> None:
        spec.name = self._model
        if self._version is not None:
            spec.version.value = self._version

    def _ask(self, call: Any, request: Any) -> Any:
        try:
            return call(request, timeout=self._timeout, metadata=self._metadata)
        except self._grpc.RpcError as error:
            raise ServingError(
                f"The server refused the request: {shortened(error.details() or '')}", error.code().name
            ) from None

    def close(self) -> None:
        self._channel.close()


def _plain(value: Any) -> Any:
    """A batch as JSON has it."""
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind == "S":
        return [{"b64": base64.b64encode(each).decode()} for each in array.ravel().tolist()]
    return array.tolist()


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
