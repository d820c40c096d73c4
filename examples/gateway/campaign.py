"""Attackers and honest clients of a gateway, over HTTP: who is accused, after how many queries, and what attackers got.

    honeykeras quickstart --dataset mnist --output mnist-run
    python examples/gateway/campaign.py mnist-run --dataset mnist --output campaign.json

Starts `honeykeras serve` on the folder, and lets clients loose on it, each with a key of its own. All they know is what
the gateway tells them, but for PGD, who has the model's file. As controls, PGD on gateways that should see nothing: one
that looks for another key, and one before the model without a honeypot. Prints a table, and writes the figures as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import honeykeras as hk
from honeykeras import attacks, export, provenance
from honeykeras.attacks.by_query import Oracle, QueryAttack
from honeykeras.client import Client
from honeykeras.data import Data
from honeykeras.evidence import Observer, honest
from honeykeras.export import signing
from honeykeras.gateway.policy import digest_of
from honeykeras.ranges import quantize

BATCH = 32
HONEST = ("clean", "retries", "lime")
CONTROLS = ("wrong key", "no honeypot")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `honeykeras quickstart` left")
    parser.add_argument("--dataset", default="mnist", help="the data set that it was trained on")
    parser.add_argument("--clients", type=int, default=5, help="how many clients there are of each kind")
    parser.add_argument("--images", type=int, default=20, help="how many images each attacker attacks")
    parser.add_argument("--queries", type=int, default=300, help="how many queries an attack by queries makes an image")
    parser.add_argument("--honest", type=int, default=300, help="how many queries an honest client makes, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    return parser.parse_args()


class Gateway:
    """`honeykeras serve`, with a key for each client."""

    def __init__(self, folder: Path, policy: Path) -> None:
        words = ["serve", folder, "--policy", policy, "--port", 0, "--private-port", 0]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "honeykeras", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        lines = [self._process.stdout.readline() for _ in range(2)]
        found = re.search(r"(http://[\d.:]+)/v1/models/(\S+)", lines[0])
        if found is None:
            raise SystemExit("honeykeras serve did not begin: try it by hand")
        self.address, self.model = found[1], found[2]
        self._private = re.search(r"http://[\d.:]+", lines[1])[0]

    def clients(self) -> dict[str, dict[str, Any]]:
        """How clients stand, by name."""
        with urllib.request.urlopen(f"{self._private}/state", timeout=30) as response:  # noqa: S310 - its own
            return {each["name"]: each for each in json.load(response)["clients"]}

    def forget(self, name: str) -> None:
        """Makes room: the page shows no more than some clients."""
        request = urllib.request.Request(f"{self._private}/clients/{urllib.parse.quote(name)}/forget", method="POST")  # noqa: S310 - its own
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - its own

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(60)


@contextlib.contextmanager
def gateway(folder: Path, keys: dict[str, str]) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory() as scratch:
        lines = "\n".join(f'"{name}" = "{digest_of(key)}"' for name, key in keys.items())
        policy = Path(scratch, "policy.toml")
        policy.write_text(f'[clients]\nidentify = "key"\n[clients.keys]\n{lines}\n')
        made = Gateway(folder, policy)
        try:
            yield made
        finally:
            made.end()


Ask = Callable[[np.ndarray], np.ndarray]
"""From inputs to the probabilities that the gateway tells."""


def logits(ask: Ask) -> Ask:
    """What an attack by queries makes of probabilities."""
    return lambda x: np.log(np.maximum(ask(x), 1e-12)).astype(np.float32)


def attack_by_queries(make: Callable[[int], QueryAttack]) -> Callable[..., np.ndarray]:
    def run(ask: Ask, model: Any, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        found = []
        for place, (image, label) in enumerate(zip(x, y, strict=True)):
            attack = make(seed)
            draws = [np.random.default_rng([seed, place])]
            one = image[None]
            found.append(attack.search(Oracle(logits(ask), 1), one, label[None], np.ones(one.shape, bool), draws)[0])
        return np.stack(found)

    return run


def attack_by_gradients(epsilon: float) -> Callable[..., np.ndarray]:
    def run(ask: Ask, model: Any, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        x_adv = attacks.PGD(epsilon=epsilon, seed=seed).generate(model, x, y).x_adv
        for each in x_adv:
            ask(each[None])
        return x_adv

    return run


def main() -> None:
    options = parse()
    data = hk.data.load(options.dataset, seed=provenance.read(options.folder / "model.keras").get("seed", 0))
    model = hk.models.load(options.folder / "model.keras")
    epsilon, queries = data.epsilon, options.queries
    attackers = {
        "PGD images": attack_by_gradients(epsilon),
        "NES": attack_by_queries(lambda seed: attacks.NES(epsilon=epsilon, max_queries=queries, seed=seed)),
        "Square": attack_by_queries(lambda seed: attacks.Square(epsilon=epsilon, max_queries=queries, seed=seed)),
        "HopSkipJump": attack_by_queries(lambda seed: attacks.HopSkipJump(max_queries=queries, seed=seed)),
    }
    names = [f"{kind} {number}" for kind in (*attackers, *HONEST) for number in range(options.clients)]
    keys = {name: secrets.token_hex(16) for name in names}
    x, y = right_images(model, data, options.clients * options.images + 200)

    def loose(served: Gateway, kind: str, model: Any) -> list[dict[str, Any]]:
        """Lets all clients of a kind loose, one after the other."""
        found = []
        for number in range(options.clients):
            name = f"{kind} {number}"
            with Client(served.address, served.model, key=keys[name], timeout=60) as client:
                mine = slice(number * options.images, (number + 1) * options.images)
                if kind in attackers:
                    found.append(attacked(client, attackers[kind], model, x[mine], y[mine], options.seed + number))
                else:
                    found.append(asked(client, kind, x, options.honest, options.seed + number))
            standing = served.clients()[name]
            found[-1] |= {"accused_at": standing["accused_at"], "queries": standing["queries"]}
            served.forget(name)
        return found

    rows = {}
    with gateway(options.folder, keys) as served:
        for kind in (*attackers, *HONEST):
            rows[kind] = loose(served, kind, model)
    for control in CONTROLS:
        with tempfile.TemporaryDirectory() as scratch:
            other = make_control(control, options.folder, Path(scratch), data)
            with gateway(Path(scratch), keys) as served:
                rows[f"PGD, {control}"] = loose(served, "PGD images", other)
    show(rows)
    if options.output is not None:
        about = {"machine": platform.machine(), "python": platform.python_version(), "date": time.strftime("%Y-%m-%d")}
        settings = {name: str(value) for name, value in vars(options).items() if name != "output"}
        options.output.write_text(json.dumps({"settings": settings, **about, "clients": rows}, indent=1) + "\n")


def make_control(control: str, folder: Path, scratch: Path, data: Data) -> Any:
    """An artifact in which there is nothing to see; returns its model."""
    model = hk.models.load(folder / "model.keras")
    key = hk.WatermarkKey.load(folder / "watermark.key")
    extractor = hk.Detector.load(folder / "detector.hk", model).extractor
    if control == "wrong key":
        key = key.wrong_key(0)
    else:
        model = hk.models.load(folder / "baseline.keras")
    detector = hk.Detector(key).fit(model, extractor=extractor).calibrate(data.calibration.inputs, max_fpr=0.01)
    sealing_key = export.SealingKey.generate()
    sealing_key.save(scratch / "model.key")
    observer = Observer(detector, data.calibration.inputs)
    version = export.save_guarded(model, scratch / "serving" / "model", detector, sealing_key, observer=observer)
    signing.write_key_pair(scratch / "signing.pem", scratch / "signing.pub")
    signing.sign(version, scratch / "signing.pem")
    return model


def right_images(model: Any, data: Data, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Test images that the model takes for what they are."""
    x, y = data.test.x, data.test.y
    right = np.flatnonzero(model.predict(x[: 4 * count], verbose=0).argmax(axis=1) == y[: 4 * count])[:count]
    return x[right].astype(np.float32), y[right].astype(np.int64)


def attacked(client: Client, attack: Any, model: Any, x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Lets an attacker loose: what it was told, and what is so."""

    def ask(given: np.ndarray) -> np.ndarray:
        parts = [client.predict(given[start : start + BATCH]) for start in range(0, len(given), BATCH)]
        return np.concatenate(parts)

    x_adv = quantize(attack(ask, model, x, y, seed))
    told = ask(x_adv)
    fools = model.predict(x_adv, verbose=0).argmax(axis=1) != y
    rows = told.sum(axis=1)
    return {
        "images": len(x),
        "fool_the_model": int(fools.sum()),
        "told_so": int((told.argmax(axis=1) != y).sum()),
        "right_about": int(((told.argmax(axis=1) != y) & fools).sum()),
        "ordinary": bool(np.isfinite(told).all() and np.allclose(rows, 1, atol=1e-3) and (told >= 0).all()),
    }


def asked(client: Client, kind: str, x: np.ndarray, count: int, seed: int) -> dict[str, Any]:
    """What an honest client sends, one input a request."""
    rng = np.random.default_rng(seed)
    chosen = x[rng.choice(len(x), min(len(x), 200), replace=False)]
    queries = np.concatenate(honest.sessions(chosen, kind, seed=seed))[:count].astype(np.float32)
    for each in queries:
        client.predict(each[None])
    return {}


def show(rows: dict[str, list[dict[str, Any]]]) -> None:
    heads = ("accused", "at query", "of queries", "images", "told they fool", "and do")
    print(f"{'client':16} " + " ".join(f"{head:>{len(head) + 1}}" for head in heads))
    for kind, found in rows.items():
        accused = [each["accused_at"] for each in found if each["accused_at"]]
        median = f"{np.median(accused):.0f}" if accused else "-"
        sums = [sum(each.get(name, 0) for each in found) for name in ("images", "told_so", "right_about")]
        numbers = [f"{value}" if sums[0] else "-" for value in sums]
        queries = f"{np.median([each['queries'] for each in found]):.0f}"
        cells = (f"{len(accused)} of {len(found)}", median, queries, *numbers)
        print(f"{kind:16} " + " ".join(f"{cell:>{len(head) + 1}}" for head, cell in zip(heads, cells, strict=True)))


if __name__ == "__main__":
    main()
