"""`honeykeras serve` as a process: from its start to the last answer."""

import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from honeykeras.cli.main import run as command
from honeykeras.client import Client
from honeykeras.errors import InvalidArgumentError, ServingError
from honeykeras.gateway.backend import Model
from honeykeras.gateway.policy import digest_of

ROOT = Path(__file__).parents[2]
TROUBLE = 60


class Service:
    """A gateway in a process of its own."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "honeykeras", "serve", *map(str, words), "--port", "0", "--private-port", "0",
             "--grpc-port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
        lines = [self.process.stdout.readline() for _ in range(3)]
        if not lines[-1]:
            raise AssertionError(self.process.communicate(timeout=TROUBLE))
        self.rest = re.search(r"https?://[\d.:]+", lines[0])[0]
        self.grpc = f"grpc{'s' * ('https' in self.rest)}://{re.search(r'at ([0-9.:]+)', lines[1])[1]}"
        self.private = re.search(r"http://[\d.:]+", lines[2])[0]

    def state(self):
        with urllib.request.urlopen(f"{self.private}/state", timeout=10) as response:  # noqa: S310 - its own
            return json.load(response)

    def wait_for(self, holds):
        """Waits until the state is what it must come to."""
        for _ in range(200):
            if holds(state := self.state()):
                return state
            time.sleep(0.05)
        raise AssertionError(state)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=TROUBLE)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def policy(place):
    path = place / "policy.toml"
    path.write_text(
        f"""
        version = 1
        [clients]
        identify = "key"
        keys = {{alice = "{digest_of("a")}", bob = "{digest_of("b")}", eve = "{digest_of("e")}"}}
        observed_only = ["bob"]
        [serve]
        digits = 1
        """
    )
    return path


@pytest.fixture(scope="module")
def service(home, place, policy):
    made = Service(home, "--policy", policy, "--logs", place / "logs")
    yield made
    status, said = made.end()
    assert status == 0, said
    assert "Traceback" not in said


@pytest.fixture(params=["rest", "grpc"])
def client(request, service):
    with Client(getattr(service, request.param), "digits", key="a", retries=0) as made:
        yield made


class TestClient:
    def test_predict(self, client, digits, in_process, run):
        told = client.predict(digits.test.x[:5])
        expected = run(in_process.run(Model("digits"), "serving_default", {"inputs": digits.test.x[:5]})).outputs
        np.testing.assert_allclose(told, expected["probabilities"], atol=1e-4)
        assert told.dtype == np.float32

    def test_images(self, client, digits):
        x = np.round(digits.test.x[:3] * 255).astype(np.uint8)
        told = client.predict_images([tf.io.encode_png(each).numpy() for each in x])
        np.testing.assert_allclose(told, client.predict(x / np.float32(255)), atol=1e-4)

    def test_as_the_page_has_it(self, service, digits):
        (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "gateway.md").read_text(), re.DOTALL)
        block = block.replace("http://127.0.0.1:8501", service.rest).replace('"mnist")', '"digits", key="a")')
        names = {"x": digits.test.x[:2]}
        exec(block, names)  # noqa: S102
        assert names["probabilities"].shape == (2, 10)

    def test_by_name(self, client, digits):
        assert client.predict({"inputs": digits.test.x[:2]}, "serving_default").shape == (2, 10)

    def test_is_available(self, client):
        assert client.is_available()

    def test_refusals_say_why(self, client, digits):
        with pytest.raises(ServingError, match="must be of shape") as caught:
            client.predict(digits.test.x[0])
        assert caught.value.status in (400, "INVALID_ARGUMENT")

    def test_keys_of_nobody(self, service, digits):
        for address in (service.rest, service.grpc):
            with Client(address, "digits", key="none", retries=0) as nobody, pytest.raises(ServingError) as caught:
                nobody.predict(digits.test.x[:1])
            assert caught.value.status in (401, "UNAUTHENTICATED")

    @pytest.mark.parametrize("scheme", ["http", "grpc"])
    def test_nobody_there(self, scheme):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with Client(f"{scheme}://127.0.0.1:{port}", "digits", retries=1, timeout=1) as nowhere:
            with pytest.raises(ServingError):
                nowhere.predict(np.zeros((1, 2), np.float32))
            assert not nowhere.is_available()

    @pytest.mark.parametrize(
        ("address", "settings"),
        [
            ("127.0.0.1:8501", {}), ("ftp://host", {}), (None, {}), ("http://host", {"key": "k"}),
            ("http://127.0.0.1", {"timeout": 0}), ("http://127.0.0.1", {"retries": -1}),
        ],
    )  # fmt: skip
    def test_mistakes(self, address, settings):
        with pytest.raises(InvalidArgumentError) as caught:
            Client(address, "digits", **settings)
        assert "'k'" not in str(caught.value)


def test_who_attacks_is_accused_and_the_operators_see_it(service, marked, capsys):
    with Client(service.rest, "digits", key="e") as eve, Client(service.grpc, "digits", key="b") as bob:
        for x in marked[:30]:
            eve.predict(x[None])
            bob.predict(x[None])
        honest = bob.predict(marked[:5])
    state = service.wait_for(lambda state: state["accused"] == 2)
    assert {each["name"] for each in state["clients"] if each["accused_at"]} == {"bob", "eve"}
    assert command(["traffic", "status", service.private]) == 0
    said = capsys.readouterr().out
    assert "accused: " in said
    assert "false alarms: " in said
    with Client(service.rest, "digits", key="a") as alice:
        np.testing.assert_allclose(alice.predict(marked[:5]), honest, atol=0.7)


def test_requests_are_logged(service, place, digits, tmp_path, capsys):
    with Client(service.rest, "digits", key="a") as alice:
        alice.predict(digits.test.x[:7])
    logs = place / "logs"
    for _ in range(100):
        if next((logs / "requests").glob("*.jsonl")).read_text():
            break
        time.sleep(0.05)
    output = tmp_path / "clean.npz"
    assert (
        command(["traffic", "export", str(logs), "--without", "eve", "--without", "bob", "--output", str(output)]) == 0
    )
    with np.load(output) as found:
        assert len(found["x"]) >= 7


class TestPolicies:
    def reload(self, service, policy, text):
        before = policy.read_text()
        policy.write_text(text)
        service.process.send_signal(signal.SIGHUP)
        return before

    def test_are_read_anew(self, service, policy):
        before = self.reload(service, policy, policy.read_text().replace("version = 1", "version = 2"))
        service.wait_for(lambda state: state["policy"]["version"] == 2)
        self.reload(service, policy, before)
        service.wait_for(lambda state: state["policy"]["version"] == 1)

    @pytest.mark.parametrize("change", [("version = 1", "version = 0"), ("digits = 1", "digits = 9")])
    def test_that_cannot_be_are_refused_and_the_old_one_stays(self, service, policy, digits, change):
        before = self.reload(service, policy, policy.read_text().replace(*change))
        time.sleep(0.5)
        assert service.state()["policy"]["version"] == 1
        with Client(service.rest, "digits", key="a") as alice:
            alice.predict(digits.test.x[:1])
        policy.write_text(before)


def test_ends_with_an_answer_for_all_that_is_under_way(home, tmp_path, marked):
    (tmp_path / "policy.toml").write_text(
        '[flag]\naction = "slow"\ndelay = "5s"\n[accusation]\naction = "slow"\ndelay = "5s"'
    )
    service = Service(home, "--policy", tmp_path / "policy.toml", "--logs", tmp_path / "logs")
    with Client(service.rest, "digits", retries=0) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.predict, marked) for _ in range(4)]
        service.wait_for(lambda state: state["under_way"] == 4)
        status, said = service.end()
        assert [each.result(20).shape for each in asked] == [(len(marked), 10)] * 4
    assert status == 0, said
    assert "Traceback" not in said
    assert list((tmp_path / "logs" / "requests").glob("*.tfrecord"))


def test_clients_are_known_by_their_certificates(home, tmp_path, certificates, digits):
    """Over TLS, by REST and gRPC; who shows none is not spoken to."""
    (tmp_path / "policy.toml").write_text('[clients]\nidentify = "certificate"')
    files = {name: certificates / f"{name}.pem" for name in ("ca", "server", "alice")}
    own = ["--tls-certificate", files["server"], "--tls-key", certificates / "server.key", "--client-ca", files["ca"]]
    service = Service(home, "--policy", tmp_path / "policy.toml", *own)
    try:
        shown = {"certificate": files["alice"], "certificate_key": certificates / "alice.key"}
        for address in (service.rest, service.grpc):
            with Client(address, "digits", ca=files["ca"], retries=0, **shown) as alice:
                assert alice.predict(digits.test.x[:2]).shape == (2, 10)
            for settings in ({"ca": files["ca"]}, {}):
                with Client(address, "digits", retries=0, **settings) as other, pytest.raises(ServingError):
                    other.predict(digits.test.x[:1])
        assert [(each["name"], each["queries"]) for each in service.state()["clients"]] == [("alice", 4)]
    finally:
        assert service.end()[0] == 0


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_replicas_share_what_they_know(home, place, policy, marked):
    """One client's queries spread over two processes and one Redis; one of them ends, and the other goes on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--dir", str(place), "--save", "", "--appendonly", "no"]
    redis = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    shared = ["--policy", policy, "--redis", f"redis://127.0.0.1:{port}/0", "--secret", place / "secret"]
    services = [Service(home, *shared) for _ in range(2)]
    try:
        assert (place / "secret").stat().st_mode & 0o777 == 0o600
        clients = [Client(service.rest, "digits", key="e") for service in services]
        for number, x in enumerate(marked[:30]):
            clients[number % 2].predict(x[None])
        (one, other) = ({each["name"]: each for each in service.state()["clients"]}["eve"] for service in services)
        assert one["accused_at"] == other["accused_at"]
        assert {one["queries"], other["queries"]} == {29, 30}
        assert services[0].end()[0] == 0
        clients[1].predict(marked[:1])
        assert services[1].state()["clients"][0]["queries"] == 31
    finally:
        for each in clients:
            each.close()
        services[1].end()
        redis.kill()
        redis.wait()


def test_campaign(home, classifier, detector, watermark_key, run_program, tmp_path):
    """The example lets all its clients loose on what a quickstart leaves."""
    for name in ("serving", "model.key", "signing.pub"):
        (tmp_path / name).symlink_to(home / name)
    for name in ("model.keras", "baseline.keras"):
        classifier.save(tmp_path / name)
    watermark_key.save(tmp_path / "watermark.key")
    detector.save(tmp_path / "detector.hk")
    sizes = ["--clients", "1", "--images", "2", "--queries", "12", "--honest", "5"]
    options = ["--dataset", "digits", *sizes, "--output", tmp_path / "figures.json"]
    run_program("examples/gateway/campaign.py", tmp_path, *options)
    figures = json.loads((tmp_path / "figures.json").read_text())["clients"]
    attackers, controls = ("PGD images", "NES", "Square", "HopSkipJump"), ("PGD, wrong key", "PGD, no honeypot")
    assert set(figures) == {*attackers, *controls, "clean", "retries", "lime"}
    assert all(each["ordinary"] for kind in attackers for each in figures[kind])
    assert figures["clean"][0] == {"accused_at": None, "queries": 5}


class TestMistakes:
    def said(self, capsys, *words):
        assert command(["serve", *map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert err.count("\n") == 1
        return err

    def test_of_options(self, capsys, tmp_path):
        assert "Either a folder of artifacts or `--upstream` must be given" in self.said(capsys)
        assert "Received: both" in self.said(capsys, tmp_path, "--upstream", "h:1", "--model", "m")
        assert "`--model` names the models behind" in self.said(capsys, "--upstream", "h:1")
        assert "must come with `--secret`" in self.said(capsys, tmp_path, "--redis", "redis://h/0")
        assert "no such file or folder" in self.said(capsys, tmp_path / "none")
        assert "must be given together" in self.said(capsys, tmp_path, "--tls-key", tmp_path / "k")

    def test_of_what_is_served(self, capsys, home, tmp_path):
        assert "must hold an artifact for a trusted host" in self.said(capsys, tmp_path)
        assert "must be verified before it is run" in self.said(capsys, home / "serving")

    def test_of_files(self, capsys, home, tmp_path):
        (tmp_path / "policy.toml").write_text("verson = 1")
        assert "$.verson" in self.said(capsys, home, "--policy", tmp_path / "policy.toml")
        (tmp_path / "secret").write_text("short")
        (tmp_path / "secret").chmod(0o600)
        assert "must be 64 hexadecimal digits" in self.said(capsys, home, "--secret", tmp_path / "secret")

    def test_of_certificates(self, capsys, home, tmp_path, certificates):
        server = ["--tls-certificate", certificates / "server.pem", "--tls-key"]
        assert "must be a certificate and its private key" in self.said(
            capsys, home, *server, certificates / "alice.key"
        )
        (tmp_path / "open.key").write_bytes((certificates / "server.key").read_bytes())
        (tmp_path / "open.key").chmod(0o644)
        assert "must be readable by its owner alone" in self.said(capsys, home, *server, tmp_path / "open.key")

    def test_of_ports(self, capsys, home):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert "must be able to listen at" in self.said(capsys, home, "--port", port, "--private-port", 0)


class TestPolicyCommands:
    def test_walk(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert command(["policy", "example", "--output", "policy.toml"]) == 0
        assert command(["export", "signing-keys", "--private-key", "s.pem", "--public-key", "s.pub"]) == 0
        assert command(["policy", "sign", "policy.toml", "--private-key", "s.pem"]) == 0
        assert command(["policy", "check", "policy.toml", "--policy-key", "s.pub"]) == 0
        (tmp_path / "next.toml").write_text(
            (tmp_path / "policy.toml").read_text().replace("version = 1", "version = 2")
        )
        assert command(["policy", "install", "next.toml", "policy.toml"]) == 0
        assert "version = 2" in (tmp_path / "policy.toml").read_text()
        assert command(["policy", "rollback", "policy.toml", "--policy-key", "s.pub"]) == 0
        assert "version = 1" in (tmp_path / "policy.toml").read_text()
        assert "flagged: mislead, accused: decoy" in capsys.readouterr().out
        assert command(["policy", "example", "--output", "policy.toml"]) == 2
        assert command(["policy", "example"]) == 0

    def test_traffic_of_nobody(self, capsys, tmp_path):
        assert command(["traffic", "status", "http://127.0.0.1:9"]) == 2
        assert command(["traffic", "status", "file:///etc/passwd"]) == 2
        assert command(["traffic", "export", str(tmp_path), "--output", str(tmp_path / "x.npz")]) == 2
        assert capsys.readouterr().err.count("error: ") == 3
