"""A TensorFlow Serving that fails: each request has an error, and none waits for ever."""

import socket
import threading
import time

import grpc
import numpy as np
import pytest

from honeykeras.errors import StorageError
from honeykeras.gateway.backend import Model
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.upstream import Credentials, Upstream

PREDICT = "/v1/models/digits:predict"


@pytest.fixture
def backend(serving, run):
    """A backend of this test's own, that waits for less long."""
    made = Upstream(serving.address, deadline=lambda: 1)
    run(made.start())
    yield made
    serving.fault = None
    run(made.close())


@pytest.fixture
def body(digits):
    return {"json": {"instances": digits.test.x[:2].tolist()}}


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        ("loading", 404, "Servable not found"),
        ("unavailable", 503, "The model is not available"),
        ("hanging", 504, "The model took too long to answer"),
        ("wrong shapes", 500, "The model's answer is not what its signature says"),
    ],
)
def test_faults(gateway, serving, body, fault, status, message):
    gateway.ask("POST", PREDICT, **body)
    serving.fault = fault
    begun = time.perf_counter()
    response = gateway.ask("POST", PREDICT, **body)
    assert time.perf_counter() - begun < 3
    assert response.status_code == status
    assert message in response.json()["error"]
    assert "10.0.0.1" not in response.text
    serving.fault = None
    assert gateway.ask("POST", PREDICT, **body).status_code == 200
    assert sum(record.queries > 0 for record in gateway.watching.records) == 2


def test_slow_is_waited_for(gateway, serving, body):
    serving.fault = "slow"
    assert gateway.ask("POST", PREDICT, **body).status_code == 200


def test_loading_is_told_as_it_is(gateway, serving):
    serving.fault = "loading"
    (state,) = gateway.ask("GET", "/v1/models/digits").json()["model_version_status"]
    assert state["state"] == "LOADING"


def test_nobody_there(run):
    backend = Upstream("127.0.0.1:9", deadline=lambda: 2)
    run(backend.start())
    try:
        with pytest.raises(RequestError) as caught:
            run(backend.signatures(Model("digits")))
        assert caught.value.http_status == 503
        assert "127.0.0.1" not in caught.value.message
        assert not run(backend.is_healthy())
    finally:
        run(backend.close())


def test_asks_the_operators_signatures(gateway, serving, digits):
    serving.asked.clear()
    gateway.predict(digits.test.x[:1])
    assert serving.asked == ["extended_evidence"]


def test_answers_as_the_artifact_in_process(run, backend, in_process, digits):
    inputs = {"inputs": digits.test.x[:5]}
    one, other = (run(each.run(Model("digits"), "extended_evidence", inputs)) for each in (backend, in_process))
    assert one.version == other.version
    for name, value in one.outputs.items():
        np.testing.assert_allclose(value, other.outputs[name], atol=1e-3)


def test_credentials_are_read_at_once(tmp_path):
    with pytest.raises(StorageError, match="Cannot read the certificate"):
        Upstream("127.0.0.1:9", tls=Credentials(tmp_path / "none.pem"))


def test_killed_in_mid_load_and_back(run, home, make_gateway, digits, serving):
    """Each request has an answer or an error, and the gateway goes on once the server is there again."""
    kind = type(serving)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = kind(home / "serving" / "digits", port).__enter__()
    backend = Upstream(first.address, deadline=lambda: 2)
    run(backend.start())
    try:
        gateway = make_gateway(backend=backend)
        body = {"json": {"instances": digits.test.x[:1].tolist()}}
        assert gateway.ask("POST", PREDICT, **body).status_code == 200
        first.fault = "slow"
        threading.Timer(0.15, first.__exit__).start()
        statuses = [each.status_code for each in gateway.ask_all([("POST", PREDICT, body)] * 20, at_once=True)]
        assert set(statuses) <= {200, 500, 503}
        assert 200 not in statuses[-1:]
        assert gateway.ask("POST", PREDICT, **body).status_code == 503
        with kind(home / "serving" / "digits", port):
            for _ in range(50):
                if gateway.ask("POST", PREDICT, **body).status_code == 200:
                    break
                time.sleep(0.1)
            else:
                raise AssertionError("it never came back")
    finally:
        run(backend.close())


def test_over_tls(run, home, make_gateway, digits, serving, certificates):
    """A server that an authority vouches for is asked, and no other."""
    pair = tuple((certificates / name).read_bytes() for name in ("server.key", "server.pem"))
    credentials = grpc.ssl_server_credentials([pair])
    with type(serving)(home / "serving" / "digits", credentials=credentials) as server:
        address = server.address.replace("127.0.0.1", "localhost")
        for tls, code in ((Credentials(certificates / "ca.pem"), None), (Credentials(), 503), (None, 503)):
            backend = Upstream(address, tls=tls, deadline=lambda: 3)
            run(backend.start())
            try:
                if code is None:
                    assert make_gateway(backend=backend).predict(digits.test.x[:2]).shape == (2, 10)
                else:
                    with pytest.raises(RequestError) as caught:
                        run(backend.signatures(Model("digits")))
                    assert caught.value.http_status == code
            finally:
                run(backend.close())
