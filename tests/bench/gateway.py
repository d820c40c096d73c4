"""What the gateway costs: asked over HTTP, over the bare model called in a process; before a server, over that server.

Each round asks all of them in turns. The gateway and the stand-in for TensorFlow Serving are processes of their own, on
the same cores. A ratio is the median over rounds.

    python tests/bench/gateway.py --rounds 20
"""

import argparse
import concurrent.futures
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import honeykeras as hk
from honeykeras import evidence, export
from honeykeras.detection import fit_extractor
from honeykeras.gateway import rest_format
from honeykeras.gateway.tensors import Signature
from honeykeras.saved_model import read

ROOT = Path(__file__).parents[2]
SHAPE = (28, 28, 1)
STAND_IN = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("fake_serving", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with module.Server(pathlib.Path(sys.argv[2])) as server:
    print(server.address, flush=True)
    time.sleep(10**6)
"""


def make(folder):
    """A guarded artifact and a plain one of the same model; weights are random, which makes no difference to speed."""
    keras.utils.set_random_seed(0)
    noise = np.random.default_rng(0).random((400, *SHAPE), np.float32)
    model = hk.models.small_cnn(SHAPE, 10)
    key = hk.WatermarkKey.generate(SHAPE, 10)
    detector = hk.Detector(key).fit(model, extractor=fit_extractor(noise, key.pattern, steps=1)).calibrate(noise, 0.01)
    sealing_key = export.SealingKey.generate()
    sealing_key.save(folder / "model.key")
    observer = evidence.Observer(detector, noise)
    plain = export.save(model, folder / "plain" / "model", keep_secret=detector)
    guarded = export.save_guarded(model, folder / "serving" / "model", detector, sealing_key, observer=observer)
    return plain, guarded


def start(*words):
    """A process, and what it says first."""
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, process.stdout.readline()


def serve(*words):
    process, line = start(
        sys.executable, "-m", "honeykeras", "serve", *words, "--port", 0, "--private-port", 0, "--grpc-port", 0
    )
    rest = re.search(r"http://([\d.]+):(\d+)", line)
    return process, (rest[1], int(rest[2])), re.search(r"at (\S+)", process.stdout.readline())[1]


class Http:
    """Connections that are kept, one for each client at once."""

    def __init__(self, address, count):
        self._connections = [http.client.HTTPConnection(*address, timeout=60) for _ in range(count)]
        self._pool = concurrent.futures.ThreadPoolExecutor(count)

    def ask(self, body, place=0):
        connection = self._connections[place]
        connection.request("POST", "/v1/models/model:predict", body)
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return content

    def ask_all(self, body):
        list(self._pool.map(lambda place: self.ask(body, place), range(len(self._connections))))


class Grpc:
    def __init__(self, address, signature):
        options = [("grpc.max_receive_message_length", 2**28)]
        self._ask = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address, options)).Predict
        self._signature = signature

    def ask(self, x):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "model", self._signature
        request.inputs["inputs"].CopyFrom(tf.make_tensor_proto(x))
        return self._ask(request, timeout=60)


def timed(function, times=1):
    begun = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - begun) / times


def ratio(times, others):
    return np.median(np.array(times) / np.array(others))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=64, help="how many ask at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(Path(scratch), options.rounds, options.clients)


def measure(folder, rounds, clients):
    plain, guarded = make(folder)
    bare = tf.saved_model.load(str(plain)).signatures["serving_default"]
    twin = tf.saved_model.load(str(guarded)).signatures["extended_evidence"]
    stand_in = ROOT / "tests" / "gateway" / "fake_serving.py"
    processes = []
    try:
        process, rest, rpc = serve(folder, "--unsigned")
        processes.append(process)
        process, line = start(sys.executable, "-c", STAND_IN, stand_in, folder / "serving" / "model")
        processes.append(process)
        upstream = line.strip()
        process, _, before = serve("--upstream", upstream, "--model", "model")
        processes.append(process)
        one, many = (np.random.default_rng(1).random((count, *SHAPE), np.float32) for count in (1, clients))
        body, bodies = (json.dumps({"instances": each.tolist()}) for each in (one, many))
        asked, own, direct, through = (
            Http(rest, clients),
            Grpc(rpc, ""),
            Grpc(upstream, "extended_evidence"),
            Grpc(before, ""),
        )
        cases = {
            "bare, one": lambda: bare(inputs=tf.constant(one)),
            "twin, one": lambda: twin(inputs=tf.constant(one)),
            "REST, one": lambda: asked.ask(body),
            "gRPC, one": lambda: own.ask(one),
            "bare, batch": lambda: bare(inputs=tf.constant(many)),
            "twin, batch": lambda: twin(inputs=tf.constant(many)),
            "REST, batch": lambda: asked.ask(bodies),
            "gRPC, batch": lambda: own.ask(many),
            "REST, at once": lambda: asked.ask_all(body),
            "server, one": lambda: direct.ask(one),
            "through, one": lambda: through.ask(one),
            "server, batch": lambda: direct.ask(many),
            "through, batch": lambda: through.ask(many),
        }
        for ask in cases.values():
            timed(ask, 3)
        found = {name: [] for name in cases}
        each = {name: [] for name in cases}
        for _ in range(rounds):
            for name, ask in cases.items():
                times = 10 if name.endswith("one") else 1
                singles = [timed(ask) for _ in range(times)]
                found[name].append(np.mean(singles))
                each[name] += singles
        show(found, each, clients)
        stages(guarded, body, bodies, one, many)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
            process.stdout.close()


PAIRS = (
    ("the operator's twin, called in a process", "twin, one", "bare, one"),
    ("the gateway by REST", "REST, one", "bare, one"),
    ("the gateway by gRPC", "gRPC, one", "bare, one"),
    ("the operator's twin, a batch", "twin, batch", "bare, batch"),
    ("the gateway by REST, a batch", "REST, batch", "bare, batch"),
    ("the gateway by gRPC, a batch", "gRPC, batch", "bare, batch"),
    ("as many clients at once by REST, over one batch by REST", "REST, at once", "REST, batch"),
    ("before a server by gRPC, over its operator's signature", "through, one", "server, one"),
    ("before a server by gRPC, a batch", "through, batch", "server, batch"),
)


def show(found, each, clients):
    print(f"A batch has {clients} inputs. Times are medians in milliseconds; 99 % is that of single requests.")
    print(f"{'':58} {'ratio':>7} {'median':>8} {'99 %':>8} {'over':>8} {'99 %':>8}")
    for label, one, other in PAIRS:
        numbers = [f"{1000 * np.quantile(each[name], share):.2f}" for name in (one, other) for share in (0.5, 0.99)]
        cells = [f"{ratio(found[one], found[other]):.2f}", numbers[0], numbers[1], numbers[2], numbers[3]]
        print(f"{label:58} {cells[0]:>7} " + " ".join(f"{cell:>8}" for cell in cells[1:]))
    rate = clients / np.median(each["REST, at once"])
    print(f"requests a second, one input each, {clients} clients at once: {rate:.0f}")


def stages(guarded, body, bodies, one, many):
    """Where the time goes within a request, but for the model."""
    signature = Signature.of(read(guarded).signature_def["serving_default"])
    twin = tf.saved_model.load(str(guarded)).signatures["extended_evidence"]
    print("stage, milliseconds: one input, a batch")
    for label, function in (
        (
            "reading JSON",
            lambda text, _: rest_format.predict_inputs(rest_format.parse(text.encode()), signature),
        ),
        ("the ledger", lambda _, answers: ledger(answers)),
        ("writing JSON", lambda _, answers: rest_format.rows({"probabilities": answers["probabilities"]})),
    ):
        cells = []
        for text, x in ((body, one), (bodies, many)):
            answers = {name: value.numpy() for name, value in twin(inputs=tf.constant(x)).items()}
            cells.append(1000 * np.median([timed(lambda: function(text, answers)) for _ in range(30)]))  # noqa: B023
        print(f"{label:14} {cells[0]:8.2f} {cells[1]:8.2f}")


def ledger(answers):
    rules = evidence.Rules.of_answers(answers, alpha=1e-3)
    evidence.Ledger(rules).update(evidence.Observations.of_answers(answers))


if __name__ == "__main__":
    main()
