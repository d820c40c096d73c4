"""The attacks beside those of CleverHans, ART and Foolbox, on one CNN trained on MNIST.

All ways to do the same take turns in one run, with the same budget, and are judged by the same function. What counts
are the ratios: `x` of wall time, `cpu x` of the processor's, which other processes disturb least. The row "limit" is
bare passes through the model, called from Python, as many as PGD has steps: a PGD that takes all its steps can undercut
it by what those calls cost, and no more. "limit again" is the noise that the others have to be read against.
A bar that is missed is printed, with the profile that says why, and is no failure.

    python tests/bench/attacks.py --only pgd --rounds 5
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import oracle
import peers
import tensorflow as tf
from turns import Outcome, Turns, Way, judge, take_turns

import honeykeras as hk

_EPSILON, _STEPS = 0.3, 40
_GAMMA = 0.145
_SAME = 1e-6  # pixels no further apart are the same


class Bar(NamedTuple):
    """What was to be reached, and what was."""

    claim: str
    measured: str
    met: bool


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=_BENCHES, action="append", help="one attack; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="how many turns each PGD gets; JSMA gets at most two")
    parser.add_argument(
        "--images", type=int, default=200, help="how many images to attack; CW and JSMA take at most 50"
    )
    parser.add_argument("--iterations", type=int, default=1000, help="how many steps CW takes for each of 5 constants")
    parser.add_argument(
        "--art-cw", type=int, default=0, metavar="IMAGES", help="also run ART's CW, on some images at 5 x 100 steps"
    )
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # it takes minutes, and may well be read through a pipe
    model, x, y = _trained_cnn(arguments.images)
    bars = [bar for name in arguments.only or _BENCHES for bar in _BENCHES[name](model, x, y, arguments)]
    print("\nbars")
    for bar in bars:
        print(f"{bar.claim:72} {bar.measured:>8}   {'met' if bar.met else 'NOT MET'}")


def _trained_cnn(count: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A classifier, and test images that it classifies correctly."""
    data = hk.data.load("mnist")
    keras.utils.set_random_seed(0)
    model = hk.models.small_cnn(data.input_shape, data.num_classes)
    model.fit(data.train.x[:20_000], data.train.y[:20_000], batch_size=128, epochs=3, verbose=0)
    correct = model.predict(data.test.x, verbose=0).argmax(axis=1) == data.test.y
    print(f"small_cnn on 20,000 MNIST images: {correct.mean():.2%} of the test images correct")
    return model, data.test.x[correct][:count], data.test.y[correct][:count]


def _pgd(model: keras.Model, x: np.ndarray, y: np.ndarray, arguments: argparse.Namespace) -> list[Bar]:
    ours = hk.attacks.PGD(_EPSILON, _STEPS)
    limit = _bare_passes(model)
    ways = {
        "limit": limit,
        "ours": _ours(model, ours),
        "ours, early_stop": _ours(model, hk.attacks.PGD(_EPSILON, _STEPS, early_stop=True)),
        "CleverHans": peers.cleverhans_pgd(model, ours),
        "ART": peers.art_pgd(model, ours),
        "Foolbox": peers.foolbox_pgd(model, ours),
        "limit again": limit,
    }
    turns = take_turns(ways, x, y, arguments.rounds, warm_up=len(x))
    judged = {name: judge(model, turn.outcome, x, y) for name, turn in turns.items() if turn.outcome}

    title = f"PGD, L-inf {_EPSILON}, {_STEPS} steps, {len(x)} images, median of {arguments.rounds} rounds"
    print(f"\n{title}\n{'':20} {'seconds':>8} {'x limit':>8} {'cpu':>6} {'CleverHans x':>13} {'cpu':>6}  success    L2")
    for name, turn in turns.items():
        of_limit = f"{turn.over(turns['limit']):8.2f} {turn.processor_over(turns['limit']):6.2f}"
        of_peer = f"{turns['CleverHans'].over(turn):13.2f} {turns['CleverHans'].processor_over(turn):6.2f}"
        outcome = f"{judged[name].success:8.1%} {judged[name].l2:5.2f}" if name in judged else ""
        print(f"{name:20} {turn.seconds:8.3f} {of_limit} {of_peer} {outcome}")

    of_limit = turns["ours"].over(turns["limit"])
    bars = [Bar("PGD, ours: at most 1.15 times the limit", f"{of_limit:.2f}", of_limit <= 1.15)]
    for name in ("ours", "ours, early_stop"):
        gain = turns["CleverHans"].over(turns[name])
        met = gain >= 1.5 and judged[name].success >= judged["CleverHans"].success
        bars.append(Bar(f"PGD, {name}: 1.5 times as fast as CleverHans, as many succeed", f"{gain:.2f}", met))
    if not bars[1].met:
        _explain_pgd(model, ours, turns, x, y)
    return bars


def _explain_pgd(model: keras.Model, ours: hk.attacks.PGD, turns: dict[str, Turns], x: np.ndarray, y: np.ndarray):
    """Prints how much of the time the model itself takes, which no attack that runs it as often can save."""
    times = _operation_times(lambda: ours.generate(model, x, y, batch_size=len(x)))
    total, kinds = sum(times.values()), collections.Counter()
    for name, picoseconds in times.items():
        kinds[name.rpartition(":")[2].removeprefix("_MklNative").removeprefix("_")] += picoseconds
    share = sum(picoseconds for name, picoseconds in times.items() if model.name in name) / total
    top = ", ".join(f"{kind} {picoseconds / total:.0%}" for kind, picoseconds in kinds.most_common(6))
    gain = turns["CleverHans"].processor_over(turns["ours"])
    bare, peer = turns["limit"].processor_over(turns["ours"]), turns["CleverHans"].processor_over(turns["limit"])
    print(
        f"why not 1.5: of the time in operations of our PGD, {share:.0%} is the model's ({top}).\n"
        f"  With all else for nothing, it would be {gain / share:.2f} times as fast as CleverHans by processor time; "
        f"it is {gain:.2f}.\n"
        f"  {_STEPS} bare passes forward and backward take {bare:.2f} times as long as ours, CleverHans {peer:.2f} "
        "times as long as they.\n"
        "  Only a PGD that takes fewer steps can be much faster, as with early_stop."
    )


def _operation_times(run) -> collections.Counter:
    """Picoseconds in each operation, named `scope/name:Kind`, by TensorFlow's profiler."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run()
        space = xplane_pb2.XSpace.FromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    times = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            if re.fullmatch(r"[\w/.-]+:\w+", name):  # the rest is what runs the operations
                times[name] += event.duration_ps
    return times


def _bare_passes(model: keras.Model) -> Way:
    """As many passes forward and backward as PGD has steps, and nothing else."""

    # Called again and again: in a `tf.while_loop` the same takes longer, and would be no limit.
    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = model(x, training=False)
        return tape.gradient(logits, x)

    def run(x: np.ndarray, y: np.ndarray) -> None:
        x = tf.constant(x)
        for _ in range(_STEPS):
            last = gradient(x)
        last.numpy()

    return run


def _cw(model: keras.Model, x: np.ndarray, y: np.ndarray, arguments: argparse.Namespace) -> list[Bar]:
    ours = hk.attacks.CarliniWagner(max_iterations=arguments.iterations)
    ways = {
        "ours": _ours(model, ours),
        "Foolbox": peers.foolbox_cw(model, ours),
        "Foolbox, model compiled": peers.foolbox_cw(model, ours, compiled=True),
        "CleverHans, mended": peers.cleverhans_cw(model, ours),
    }
    judged, turns = _compare_cw(model, ways, x[:50], y[:50], ours)
    if arguments.art_cw:
        fewer = hk.attacks.CarliniWagner(max_iterations=100)
        ways = {"ours": _ours(model, fewer), "ART": peers.art_cw(model, fewer)}
        _compare_cw(model, ways, x[: arguments.art_cw], y[: arguments.art_cw], fewer)

    deviation = _deviation_between_batches(model, ours, x[:10], y[:10], turns["ours"].outcome.x_adv[:10])
    sizes = f"1, 2, 10 and {len(x[:50])}"
    print(f"\nL2 of each of {len(x[:10])} images in batches of {sizes}: at most {deviation:.3%} apart")
    gain, l2, bar = turns["Foolbox"].over(turns["ours"]), judged["ours"].l2, judged["Foolbox"].l2
    enough = judged["ours"].success >= judged["Foolbox"].success
    return [
        Bar(f"CW: mean L2 no worse than Foolbox's {bar:.4f}, as many succeed", f"{l2:.4f}", l2 <= bar and enough),
        Bar("CW: 3 times as fast as Foolbox", f"{gain:.2f}", gain >= 3),
        Bar(f"CW: an image's L2 the same within 1 % in batches of {sizes}", f"{deviation:.3%}", deviation <= 0.01),
    ]


def _compare_cw(model: keras.Model, ways: dict[str, Way], x: np.ndarray, y: np.ndarray, ours: hk.attacks.CarliniWagner):
    turns = take_turns(ways, x, y, rounds=1)
    judged = {name: judge(model, turn.outcome, x, y) for name, turn in turns.items()}
    budget = f"{ours.binary_search_steps} x {ours.max_iterations} steps at most"
    print(f"\nCW, L2, {len(x)} images, {budget}, one round, compilation included")
    print(f"{'':24} {'seconds':>8} {'x ours':>7} {'cpu':>6}  success  mean L2  gradients an image")
    for name, turn in turns.items():
        of_ours = f"{turn.over(turns['ours']):7.2f} {turn.processor_over(turns['ours']):6.2f}"
        gradients = "" if turn.outcome.gradients is None else f"{turn.outcome.gradients:.0f}"
        outcome = f"{judged[name].success:8.1%} {judged[name].l2:8.4f} {gradients:>19}"
        print(f"{name:24} {turn.seconds:8.1f} {of_ours} {outcome}")
    return judged, turns


def _deviation_between_batches(
    model: keras.Model, ours: hk.attacks.CarliniWagner, x: np.ndarray, y: np.ndarray, in_large_batch: np.ndarray
) -> float:
    """The greatest share by which an image's L2 differs between batch sizes."""
    results = [ours.generate(model, x, y, batch_size=size).x_adv for size in (1, 2, 10)]
    l2 = [np.linalg.norm((x_adv - x).reshape(len(x), -1), axis=1) for x_adv in (*results, in_large_batch)]
    # Where nothing is found, the distance is 0.
    return float(np.max(np.ptp(l2, axis=0) / np.maximum(np.min(l2, axis=0), 1e-9)))


def _jsma(model: keras.Model, x: np.ndarray, y: np.ndarray, arguments: argparse.Namespace) -> list[Bar]:
    x, target = x[:50], (y[:50] + 1) % model.output_shape[1]
    return [bar for theta in (1.0, 0.25) for bar in _compare_jsma(model, theta, x, target, min(arguments.rounds, 2))]


def _compare_jsma(model: keras.Model, theta: float, x: np.ndarray, target: np.ndarray, rounds: int) -> list[Bar]:
    top_two, pairs = (hk.attacks.JSMA(theta, _GAMMA, search=search, targeted=True) for search in ("top2", "pairs"))
    ways = {
        "ours, top2": _ours(model, top_two),
        "ART": peers.art_jsma(model, top_two),
        "ours, pairs": _ours(model, pairs),
    }
    turns = take_turns(ways, x, target, rounds, warm_up=2)
    title = f"JSMA, theta {theta}, gamma {_GAMMA}, {len(x)} images, to the next class, median of {rounds} rounds"
    print(f"\n{title}\n{'':20} {'seconds':>8} {'ART x':>7} {'cpu':>6}  success  mean L0")
    for name, turn in turns.items():
        of_ours = f"{turns['ART'].over(turn):7.2f} {turns['ART'].processor_over(turn):6.2f}"
        judged = judge(model, turn.outcome, x, target, targeted=True)
        print(f"{name:20} {turn.seconds:8.2f} {of_ours} {judged.success:8.1%} {judged.l0:8.1f}")

    few = x[:20]
    by_definition = oracle.jsma(model, few, target[: len(few)], theta, _GAMMA)
    as_art = _count_same(turns["ours, top2"].outcome.x_adv, turns["ART"].outcome.x_adv)
    as_oracle = _count_same(turns["ours, pairs"].outcome.x_adv[: len(few)], by_definition)
    gain = turns["ART"].over(turns["ours, top2"])
    return [
        Bar(f"JSMA, theta {theta}, top2: the images that ART gives", f"{as_art}/{len(x)}", as_art == len(x)),
        Bar(f"JSMA, theta {theta}, top2: 5 times as fast as ART", f"{gain:.2f}", gain >= 5),
        Bar(
            f"JSMA, theta {theta}, pairs: the images that the definition gives",
            f"{as_oracle}/{len(few)}",
            as_oracle == len(few),
        ),
    ]


def _minimum_norm(model: keras.Model, x: np.ndarray, y: np.ndarray, arguments: argparse.Namespace) -> list[Bar]:
    x, y = x[:50], y[:50]
    cw = hk.attacks.CarliniWagner(max_iterations=arguments.iterations)
    ours = {name: hk.attacks.get(name) for name in ("ddn", "fmn_l2", "fmn_linf", "fmn_l0")}
    ways = {
        **{name: _ours(model, attack) for name, attack in ours.items()},
        "sdf": _ours(model, hk.attacks.SuperDeepFool()),
        **{f"{name}, Foolbox": peers.foolbox_minimum_norm(model, attack) for name, attack in ours.items()},
        "cw": _ours(model, cw),
    }
    turns = take_turns(ways, x, y, rounds=1)
    title = f"the nearest, {ours['ddn'].steps} steps, {len(x)} images, one round, compilation included"
    print(f"\n{title}\n{'':20} {'seconds':>8}  success  median distance  gradients an image")
    distances = {}
    for name, turn in turns.items():
        delta = (turn.outcome.x_adv - x).reshape(len(x), -1)
        order = {"fmn_linf": np.inf, "fmn_l0": 0}.get(name.partition(",")[0], 2)
        success = judge(model, turn.outcome, x, y).success
        distances[name] = float(np.median(np.linalg.norm(delta, order, axis=1)))
        print(f"{name:20} {turn.seconds:8.1f} {success:8.1%} {distances[name]:16.4f} {turn.outcome.gradients:19.0f}")
    same = _count_same(turns["ddn"].outcome.x_adv, turns["ddn, Foolbox"].outcome.x_adv)
    fewer = {name: turns["cw"].outcome.gradients / turns[name].outcome.gradients for name in ("ddn", "sdf")}
    return [
        Bar("DDN: the images that Foolbox gives", f"{same}/{len(x)}", same == len(x)),
        *(
            Bar(f"{name}: 25 times fewer gradients than cw", f"{times:.1f}", times >= 25)
            for name, times in fewer.items()
        ),
        *(
            Bar(
                f"{name}: median distance no worse than {other}, {distances[other]:.4f}",
                f"{distances[name]:.4f}",
                distances[name] <= 1.01 * distances[other],
            )
            for name, other in (
                ("ddn", "cw"),
                ("sdf", "cw"),
                ("fmn_l2", "cw"),
                ("fmn_linf", "fmn_linf, Foolbox"),
                ("fmn_l0", "fmn_l0, Foolbox"),
            )
        ),
    ]


def _boundary(model: keras.Model, x: np.ndarray, y: np.ndarray, arguments: argparse.Namespace) -> list[Bar]:
    x, y = x[:20], y[:20]
    ours = hk.attacks.Boundary()
    found = take_turns({"ours": _ours(model, ours), "Foolbox": peers.foolbox_boundary(model, ours)}, x, y, rounds=1)
    print(f"\nBoundary, {ours.max_queries} queries, {len(x)} images\n{'':20} {'seconds':>8}  success  median L2")
    distances = {}
    for name, turn in found.items():
        delta = (turn.outcome.x_adv - x).reshape(len(x), -1)
        distances[name] = float(np.median(np.linalg.norm(delta, axis=1)))
        success = judge(model, turn.outcome, x, y).success
        print(f"{name:20} {turn.seconds:8.1f} {success:8.1%} {distances[name]:10.4f}")
    claim = f"Boundary: median L2 no worse than Foolbox's {distances['Foolbox']:.4f}"
    return [Bar(claim, f"{distances['ours']:.4f}", distances["ours"] <= distances["Foolbox"])]


def _count_same(one: np.ndarray, other: np.ndarray) -> int:
    return int((np.abs(one - other).reshape(len(one), -1).max(axis=1) <= _SAME).sum())


def _ours(model: keras.Model, attack: hk.attacks.Attack) -> Way:
    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        examples = attack.generate(model, x, y, batch_size=len(x))
        return Outcome(examples.x_adv, examples.gradients.mean())

    return run


_BENCHES = {"pgd": _pgd, "cw": _cw, "jsma": _jsma, "minimum_norm": _minimum_norm, "boundary": _boundary}

if __name__ == "__main__":
    main()
