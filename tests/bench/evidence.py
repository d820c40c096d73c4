"""Measures evidence per client: how often chance accuses, over keys drawn at random, and what a ledger costs.

    python tests/bench/evidence.py mnist --keys 10000 --queries 10000
    python tests/bench/evidence.py digits --keys 500 --queries 500 --epochs 1

A classifier is trained without a honeypot; what each kind of honest client sends is looked at once. Streams of so many
queries are drawn of that, without replacement as far as it goes, and each is judged under all keys. For each kind
it prints how many keys accuse, and how many may.

Then it adds batches of 64 to a ledger, in turns with the guarded model's answers to them.
"""

import argparse
import dataclasses
import itertools
import math
import time

import keras
import numpy as np
import turns

import honeykeras as hk
from honeykeras import data, evidence, model_sources, names
from honeykeras.evidence import honest

# Keys that are looked at together.
_TOGETHER = 500


def drawn(sessions: list[int], queries: int, seed: int) -> np.ndarray:
    """The places of a stream's queries: sessions in random order, again from the start where there are too few."""
    rng, begins = np.random.default_rng(seed), np.cumsum([0, *sessions])
    places: list[np.ndarray] = []
    while sum(map(len, places)) < queries:
        places += [np.arange(begins[one], begins[one + 1]) for one in rng.permutation(len(sessions))]
    return np.concatenate(places)[:queries]


def accused(stream: evidence.Observations, rules: evidence.Rules, keys: int, seed: int) -> int:
    """How many of random keys accuse whoever sent a stream."""
    rng, found = np.random.default_rng(seed), 0
    for begin in range(0, keys, _TOGETHER):
        count = min(_TOGETHER, keys - begin)
        patterns = rng.choice(np.float32([-1, 1]), (rules.num_classes, rules.dimensions, count))
        ledger = evidence.Ledger(rules, keys=count)
        for start in range(0, len(stream), 256):
            ledger.add(stream[start : start + 256].under(patterns))
        found += int((ledger.accused_at > 0).sum())
    return found


def cost(observer: evidence.Observer, x: np.ndarray, rounds: int) -> None:
    """What a ledger takes for a batch of 64 beside the guarded model, in turns."""
    ledger = observer.ledger()
    # Others every time: a ledger takes another way with what it has seen lately.
    further = itertools.cycle([observer.observe(x[start : start + 64]) for start in range(0, len(x) - 63, 64)])
    ways = {"model": lambda x, y: observer.observe(x) and None, "ledger": lambda x, y: ledger.add(next(further))}
    taken = turns.take_turns(ways, x[:64], np.zeros(64), rounds, warm_up=64)
    print(
        f"a ledger takes {taken['ledger'].over(taken['model']):.3f} of what the guarded model takes for 64 queries by "
        f"the clock, {taken['ledger'].processor_over(taken['model']):.3f} by the processor ({rounds} rounds; "
        f"{1000 * taken['ledger'].seconds:.2f} beside {1000 * taken['model'].seconds:.2f} ms)"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("dataset", help="what `honeykeras.data.load` reads, such as mnist")
    parser.add_argument("--keys", type=int, default=2000, help="keys drawn at random")
    parser.add_argument("--queries", type=int, default=2000, help="queries of each stream")
    parser.add_argument("--alpha", type=float, default=names.ALPHA, help="as for evidence.Rules")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of the classifier")
    parser.add_argument("--rounds", type=int, default=200, help="turns of the ledger beside the model")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    keras.utils.set_random_seed(options.seed)
    parts = data.load(options.dataset, seed=options.seed)
    x, y = parts.train.head(20_000).x, parts.train.head(20_000).y
    steps = options.epochs * math.ceil(len(x) / 64)
    model = model_sources.get(None)(parts, seed=options.seed, steps=steps).model
    model.fit(x, y, batch_size=64, epochs=options.epochs, verbose=0)
    key = hk.WatermarkKey.generate(parts.input_shape, parts.num_classes, input_range=parts.input_range)
    observer = evidence.Observer(hk.Detector(key).fit(model, x, seed=options.seed), parts.calibration.inputs)
    rules = dataclasses.replace(observer.rules, alpha=options.alpha, margin=0.0)
    print(f"{options.keys} keys, streams of {options.queries} queries, alpha {rules.alpha:g}, no margin")
    bounds = parts.input_range
    unit = bounds.to_unit(parts.test.head(max(2000, options.queries)).x)
    noise = np.random.default_rng(options.seed).random((2000, *parts.input_shape), np.float32)
    made = {kind: honest.sessions(unit, kind, seed=options.seed) for kind in honest.kinds(parts.input_shape)}
    for kind, sessions in {**made, "noise": list(noise[:, None])}.items():
        begun = time.perf_counter()
        seen = observer.observe(bounds.from_unit(np.concatenate(sessions)))
        stream = seen[drawn([len(each) for each in sessions], options.queries, options.seed)]
        count = accused(stream, rules, options.keys, options.seed)
        allowed = options.keys * rules.alpha + 3 * math.sqrt(options.keys * rules.alpha * (1 - rules.alpha))
        print(f"{kind:16} {count:6} accused, {allowed:.1f} allowed, {time.perf_counter() - begun:.0f} s", flush=True)
    cost(observer, parts.test.head(4096).x, options.rounds)


if __name__ == "__main__":
    main()
