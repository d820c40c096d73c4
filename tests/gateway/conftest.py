"""A guarded model of digits that a gateway can serve, and gateways before it."""

import asyncio
import datetime
import importlib.util
import ipaddress
import json
import os
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import honeykeras as hk
from honeykeras import evidence, export
from honeykeras.export import signing
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.in_process import InProcess
from honeykeras.gateway.policy import Policy
from honeykeras.gateway.rest import make_app
from honeykeras.gateway.stores import Memory
from honeykeras.gateway.upstream import Upstream

# Tests are no package, so that a neighbour is not found by its name.
_spec = importlib.util.spec_from_file_location("fake_serving", Path(__file__).with_name("fake_serving.py"))
fake_serving = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake_serving)

NAME = "digits"


@pytest.fixture(scope="session")
def detector(classifier, watermark_key, digits, extractor):
    return hk.Detector(watermark_key).fit(classifier, extractor=extractor).calibrate(digits.calibration.x, max_fpr=0.02)


@pytest.fixture(scope="session")
def home(classifier, detector, digits, tmp_path_factory):
    """What a quickstart leaves, as far as a gateway needs it: artifacts, their key, signatures and the public key."""
    folder = tmp_path_factory.mktemp("home")
    key = export.SealingKey.generate()
    key.save(folder / "model.key")
    observer = evidence.Observer(detector, digits.calibration.x)
    names = [f"digit {number}" for number in range(10)]
    version = export.save_guarded(
        classifier, folder / "serving" / NAME, detector, key, observer=observer, class_names=names
    )
    export.save(classifier, folder / "serving" / f"{NAME}-public", keep_secret=detector)
    signing.write_key_pair(folder / "signing.pem", folder / "signing.pub")
    signing.sign(version, folder / "signing.pem")
    return folder


class Loop:
    """An event loop in a thread of its own, in which all that a test awaits runs."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def __call__(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(scope="session")
def run():
    """Runs a coroutine to its end."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def in_process(home, run):
    """The artifact in this process, loaded once for all tests."""
    made = InProcess(home, public_key=home / "signing.pub")
    run(made.start())
    yield made
    run(made.close())


@pytest.fixture(scope="session")
def serving(home):
    """What stands in for a TensorFlow Serving: its services, by gRPC on this machine, over the artifact."""
    with fake_serving.Server(home / "serving" / NAME) as server:
        yield server


@pytest.fixture
def upstream(serving, run):
    """A TensorFlow Serving behind the gateway, the real one if `TFS_ADDR` names it."""
    made = Upstream(os.environ.get("TFS_ADDR") or serving.address, deadline=lambda: 5)
    run(made.start())
    yield made
    run(made.close())


@pytest.fixture
def backend(in_process):
    return in_process


class Watching:
    """Remembers what a gateway tells its watchers."""

    def __init__(self):
        self.records, self.refusals = [], []

    def answered(self, record):
        self.records.append(record)

    def refused(self, model, signature, code, seconds):
        self.refusals.append((model, signature, code))


class Gateway:
    """A gateway in this process, with the REST API that its clients reach."""

    def __init__(self, run, backend, policy=None, store=None, clock=None):
        self._run = run
        self.policy = policy or Policy()
        self.watching = Watching()
        self.store = store or Memory(lambda: self.guard.policy.clients)
        times = {} if clock is None else {"clock": clock}
        self.guard = Guard(backend, self.policy, self.store, [self.watching], **times)
        self.app = make_app(self.guard)

    def ask(self, method, path, client="10.1.1.1", **request):
        """One request, as a client of its own."""
        return self.ask_all([(method, path, request)], client)[0]

    def ask_all(self, requests, client="10.1.1.1", *, at_once=False):
        """Several, one after the other or at once."""

        async def run():
            transport = httpx.ASGITransport(self.app, client=(client, 1234))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as session:
                calls = [session.request(method, path, **request) for method, path, request in requests]
                if at_once:
                    return await asyncio.gather(*calls)
                return [await call for call in calls]

        return self._run(run())

    def predict(self, x, client="10.1.1.1", name=NAME):
        """Probabilities of inputs, asked in one request."""
        response = self.ask("POST", f"/v1/models/{name}:predict", client, content=rows(x))
        assert response.status_code == 200, response.text
        return np.array(response.json()["predictions"], np.float32)


def rows(x):
    """Inputs as the body of a request."""
    return json.dumps({"instances": np.asarray(x).tolist()})


@pytest.fixture
def gateway(run, backend):
    return Gateway(run, backend)


@pytest.fixture(scope="session")
def gateway_before(run):
    """Makes a gateway before a backend, for tests that share it."""
    return lambda backend: Gateway(run, backend)


@pytest.fixture
def make_gateway(run, backend):
    """Makes gateways of other policies."""
    return lambda policy=None, **settings: Gateway(run, settings.pop("backend", backend), policy, **settings)


@pytest.fixture(scope="session")
def marked(watermark_key, classifier, digits):
    """Inputs with the pattern of the class that the classifier then sees: what an attack leads to."""
    watermark, x = hk.Watermark(watermark_key), digits.test.x[:60]
    for _ in range(3):
        x = watermark.apply(x, 0.25, classifier.predict(x, verbose=0).argmax(axis=1)).numpy()
    return x


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Files in PEM: the certificates of an authority, of a server on this machine and of a client, with their keys."""
    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.timezone.utc)

    def sign(name, key, issuer, issuer_key, *, is_authority=False):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if not is_authority:
            here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            made = made.add_extension(x509.SubjectAlternativeName(here), critical=False)
        return made.sign(issuer_key, hashes.SHA256())

    root_key = ec.generate_private_key(ec.SECP256R1())
    root = sign("authority", root_key, None, root_key, is_authority=True)
    (folder / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    for name in ("server", "alice"):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.pem").write_bytes(sign(name, key, root.subject, root_key).public_bytes(Encoding.PEM))
        file = folder / f"{name}.key"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.chmod(0o600)
    return folder
