"""The REST API is TensorFlow Serving's, whatever answers behind it."""

import base64
import gzip
import json
import math
import re

import numpy as np
import pytest
import tensorflow as tf

from honeykeras.gateway import rest_format
from honeykeras.gateway.policy import Limits, Policy

PREDICT = "/v1/models/digits:predict"
CLASSIFY = "/v1/models/digits:classify"


@pytest.fixture(params=["in_process", "upstream"])
def backend(request):
    return request.getfixturevalue(request.param)


def rows(x, **more):
    return json.dumps({"instances": np.asarray(x).tolist(), **more})


def png(x):
    return [tf.io.encode_png(np.round(each * 255).astype(np.uint8)).numpy() for each in x]


class TestAnswers:
    def test_rows(self, gateway, classifier, digits):
        response = gateway.ask("POST", PREDICT, content=rows(digits.test.x[:3]))
        expected = tf.nn.softmax(classifier.predict(digits.test.x[:3], verbose=0))
        np.testing.assert_allclose(response.json()["predictions"], expected, atol=1e-5)
        assert response.headers["content-type"] == "application/json"
        assert response.text.startswith('{\n    "predictions": [[')
        assert response.text.endswith("]\n    ]\n}")

    @pytest.mark.parametrize("named", [False, True])
    def test_columns(self, gateway, digits, named):
        x = digits.test.x[:2].tolist()
        response = gateway.ask("POST", PREDICT, json={"inputs": {"inputs": x} if named else x})
        assert response.status_code == 200
        assert np.shape(response.json()["outputs"]) == (2, 10)
        assert response.text.startswith('{\n    "outputs": [\n        [\n            ')

    def test_rows_that_name_the_input(self, gateway, digits):
        plain = gateway.ask("POST", PREDICT, content=rows(digits.test.x[:2]))
        named = gateway.ask(
            "POST", PREDICT, json={"instances": [{"inputs": each.tolist()} for each in digits.test.x[:2]]}
        )
        np.testing.assert_allclose(named.json()["predictions"], plain.json()["predictions"], atol=1e-6)

    def test_images_as_base64(self, gateway, digits):
        x = digits.test.x[:2]
        instances = [{"b64": base64.b64encode(each).decode()} for each in png(x)]
        response = gateway.ask("POST", PREDICT, json={"signature_name": "predict_images", "instances": instances})
        assert response.status_code == 200, response.text
        plain = gateway.ask("POST", PREDICT, content=rows(np.round(x * 255) / 255))
        np.testing.assert_allclose(response.json()["predictions"], plain.json()["predictions"], atol=1e-4)

    def test_classify(self, gateway, digits):
        body = {
            "signature_name": "classify",
            "examples": [{"inputs": each.ravel().tolist()} for each in digits.test.x[:2]],
        }
        response = gateway.ask("POST", "/v1/models/digits:classify", json=body)
        plain = gateway.ask("POST", PREDICT, content=rows(digits.test.x[:2])).json()["predictions"]
        results = response.json()["results"]
        assert [label for label, _ in results[0]] == [f"digit {number}" for number in range(10)]
        np.testing.assert_allclose([[score for _, score in each] for each in results], plain, atol=1e-5)

    def test_several_outputs_are_named(self, gateway, digits):
        example = tf.train.Example()
        example.features.feature["inputs"].float_list.value.extend(digits.test.x[0].ravel())
        given = [{"b64": base64.b64encode(example.SerializeToString()).decode()}]
        response = gateway.ask("POST", PREDICT, json={"signature_name": "classify", "instances": given})
        (row,) = response.json()["predictions"]
        assert set(row) == {"classes", "scores"}
        assert '\n        {\n            "classes": ["digit 0", ' in response.text

    @pytest.mark.parametrize("path", ["/v1/models/digits", "/v1/models/digits/versions/1", "/V1/Models/digits"])
    def test_status(self, gateway, path):
        response = gateway.ask("GET", path)
        assert response.json()["model_version_status"] == [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]

    def test_a_version_by_its_number(self, gateway, digits):
        assert gateway.ask("POST", "/v1/models/digits/versions/1:predict", content=rows(digits.test.x[:1])).is_success

    def test_gzip(self, gateway, digits):
        body = gzip.compress(rows(digits.test.x[:2]).encode())
        assert gateway.ask("POST", PREDICT, content=body, headers={"content-encoding": "gzip"}).status_code == 200

    def test_what_is_no_number_is_mended_as_the_artifact_does(self, gateway, digits):
        x = digits.test.x[:1].copy()
        x[0, 0, 0, 0] = np.nan
        response = gateway.ask("POST", PREDICT, content=rows(x))
        assert response.status_code == 200
        assert np.isfinite(response.json()["predictions"]).all()

    def test_many_clients_at_once_get_what_is_theirs(self, gateway, digits):
        calls = [("POST", PREDICT, {"content": rows(digits.test.x[place : place + 1])}) for place in range(40)]
        together = [each.json()["predictions"][0] for each in gateway.ask_all(calls, at_once=True)]
        alone = gateway.ask("POST", PREDICT, content=rows(digits.test.x[:40]))
        np.testing.assert_allclose(together, alone.json()["predictions"], atol=1e-5)


X = [[[0.0]] * 8] * 8
MALFORMED = [
    ("POST", PREDICT, "", "JSON Parse error: The document is empty"),
    ("POST", PREDICT, "{", "JSON Parse error"),
    ("POST", PREDICT, "[]", "Is not object"),
    ("POST", PREDICT, '"\xff', "JSON Parse error"),
    ("POST", PREDICT, '{"instances": ' + "[" * 100_000, "JSON Parse error"),
    ("POST", PREDICT, '{"instances": ' + "[" * 40 + "1" + "]" * 40 + "}", "of shape|at unexpected"),
    ("POST", PREDICT, '{"instances": ' + "1" * 5000 + "}", "JSON Parse error|Expecting 'instances'"),
    ("POST", PREDICT, "{}", "Missing 'inputs' or 'instances' key"),
    ("POST", PREDICT, '{"instances": []}', "No values in 'instances' array"),
    ("POST", PREDICT, '{"instances": 3}', "Expecting 'instances' to be an list/array"),
    ("POST", PREDICT, '{"instances": [1], "inputs": [1]}', "only one of 'inputs' or 'instances'"),
    ("POST", PREDICT, '{"signature_name": 3, "instances": [1]}', "'signature_name' key must be a string value."),
    ("POST", PREDICT, '{"signature_name": "x", "instances": [1]}', 'Serving signature name: "x" not found'),
    ("POST", PREDICT, '{"instances": [1, 2]}', r"of shape \[\?,8,8,1\], and is of \[2\]"),
    ("POST", PREDICT, '{"instances": [[1, 2], [3]]}', "Encountered list at unexpected size: 1"),
    ("POST", PREDICT, '{"instances": [1, [2]]}', "Encountered list at unexpected level"),
    ("POST", PREDICT, '{"instances": ["a"]}', 'JSON Value: "a" Type: String is not of expected type: DT_FLOAT'),
    ("POST", PREDICT, '{"instances": [null]}', "Type: Null is not of expected type: DT_FLOAT"),
    ("POST", PREDICT, '{"instances": [[0.5, true]]}', "Type: True is not of expected type: DT_FLOAT"),
    ("POST", PREDICT, '{"instances": [{"b64": "AAAA"}]}', "is not of expected type: DT_FLOAT"),
    ("POST", PREDICT, '{"instances": [{"other": 1}]}', "keys must be equal to: inputs"),
    ("POST", PREDICT, '{"instances": [{"inputs": 1}, 2]}', "Expecting object but got list at item 1"),
    ("POST", PREDICT, '{"inputs": {"other": 1}}', "Missing named input: inputs in 'inputs' object."),
    ("POST", PREDICT, '{"inputs": []}', r"of shape|at least one input"),
    ("POST", PREDICT, '{"signature_name": "predict_images", "instances": [{"b64": "?"}]}', "Unable to base64 decode"),
    ("POST", PREDICT, '{"signature_name": "predict_images", "instances": [{"b64": 3}]}', "instances"),
    ("POST", PREDICT, '{"signature_name": "predict_images", "instances": ["GIF"]}', "PNG or JPEG"),
    ("POST", PREDICT, '{"signature_name": "predict_images", "instances": [7]}', "not of expected type: DT_STRING"),
    ("POST", CLASSIFY, '{"signature_name": "classify"}', "key 'examples' is expected"),
    ("POST", CLASSIFY, '{"signature_name": "classify", "examples": []}', "is an empty array"),
    ("POST", CLASSIFY, '{"signature_name": "classify", "examples": [3]}', "must be JSON object"),
    ("POST", CLASSIFY, '{"signature_name": "classify", "examples": [{"a": null}]}', "JSON type: Null"),
    ("POST", CLASSIFY, '{"signature_name": "classify", "examples": [{"a": [1, "b"]}]}', "expecting type"),
    ("POST", CLASSIFY, '{"examples": [{"inputs": [1.5]}]}', "Expected classification signature"),
    ("POST", "/v1/models/digits:regress", '{"examples": [{"inputs": [1.5]}]}', "Expected regression signature"),
    ("POST", "/v1/models/digits", "{}", "Malformed request: POST /v1/models/digits"),
    ("GET", PREDICT, None, "Malformed request: GET /v1/models/digits:predict"),
    ("DELETE", "/v1/models/digits", None, "Malformed request: DELETE"),
    ("GET", "/v1/models/digits/metadata", None, "Malformed request: GET"),
    ("POST", f"/v1/models/digits/versions/{10**30}:predict", "{}", "Failed to convert version"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_malformed_gets_one_sentence(gateway, method, path, body, message):
    response = gateway.ask(method, path, content=None if body is None else body.encode("latin-1"))
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert response.text.startswith('{\n    "error": "')
    assert re.search(message, response.json()["error"])
    assert len(response.text) < 700
    assert not gateway.watching.records


class TestNotFound:
    @pytest.mark.parametrize("path", ["/v1/models/other", "/v1/models/digits/versions/7"])
    def test_models_and_versions(self, gateway, path, digits):
        assert gateway.ask("GET", path).status_code in (200, 404)
        response = gateway.ask("POST", f"{path}:predict", content=rows(digits.test.x[:1]))
        assert response.status_code == 404
        assert "not found" in response.json()["error"]

    @pytest.mark.parametrize("path", ["/", "/v2/models/digits", "/metrics", "/docs", "/openapi.json", "/state"])
    def test_nothing_else_is_there(self, gateway, path):
        response = gateway.ask("GET", path)
        assert response.status_code == 404
        assert not response.content


class TestHidden:
    """What tells the operator tells nobody else."""

    NAMES = ("extended", "extended_evidence", "extended_classify", "extended_evidence_predict_images")

    @pytest.mark.parametrize("name", NAMES)
    def test_the_operators_signatures(self, gateway, digits, name):
        hidden = gateway.ask("POST", PREDICT, content=rows(digits.test.x[:1], signature_name=name))
        missing = gateway.ask("POST", PREDICT, content=rows(digits.test.x[:1], signature_name="no_such"))
        assert hidden.status_code == missing.status_code == 400
        assert hidden.text == missing.text.replace("no_such", name)

    def test_no_answer_tells_a_verdict(self, gateway, digits, marked):
        for x in (digits.test.x[:4], marked[:4]):
            response = gateway.ask("POST", PREDICT, content=rows(x))
            assert list(response.json()) == ["predictions"]
            assert np.shape(response.json()["predictions"]) == (4, 10)
            assert set(response.headers) == {"content-type", "content-length"}


class TestBodies:
    def test_too_large(self, make_gateway, digits):
        gateway = make_gateway(Policy(limits=Limits(body=2000)))
        response = gateway.ask("POST", PREDICT, content=rows(digits.test.x[:50]))
        assert response.status_code == 400
        assert "at most 2000 bytes" in response.json()["error"]

    def test_a_bomb_is_not_unpacked(self, make_gateway):
        gateway = make_gateway(Policy(limits=Limits(body=100_000)))
        bomb = gzip.compress(b" " * 50_000_000)
        assert len(bomb) < 100_000
        response = gateway.ask("POST", PREDICT, content=bomb, headers={"content-encoding": "gzip"})
        assert response.status_code == 400
        assert "at most 100000 bytes" in response.json()["error"]

    @pytest.mark.parametrize(
        "body", [b"no gzip", gzip.compress(b'{"instances": [1]}', mtime=0)[:-9]], ids=["none", "cut"]
    )
    def test_damaged_gzip(self, gateway, body):
        response = gateway.ask("POST", PREDICT, content=body, headers={"content-encoding": "gzip"})
        assert response.status_code == 400
        assert "not what gzip makes" in response.json()["error"]

    def test_other_encodings(self, gateway):
        response = gateway.ask("POST", PREDICT, content=b"x", headers={"content-encoding": "br"})
        assert response.status_code == 400


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (1.0, "1.0"), (0.5, "0.5"), (0.1, "0.1"), (1e-05, "1e-05"), (9e6, "9e+06"), (1 / 3, "0.333333343"),
            (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (0.0, "0.0"),
        ],
    )  # fmt: skip
    def test_floats_are_written_as_tensorflow_serving_does(self, value, written):
        text = rest_format.rows({"p": np.array([value], np.float32)})
        assert text == f'{{\n    "predictions": [{written}\n    ]\n}}'

    def test_other_types(self):
        arrays = {
            "a": np.array([[1, 2]]),
            "b_bytes": np.array([b"\xff"], object),
            "c": np.array([True]),
            "d": np.array([b"text"], object),
        }
        expected = {"a": [1, 2], "b_bytes": {"b64": "/w=="}, "c": True, "d": "text"}
        assert json.loads(rest_format.rows(arrays)) == {"predictions": [expected]}
        columns = json.loads(rest_format.columns(arrays))["outputs"]
        assert columns == {name: [value] for name, value in expected.items()}
