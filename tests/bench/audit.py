"""What an audit costs over `model.predict` of the same images, what a second worker gains, and what memory it takes.

Each round does all of them in turns; a ratio is the median over rounds. The log is of TFRecord files with one image a
record and a hundred queries a client. Weights and images are random, which makes no difference to speed.

    python tests/bench/audit.py --queries 20000 --rounds 3 --memory 10000 100000 500000
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import honeykeras as hk
from honeykeras import evidence, export
from honeykeras.audit import Artifact, audit
from honeykeras.detection import fit_extractor
from honeykeras.pipelines import crafting
from honeykeras.pipelines.classifiers import Classifier

SHAPE = (28, 28, 1)
PER_CLIENT = 100
PER_FILE = 5000


def workers(counts):
    """Beam's options for so many workers, each a process, by what they are called."""
    return {
        f"{count} in processes": [f"--direct_num_workers={count}", "--direct_running_mode=multi_processing"]
        for count in counts
    }


def make(folder):
    """A guarded artifact, and its model."""
    keras.utils.set_random_seed(0)
    noise = np.random.default_rng(0).random((400, *SHAPE), np.float32)
    model = hk.models.small_cnn(SHAPE, 10)
    model.save(folder / "model.keras")
    key = hk.WatermarkKey.generate(SHAPE, 10)
    detector = hk.Detector(key).fit(model, extractor=fit_extractor(noise, key.pattern, steps=1)).calibrate(noise, 0.01)
    sealing_key = export.SealingKey.generate()
    sealing_key.save(folder / "model.key")
    observer = evidence.Observer(detector, noise)
    return model, export.save_guarded(model, folder / "serving" / "model", detector, sealing_key, observer=observer)


def write_log(folder, queries):
    """A log of so many queries; clients take turns."""
    folder.mkdir()
    rng, clients = np.random.default_rng(1), max(1, queries // PER_CLIENT)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "model"
    for start in range(0, queries, PER_FILE):
        with tf.io.TFRecordWriter(str(folder / f"{start:09d}.tfrecord")) as writer:
            for number in range(start, min(start + PER_FILE, queries)):
                log.log_metadata.request_origin = f"client {number % clients}"
                log.log_metadata.timestamp_secs = 1 + number
                x = tf.make_tensor_proto(rng.random((1, *SHAPE), np.float32))
                log.predict_log.request.inputs["inputs"].CopyFrom(x)
                writer.write(log.SerializeToString())
    return folder


def images(queries):
    """As many images as a log has, without the log."""
    return np.random.default_rng(1).random((queries, *SHAPE), np.float32)


def timed(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def compare(ways, rounds):
    """Seconds of each way, a list over rounds."""
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(timed(way))
    return found


def ratio(found, one, other):
    return statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))


def audits(model, artifact, folder, queries, rounds, counts):
    log, x = write_log(folder / "log", queries), images(queries)
    source = Artifact(artifact, sealing_keys=(folder / "model.key",), unsigned=True)
    model.predict(x[:512], batch_size=512, verbose=0)
    outputs = iter(range(10**6))

    def run(options):
        return lambda: audit(log, [source], folder / f"audit-{next(outputs)}", options=options, verbose=0)

    run([])()
    ways = {"model.predict": lambda: model.predict(x, batch_size=512, verbose=0), "audit, in this process": run([])}
    ways |= {f"audit, {name}": run(options) for name, options in workers(counts).items()}
    found = compare(ways, rounds)
    print(f"{queries:,} queries, {rounds} rounds")
    for name in ways:
        rate = queries / statistics.median(found[name])
        print(f"{name:26} {rate:8.0f} queries a second, {ratio(found, name, 'model.predict'):6.2f} times model.predict")
    for count in counts[1:]:
        gain = ratio(found, f"audit, {counts[0]} in processes", f"audit, {count} in processes")
        print(f"{count} workers over {counts[0]}, startup included: {gain:.2f} times as fast")


def peak(pid):
    """The most resident memory of a process that runs, in KiB: what `wait4` tells has its parent's in it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) if found else 0


def memory(artifact, folder, counts):
    """The greatest resident memory of `honeykeras audit` in a process of its own."""
    for count in counts:
        log = write_log(folder / f"log-{count}", count)
        words = ["audit", log, "--artifact", artifact, "--sealing-key", folder / "model.key", "--unsigned"]
        words += ["--output", folder / f"memory-{count}", "--verbose", 0]
        process = subprocess.Popen(
            [sys.executable, "-m", "honeykeras", *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started, most = time.perf_counter(), 0
        while process.poll() is None:
            most = peak(process.pid) or most
            time.sleep(0.1)
        if process.returncode:
            raise RuntimeError(f"The audit of {count} queries ended with status {process.returncode}.")
        print(f"{count:9,} queries: {most / 1024:6.0f} MiB at most, {time.perf_counter() - started:.0f} s", flush=True)


def attacks(folder, count, rounds, counts):
    x = images(count)
    source = Classifier(folder / "model.keras")
    model = source.open()
    dataset = tf.data.Dataset.from_tensor_slices(x)
    attack = hk.attacks.PGD(epsilon=0.3, steps=20)
    outputs = iter(range(10**6))

    def here():
        hk.attacks.craft(model, attack, dataset, folder / f"adv-{next(outputs)}", shard_size=256, verbose=0)

    def beam(options):
        return lambda: crafting.craft(
            source, attack, dataset, folder / f"adv-{next(outputs)}", shard_size=256, options=options, verbose=0
        )

    here()
    ways = {"attack, in this process": here, "attack, Beam in this process": beam([])}
    ways |= {f"attack, {name}": beam(options) for name, options in workers(counts).items()}
    found = compare(ways, rounds)
    print(f"PGD of 20 steps on {count:,} images, {rounds} rounds")
    for name in ways:
        print(f"{name:30} {ratio(found, name, 'attack, in this process'):6.2f} times in-process")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--images", type=int, default=2_000, help="how many the attack is on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="how many, each a process")
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="measure memory on so many queries")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model, artifact = make(folder)
        audits(model, artifact, folder, options.queries, options.rounds, options.workers)
        attacks(folder, options.images, options.rounds, options.workers)
        memory(artifact, folder, options.memory)


if __name__ == "__main__":
    main()
