"""Whatever is sent is answered, or refused in TensorFlow Serving's form: never with an error of the gateway's own."""

import json

import fastapi
import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st

ROWS = {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}}
VALUE = {"anyOf": [{"type": "number"}, {"type": "string"}, ROWS, {"type": "array", "items": ROWS}, {"type": "object"}]}
BODY = {
    "type": "object",
    "properties": {
        "signature_name": {"enum": ["serving_default", "classify", "predict_images", "extended", "", 3]},
        "instances": {"type": "array", "items": VALUE},
        "inputs": VALUE,
        "examples": {"type": "array", "items": {"type": "object", "properties": {"inputs": VALUE}}},
        "context": {"type": "object"},
    },
}
ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
ANSWERS = {
    "200": {"description": "answered", "content": {"application/json": {"schema": {"type": "object"}}}},
    "400": {"description": "refused", "content": {"application/json": {"schema": ERROR}}},
    "404": {"description": "unknown", "content": {"application/json": {"schema": ERROR}}},
}
NAME = {"name": "name", "in": "path", "required": True, "schema": {"enum": ["digits", "other"]}}
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"enum": ["1", "9", "99999999999999999999"]}}


def operation(*parameters, body=True):
    sent = {"requestBody": {"content": {"application/json": {"schema": BODY}}, "required": True}} if body else {}
    return {"parameters": list(parameters), "responses": ANSWERS, **sent}


SCHEMA = {
    "openapi": "3.0.3",
    "info": {"title": "TensorFlow Serving's REST API", "version": "1"},
    "paths": {
        "/v1/models/{name}": {"get": operation(NAME, body=False)},
        "/v1/models/{name}/versions/{version}": {"get": operation(NAME, VERSION, body=False)},
        "/v1/models/{name}:predict": {"post": operation(NAME)},
        "/v1/models/{name}:classify": {"post": operation(NAME)},
        "/v1/models/{name}:regress": {"post": operation(NAME)},
        "/v1/models/{name}/versions/{version}:predict": {"post": operation(NAME, VERSION)},
    },
}


@pytest.fixture
def api(gateway):
    """The gateway, with a description of its API beside it that it does not have itself."""
    app = fastapi.FastAPI(openapi_url=None)
    app.add_route("/described.json", lambda request: fastapi.responses.JSONResponse(SCHEMA))
    app.mount("/", gateway.app)
    return schemathesis.openapi.from_asgi("/described.json", app)


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path, operations in SCHEMA["paths"].items() for method in operations]
)
def test_as_described(api, path, method):
    @hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
    @hypothesis.given(api[path][method.upper()].as_strategy())
    def check(case):
        response = case.call()
        assert response.status_code in (200, 400, 404)
        if response.status_code != 200 and response.content:
            assert list(response.json()) == ["error"]

    check()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64", "inputs", "x"]), inner, max_size=2)
    ),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.fixed_dictionaries(
        {},
        optional={
            "signature_name": st.sampled_from(["serving_default", "predict_images", "classify", "extended"]) | JSON,
            "instances": JSON | st.lists(JSON, max_size=3),
            "inputs": JSON,
            "examples": st.lists(JSON, max_size=3),
        },
    ).map(lambda document: json.dumps(document).encode()),
)


@pytest.mark.parametrize("method", ["predict", "classify"])
def test_any_body(gateway, method):
    @hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
    @hypothesis.given(BODIES)
    def check(body):
        response = gateway.ask("POST", f"/v1/models/digits:{method}", content=body)
        assert response.status_code in (200, 400)
        if response.status_code == 400:
            assert list(response.json()) == ["error"]
            assert len(response.text) < 2000

    check()
