"""What stands in for a TensorFlow Serving: its gRPC services over an artifact, with ways to fail."""

import threading
import time
from concurrent import futures

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_STATES = get_model_status_pb2.ModelVersionStatus


class Server(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """A server of one model.

    Attributes:
        address: Host and port.
        fault: How it fails: `loading`, `unavailable`, `slow`, `hanging`, `wrong shapes`; nothing if None.
        asked: The signatures that were asked for, in order.
    """

    def __init__(self, folder, port=0, credentials=None):
        self.name, version = folder.name, folder / "1"
        self._loaded = tf.saved_model.load(str(version))
        saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
        self._definitions = saved.meta_graphs[0].signature_def
        self.fault, self.asked, self._let_go = None, [], threading.Event()
        self._port, self._credentials = port, credentials

    def __enter__(self):
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        where = f"127.0.0.1:{self._port}"
        bound = (
            self._server.add_insecure_port(where)
            if self._credentials is None
            else self._server.add_secure_port(where, self._credentials)
        )
        self.address = f"127.0.0.1:{bound}"
        self._server.start()
        return self

    def __exit__(self, *_):
        self._let_go.set()
        self._server.stop(0).wait()

    def _check(self, spec, context):
        if spec.name != self.name or spec.version.value not in (0, 1) or spec.version_label:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        if self.fault == "unavailable":
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server at 10.0.0.1 is busy")

    def Predict(self, request, context):  # noqa: N802
        self._check(request.model_spec, context)
        self.asked.append(request.model_spec.signature_name)
        if self.fault == "loading":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({self.name})")
        if self.fault == "slow":
            time.sleep(0.3)
        if self.fault == "hanging":
            self._let_go.wait(30)
        function = self._loaded.signatures[request.model_spec.signature_name]
        given = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        try:
            outputs = function(**given)
        except tf.errors.OpError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.version.value = self.name, 1
        for name, value in outputs.items():
            rows = value[:-1] if self.fault == "wrong shapes" else value
            response.outputs[name].CopyFrom(tf.make_tensor_proto(rows))
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        self._check(request.model_spec, context)
        shown = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self._definitions.items():
            shown.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = self.name, 1
        response.metadata["signature_def"].Pack(shown)
        return response

    def GetModelStatus(self, request, context):  # noqa: N802
        if request.model_spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {request.model_spec.name}")
        state = _STATES.LOADING if self.fault == "loading" else _STATES.AVAILABLE
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state=state)
        return response
