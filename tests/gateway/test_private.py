"""What operators see, and clients do not."""

import asyncio
import dataclasses
import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
import yaml

from honeykeras.gateway import private
from honeykeras.gateway.backend import Model
from honeykeras.gateway.detections import Detections
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.metrics import Metrics
from honeykeras.gateway.policy import Clients, Logs, Policy, digest_of
from honeykeras.gateway.rest import make_app
from honeykeras.gateway.traffic import Traffic

KIT = Path(__file__).parents[2] / "export" / "deploy"


class Operators:
    """What they reach of a gateway."""

    def __init__(self, gateway):
        self._run = gateway._run
        self.metrics, self.traffic, self.detections = Metrics(), Traffic(), Detections(Logs)
        guard = gateway.guard
        gateway.guard = self.guard = Guard(
            guard.backend,
            guard.policy,
            guard.store,
            [gateway.watching, self.metrics, self.traffic, self.detections],
        )
        self.app = private.make_app(self.guard, self.metrics, self.traffic, self.detections, models=["digits"])

    def ask(self, path, method="GET", **request):
        async def run():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://private") as session:
                return await session.request(method, path, **request)

        return self._run(run())


@pytest.fixture
def watched(make_gateway, digits, marked):
    """A gateway and its operators, after an attack beside honest clients."""
    gateway = make_gateway()
    operators = Operators(gateway)
    gateway.app = make_app(gateway.guard)
    for number in range(5):
        gateway.predict(digits.test.x[10 * number : 10 * number + 10], f"10.0.0.{number}")
    for x in marked[:30]:
        gateway.predict(x[None], "10.6.6.6")
    gateway.ask("POST", "/v1/models/digits:predict", content="{")
    return gateway, operators


def test_state(watched, digits):
    _, operators = watched
    state = operators.ask("/state").json()
    assert state["accused"] == 1
    first = state["clients"][0]
    assert first["name"] == "10.6.6.6"
    assert first["accused_at"]
    assert first["accused_by"] in ("all", "window", "single", "differences")
    assert len(first["moments"]) > 5
    assert state["traffic"]["inputs"] == 80
    assert state["traffic"]["accusations"] == 1
    assert state["models"]["digits"] == [{"version": 1, "state": "AVAILABLE", "code": "OK", "message": ""}]
    assert state["healthy"] == {"model": True, "store": True}
    assert state["detections"][0]["client"] == "10.6.6.6"
    assert state["detections"][0]["image"]
    alarms = state["traffic"]["false_alarms"]
    assert 50 <= alarms["n"] < 80
    assert alarms["interval"][0] <= alarms["rate"] <= alarms["interval"][1]


def test_shows_no_keys(make_gateway):
    digest = digest_of("key")
    gateway = make_gateway(Policy(clients=Clients(identify="key", keys={"me": digest})))
    assert digest not in Operators(gateway).ask("/state").text


def test_metrics(watched):
    _, operators = watched
    text = operators.ask("/metrics").text
    assert 'gateway_requests_total{code="OK",model="digits",signature="serving_default"} 35.0' in text
    assert 'gateway_inputs_total{model="digits",signature="serving_default"} 80.0' in text
    assert 'gateway_accusations_total{model="digits",signature="serving_default"} 1.0' in text
    assert 'gateway_actions_total{action="decoy",model="digits",shadow="false",signature="serving_default"}' in text
    assert 'gateway_healthy{part="model"} 1.0' in text


def test_names_that_clients_make_up_are_no_rows_of_metrics(watched, digits):
    gateway, operators = watched
    for number in range(50):
        with pytest.raises(Exception, match="not found"):
            gateway._run(gateway.guard.ask(_model(f"m{number}"), "", {"inputs": digits.test.x[:1]}, "me"))
    assert "m49" not in operators.ask("/metrics").text


def _model(name):
    return Model(name)


def test_health(watched):
    _, operators = watched
    assert operators.ask("/v2/health/live").json() == {"live": True}
    assert operators.ask("/v2/health/ready").status_code == 200


def test_not_ready_without_a_store(watched, monkeypatch):
    gateway, operators = watched

    async def gone():
        return False

    monkeypatch.setattr(gateway.store, "is_healthy", gone)
    assert operators.ask("/v2/health/ready").status_code == 503


def test_a_client_that_was_accused_wrongly_begins_anew(watched, marked):
    gateway, operators = watched
    elsewhere = operators.ask("/clients/10.6.6.6/forget", "POST", headers={"origin": "http://evil.example"})
    assert elsewhere.status_code == 403
    here = operators.ask("/clients/10.6.6.6/forget", "POST", headers={"origin": "http://private"})
    assert here.json() == {"known": True}
    gateway.predict(marked[:1], "10.6.6.6")
    assert not gateway.watching.records[-1].accused


class TestAlerts:
    def record(self, watched, count, flags):
        gateway, operators = watched
        rng = np.random.default_rng(0)
        scores = rng.uniform(0, 0.4, count)
        flagged = np.arange(count) < flags
        found = dataclasses.replace(
            gateway.watching.records[0], flags=flagged, scores=scores, accused=False, reactions=[]
        )
        operators.traffic = Traffic()
        operators.traffic.answered(found)
        return operators.traffic, found

    @pytest.mark.parametrize(("flags", "alerts"), [(0, 0), (12, 0), (30, 1)])
    def test_more_false_alarms_than_it_was_calibrated_to(self, watched, flags, alerts):
        traffic, _ = self.record(watched, 1000, flags)
        assert len(traffic.summary(0.01)["alerts"]) == alerts

    @pytest.mark.parametrize(("shift", "alerts"), [(0.0, 0), (0.1, 1)])
    def test_scores_that_drift(self, watched, shift, alerts):
        traffic, found = self.record(watched, 1000, 0)
        rng = np.random.default_rng(1)
        traffic.answered(dataclasses.replace(found, scores=rng.uniform(0, 0.4, 1000) + shift))
        assert len(traffic.summary(0.01)["alerts"]) == alerts


class TestPage:
    def test_needs_nothing_from_elsewhere(self, watched):
        _, operators = watched
        response = operators.ask("/")
        assert "http://" not in response.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in response.text
        assert "default-src 'none'" in response.headers["content-security-policy"]

    @pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
    @pytest.mark.parametrize("width", [390, 1100])
    def test_in_a_browser(self, watched, run, width):
        """It shows who is accused, with lines and pictures, and is no wider than the screen."""
        _, operators = watched
        dom = _browse(run, operators.app, width)
        assert "1 of 6 clients is accused." in dom
        assert "digits 1 available" in dom
        assert "10.6.6.6" in dom
        assert dom.count("<polyline") >= 2
        assert dom.count("data:image/png;base64,") >= 2


def _browse(run, app, width):
    """The page as Chromium has it once its script has run."""

    async def start():
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        task = asyncio.ensure_future(server._serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        return server, task, listening.getsockname()[1]

    async def stop():
        server.should_exit = True
        await task

    server, task, port = run(start())
    try:
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000",
             "--virtual-time-budget=4000", "--dump-dom", f"http://127.0.0.1:{port}/"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    finally:
        run(stop())
    return done.stdout


class TestForPrometheus:
    """The rules and the dashboard that are handed out ask for metrics that there are."""

    NAMES = re.compile(r"\bgateway_[a-z_]+")

    @pytest.mark.parametrize("name", ["alerts.yaml", "dashboard.json"])
    def test_asks_for_what_there_is(self, watched, name):
        _, operators = watched
        there = set(self.NAMES.findall(operators.ask("/metrics").text))
        asked = set(self.NAMES.findall((KIT / name).read_text()))
        assert asked
        assert asked <= there

    def test_is_in_their_form(self):
        (group,) = yaml.safe_load((KIT / "alerts.yaml").read_text())["groups"]
        assert all(rule["alert"] and rule["expr"] and rule["annotations"]["summary"] for rule in group["rules"])
        dashboard = json.loads((KIT / "dashboard.json").read_text())
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
