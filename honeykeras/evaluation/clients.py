"""`judge_clients`: who is accused of a model's clients, after how many queries, beside controls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from honeykeras import _progress
from honeykeras.attacks import Attack
from honeykeras.detection import KeyScoreDetector
from honeykeras.evaluation.arena import Arena
from honeykeras.evaluation.results import ClientKind, Clients, Curve, Spread
from honeykeras.evaluation.senders import Observe, Sender, Stream, senders
from honeykeras.evaluation.statistics import Estimate, Proportion
from honeykeras.evidence import Ledger, Observations, Observer, Rules
from honeykeras.evidence.bounds import CHECKPOINTS
from honeykeras.evidence.sums import NOTHING, Sums
from honeykeras.keys import WatermarkKey

# Of clients that send tens of thousands of queries, so many are looked at.
_MOST_OF_MANY = 20
# A curve has no more points than people can see.
_POINTS = 60


def judge_clients(
    honey: Arena,
    plain: Arena,
    key: WatermarkKey,
    detector: KeyScoreDetector,
    attacks: Mapping[str, Attack],
    *,
    clients: int,
    alpha: float,
    seed: int,
) -> Clients:
    """Simulates clients of a honeypot, and of the model without one.

    Each client has a ledger of its own, and its kind decides what it sends: honest ones send clean inputs, worn ones,
    what explanation tools ask, the same again; attackers send what attacks made of test images, all or one in 2, 10 or
    100 of their queries, or attack forty images by queries alone, each query of which is in the ledger.

    Args:
        honey: The model with the honeypot, attacked.
        plain: The model without, attacked.
        key: The key.
        detector: The detector that is judged: its extractor and model are what observes.
        attacks: The attacks, by name.
        clients: How many clients of each kind.
        alpha: As for `evidence.Rules`.
        seed: Decides who sends what.

    Returns:
        Who is accused, beside wrong keys and the model without a honeypot.
    """
    on_plain = cast(KeyScoreDetector, plain.detector(key, detector))
    observers = {honey: _observer(honey, detector), plain: _observer(plain, on_plain)}
    rules = {arena: dataclasses.replace(observer.rules, alpha=alpha) for arena, observer in observers.items()}
    patterns = _patterns(key, *key.wrong_keys())
    kinds = {}
    for name, sender in senders(honey, plain, _under(patterns, observers[honey]), key, attacks, seed):
        kinds[name] = _judge(name, sender, rules[honey], clients, seed, honey.verbose)
    for name, sender in senders(plain, None, _under(patterns[..., :1], observers[plain]), key, attacks, seed):
        if name in kinds:
            control = _judge(name, sender, rules[plain], clients, seed, plain.verbose)
            kinds[name] = dataclasses.replace(kinds[name], no_honeypot=control.accused)
    return Clients(alpha, observers[honey].rules.margin, kinds)


def _observer(arena: Arena, detector: KeyScoreDetector) -> Observer:
    return Observer(detector, arena.data.calibration.inputs, verbose=arena.verbose)


def _patterns(*keys: WatermarkKey) -> np.ndarray:
    """The patterns of several keys, shape `(num_classes, dimensions, keys)`."""
    return np.stack([np.reshape(key.draw_codes(), (key.num_classes, -1)) for key in keys], axis=-1)


def _under(patterns: np.ndarray, observer: Observer) -> Observe:
    """Looks at queries as several keys see them: at each once, however many clients send it."""
    return lambda queries: observer.observe(queries).under(patterns)


def _judge(name: str, sender: Sender, rules: Rules, clients: int, seed: int, verbose: int) -> ClientKind:
    """Lets clients of a kind send, with a ledger for each, under the key and under others."""
    clients = min(clients, _MOST_OF_MANY) if sender.many else clients
    outcomes, streams = [], []
    for number in _progress.bar(f"Clients: {name}", clients, "client", verbose, range(clients)):
        stream = sender.draw(np.random.default_rng([seed, number, *name.encode()]))
        outcomes.append(_accused_at(stream.seen, rules))
        streams.append(_Sent.of(stream, outcomes[-1][0]))
        if not number:
            right = stream.seen.of_key(0)
            curve, dependence = _curve(right, rules), _dependence(right, rules)
    accused = np.array(outcomes) > 0
    wrong = accused[:, 1:].mean(axis=1).sum() if accused.shape[1] > 1 else 0.0
    return ClientKind(
        honest=sender.honest,
        accused=Proportion.of(accused[:, 0]),
        queries=int(np.median([sent.queries for sent in streams])),
        queries_to_accusation=_spread([sent.to_accusation for sent in streams]),
        attacked_to_accusation=None if sender.honest else _spread([sent.attacked for sent in streams]),
        fooled_before_accusation=None if sender.honest else _spread([sent.fooled for sent in streams]),
        dependence=dependence,
        curve=curve,
        wrong_key=Proportion(float(wrong), clients if accused.shape[1] > 1 else 0),
        no_honeypot=Proportion(0, 0),
    )


def _accused_at(seen: Observations, rules: Rules) -> np.ndarray:
    """The number of the query at which each key accuses, 0 where it does not."""
    ledger = Ledger(rules, keys=seen.projections.shape[1])
    ledger.add(seen)
    return ledger.accused_at


class _Sent(NamedTuple):
    """What a client sent, all of it or until it was accused; infinite where it never was."""

    queries: int
    to_accusation: float
    attacked: float
    fooled: float

    @classmethod
    def of(cls, stream: Stream, accused_at: int) -> _Sent:
        if not accused_at:
            return cls(len(stream.seen), math.inf, math.inf, math.inf)
        attacked, fooled = stream.attacked[:accused_at].sum(), stream.fooled[: accused_at - 1].sum()
        return cls(len(stream.seen), float(accused_at), float(attacked), float(fooled))


def _spread(values: Sequence[float]) -> Spread:
    """Median and 90 % quantile, each a value that occurs; None where so many clients never come that far."""
    median, ninety = np.quantile(values, [0.5, 0.9], method="inverted_cdf")
    return Spread(*(None if math.isinf(value) else float(value) for value in (median, ninety)))


def _dependence(seen: Observations, rules: Rules) -> Estimate:
    """The mean projection a query has on the key, in standard deviations, and where chance leaves it with 95 %."""
    sums = Sums.of(seen.classes, seen.views, seen.projections, rules.num_classes)
    weight = max(sums.weight, NOTHING)
    mean, spread = float(sums.projection) / weight, 1.96 * float(np.linalg.norm(sums.by_class)) / weight
    return Estimate(mean, (mean - spread, mean + spread))


def _curve(seen: Observations, rules: Rules) -> Curve:
    """A client's evidence over its queries."""
    looks = [int(count) for count in CHECKPOINTS if count < len(seen)]
    ends = [*looks[:: -(-len(looks) // _POINTS) or 1], len(seen)]
    ledger, start = Ledger(rules), 0
    points: list[tuple[int, float, float]] = []
    for end in ends:
        evidence = ledger.update(seen[start:end])
        points.append((end, evidence.statistic, evidence.bound))
        start = end
    return Curve(*(tuple(each) for each in zip(*points, strict=True)))
