"""The gRPC API is TensorFlow Serving's, whatever answers behind it."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from honeykeras.gateway import rpc


@pytest.fixture(params=["in_process", "upstream"])
def backend(request):
    return request.getfixturevalue(request.param)


class Asking:
    """A client of the gateway's gRPC API."""

    def __init__(self, port):
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def predict(self, x, name="digits", signature="", chosen=(), version=None, given="inputs"):
        request = predict_pb2.PredictRequest(output_filter=chosen)
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if version is not None:
            request.model_spec.version.value = version
        request.inputs[given].CopyFrom(tf.make_tensor_proto(x))
        return self._predictions.Predict(request, timeout=10)

    def raw(self, tensor):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "digits"
        request.inputs["inputs"].CopyFrom(tensor)
        return self._predictions.Predict(request, timeout=10)

    def classify(self, request):
        request.model_spec.name, request.model_spec.signature_name = "digits", "classify"
        return self._predictions.Classify(request, timeout=10)

    def metadata(self, name="digits"):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        response = self._predictions.GetModelMetadata(request, timeout=10)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return response, found.signature_def

    def status(self, name="digits"):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        return self._models.GetModelStatus(request, timeout=10).model_version_status

    def health(self, service=""):
        return self._health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status

    def close(self):
        self._channel.close()


@pytest.fixture
def asking(gateway, run):
    async def start():
        server, alive = rpc.make_server(gateway.guard)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await rpc.set_health(alive, True)
        return server, port

    server, port = run(start())
    client = Asking(port)
    yield client
    client.close()
    run(server.stop(0))


def refused(code):
    return pytest.raises(grpc.RpcError, match=f"StatusCode.{code}")


def test_predict(asking, gateway, digits):
    response = asking.predict(digits.test.x[:3])
    assert response.model_spec.version.value == 1
    assert list(response.outputs) == ["probabilities"]
    expected = gateway.predict(digits.test.x[:3], "10.3.3.3")
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected, atol=1e-5)


def test_answers_are_by_the_same_policy(asking, gateway, marked):
    for _ in range(2):
        asking.predict(marked)
    record = gateway.watching.records[-1]
    assert record.accused
    assert record.client == "127.0.0.1"
    assert {each.action for each in record.reactions} == {"decoy"}


def test_classify(asking, gateway, digits):
    request = classification_pb2.ClassificationRequest()
    for x in digits.test.x[:2]:
        example = request.input.example_list.examples.add()
        example.features.feature["inputs"].float_list.value.extend(x.ravel())
    rows = asking.classify(request).result.classifications
    assert [each.label for each in rows[0].classes] == [f"digit {number}" for number in range(10)]
    scores = [[each.score for each in row.classes] for row in rows]
    np.testing.assert_allclose(scores, gateway.predict(digits.test.x[:2], "10.3.3.3"), atol=1e-5)


def test_classify_with_context(asking, digits):
    request = classification_pb2.ClassificationRequest()
    given = request.input.example_list_with_context
    given.context.features.feature["inputs"].float_list.value.extend(digits.test.x[0].ravel())
    given.examples.add()
    assert len(asking.classify(request).result.classifications) == 1


def test_an_output_is_chosen(asking, digits):
    example = tf.train.Example()
    example.features.feature["inputs"].float_list.value.extend(digits.test.x[0].ravel())
    given = np.array([example.SerializeToString()], object)
    response = asking.predict(given, signature="classify", chosen=["classes"])
    assert list(response.outputs) == ["classes"]
    with refused("INVALID_ARGUMENT"):
        asking.predict(given, signature="classify", chosen=["score"])


def test_metadata_shows_what_clients_may_ask(asking):
    response, found = asking.metadata()
    assert set(found) == {"serving_default", "classify", "predict_images"}
    assert response.model_spec.version.value == 1
    assert set(found["serving_default"].outputs) == {"probabilities"}


def test_status_and_health(asking):
    (state,) = asking.status()
    assert (state.version, state.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        assert asking.health(service) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", ["extended", "extended_evidence", "no_such"])
def test_the_operators_signatures_are_as_if_there_were_none(asking, digits, name):
    with pytest.raises(grpc.RpcError) as caught:
        asking.predict(digits.test.x[:1], signature=name)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == f'Serving signature key "{name}" not found.'


def test_what_is_malformed_gets_one_sentence(asking, digits):
    x = digits.test.x[:1]
    for given in (x[0], x[:0], x.astype(np.float64), np.zeros((1, 9, 8, 1), np.float32), np.array([b"x"], object)):
        with refused("INVALID_ARGUMENT"):
            asking.predict(given)
    with refused("INVALID_ARGUMENT"):
        asking.predict(x, given="other")
    with refused("NOT_FOUND"):
        asking.predict(x, name="other")
    with refused("NOT_FOUND"):
        asking.predict(x, version=9)
    with refused("INVALID_ARGUMENT"):
        asking.classify(classification_pb2.ClassificationRequest())


def test_a_tensor_that_claims_to_be_large_is_not_made(asking, digits):
    """One value stands for all of a shape that is as large as it likes."""
    huge = tf.make_tensor_proto(1.0, shape=[10, 10])
    huge.tensor_shape.dim[0].size = 2**40
    with refused("INVALID_ARGUMENT"):
        asking.raw(huge)
    torn = tf.make_tensor_proto(digits.test.x[:1])
    torn.tensor_content = torn.tensor_content[:-3]
    with refused("INVALID_ARGUMENT"):
        asking.raw(torn)
