"""What clients send, by kind: those who attack a model, and those who do not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from honeykeras.attacks import NES, PGD, AdversarialExamples, Attack, Boundary, CarliniWagner, HopSkipJump, Square
from honeykeras.attacks.adaptive import avoiding
from honeykeras.attacks.by_query import QueryAttack
from honeykeras.evaluation.arena import Arena, correctly_classified
from honeykeras.evidence import Observations, honest
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict, predict_labels
from honeykeras.watermark import Watermark

# How many queries a client sends, at most, and one of whose queries few are adversarial.
_MOST, _MOST_MIXED = 1000, 3000
# One adversarial query in so many.
_RARE = (2, 10, 100)
# How many clean inputs there are to draw from, at most.
_CLEAN, _CLEAN_BYTES = 4000, 160 * 2**20
# How many images a campaign by queries attacks, with how many queries each.
_CAMPAIGN = 40
_QUERIES: Mapping[str, int] = {"nes": 1000, "square": 300, "boundary": 600, "hop_skip_jump": 600}


@dataclasses.dataclass(frozen=True)
class Stream:
    """What one client sends.

    Attributes:
        seen: Its queries, in their order.
        attacked: Which of them are the first of an image that is attacked, bool.
        fooled: Which of them brought the attacker what it wants, bool.
    """

    seen: Observations
    attacked: np.ndarray
    fooled: np.ndarray

    @classmethod
    def honest(cls, seen: Observations) -> Stream:
        """Queries of who attacks nobody."""
        nothing = np.zeros(len(seen), bool)
        return cls(seen, nothing, nothing)

    def __getitem__(self, chosen: np.ndarray | slice) -> Stream:
        return Stream(self.seen[chosen], self.attacked[chosen], self.fooled[chosen])


Draw = Callable[[np.random.Generator], Stream]
"""Draws a client of a kind."""

Observe = Callable[[np.ndarray], Observations]
"""Looks at queries of a model, shape `(n, *input_shape)`."""


@dataclasses.dataclass(frozen=True)
class Sender:
    """A kind of client.

    Attributes:
        honest: Whether it attacks nobody.
        many: Whether a client sends so much that few are looked at.
        draw: Draws such a client.
    """

    honest: bool
    many: bool
    draw: Draw


def senders(
    arena: Arena, other: Arena | None, observe: Observe, key: WatermarkKey, attacks: Mapping[str, Attack], seed: int
) -> Iterator[tuple[str, Sender]]:
    """The kinds of clients of a model, one after the other, as some take much memory.

    Args:
        arena: The model, attacked.
        other: A model without a honeypot, attacked: images that were made on it are sent to this one. None where there
            is no such control.
        observe: Looks at this model's queries.
        key: The key, for who knows and avoids it.
        attacks: The attacks, by name.
        seed: Seed of what is random.
    """
    bounds = arena.data.input_range
    x = arena.data.test.head(_CLEAN, _CLEAN_BYTES).x
    unit = bounds.to_unit(x)
    clean = observe(x)
    for kind in honest.kinds(x.shape[1:]):
        made = honest.sessions(unit, kind, seed=seed)
        seen = clean if kind == "clean" else observe(bounds.from_unit(np.concatenate(made)))
        yield kind, Sender(True, False, functools.partial(_in_sessions, seen, [len(each) for each in made]))
    confidence = _confidence(arena, x)
    yield "active_learning", Sender(True, False, functools.partial(_least_sure_first, clean, confidence))
    yield "drifted_mix", Sender(True, False, functools.partial(_two_classes, clean))
    for name, examples in _attackers(arena, other, key, attacks):
        if not examples.success.any():
            continue
        adversarial = observe(examples.successful)
        yield name, Sender(False, False, functools.partial(_attacking, adversarial))
        if name in attacks:
            both = Observations.joined([adversarial, clean])
            for every in _RARE:
                mixed = functools.partial(_mixed, both, len(adversarial), every)
                yield f"{name}_one_in_{every}", Sender(False, False, mixed)
    for attack in _by_query(arena, seed):
        yield attack.name, Sender(False, True, _campaign(arena, observe, attack))


def _attackers(
    arena: Arena, other: Arena | None, key: WatermarkKey, attacks: Mapping[str, Attack]
) -> Iterator[tuple[str, AdversarialExamples]]:
    """What attackers made of images: what they send."""
    yield from ((name, examples) for name, examples in arena.test.items() if not isinstance(attacks[name], QueryAttack))
    for name, examples in other.test.items() if other else ():
        yield f"{name}_transfer", examples.quantize(arena.model)
    for name, attack in attacks.items():
        if type(attack) in (PGD, CarliniWagner):
            x, y = arena.test[name].x, arena.test[name].y
            known = {
                "gradients": arena.averaged_gradients,
                "perturbations": arena.averaged_perturbations(name),
                "key": Watermark(key).patterns().numpy(),
            }
            for what, directions in known.items():
                avoided = avoiding(attack, directions).generate(arena.model, x, y, verbose=arena.verbose)
                yield f"{name}_avoids_{what}", avoided.quantize(arena.model)


def _by_query(arena: Arena, seed: int) -> list[QueryAttack]:
    bounds, epsilon = arena.data.input_range, arena.data.epsilon
    return [
        NES(epsilon, _QUERIES["nes"], input_range=bounds, seed=seed),
        Square(epsilon, _QUERIES["square"], input_range=bounds, seed=seed),
        Boundary(_QUERIES["boundary"], input_range=bounds, seed=seed),
        HopSkipJump(_QUERIES["hop_skip_jump"], input_range=bounds, seed=seed),
    ]


def _campaign(arena: Arena, observe: Observe, attack: QueryAttack) -> Draw:
    """Lets an attack loose, and writes down all that it asks: sessions, one for each image."""
    right = correctly_classified(arena.model, arena.data.test, min(_CAMPAIGN, arena.samples), arena.data.input_range)
    seen: list[list[Observations]] = [[] for _ in right.y]

    def watch(images: np.ndarray, queries: np.ndarray) -> None:
        observed = observe(queries)
        for image in np.unique(images):
            seen[image].append(observed[images == image])

    x_adv = attack.ask(arena.model, right.x, right.y, watch)
    succeeded = predict_labels(arena.model, x_adv) != right.y
    lengths = [sum(map(len, parts)) for parts in seen]
    joined = Observations.joined([part for parts in seen for part in parts])
    fooled = np.zeros(len(joined), bool)
    fooled[np.cumsum(lengths) - 1] = succeeded
    return functools.partial(_in_sessions, joined, lengths, fooled=fooled, most=len(joined))


def _in_sessions(
    seen: Observations,
    lengths: list[int],
    draw: np.random.Generator,
    *,
    fooled: np.ndarray | None = None,
    most: int = _MOST,
) -> Stream:
    """Sessions in random order; of those who attack, with what came of each query."""
    begins = np.cumsum([0, *lengths])
    order = draw.permutation(len(lengths))
    chosen = np.concatenate([np.arange(begins[place], begins[place + 1]) for place in order])[:most]
    if fooled is None:
        return Stream.honest(seen)[chosen]
    attacked = np.zeros(len(seen), bool)
    attacked[begins[:-1]] = True
    return Stream(seen, attacked, fooled)[chosen]


def _least_sure_first(seen: Observations, confidence: np.ndarray, draw: np.random.Generator) -> Stream:
    """Who asks for labels of what a model is least sure of."""
    chosen = draw.permutation(len(seen))[: 2 * _MOST]
    chosen = chosen[np.argsort(confidence[chosen])][:_MOST]
    return Stream.honest(seen)[chosen]


def _two_classes(seen: Observations, draw: np.random.Generator) -> Stream:
    """Who has to do with two classes alone."""
    classes = draw.permutation(np.unique(seen.classes))[:2]
    chosen = draw.permutation(np.flatnonzero(np.isin(seen.classes, classes)))[:_MOST]
    return Stream.honest(seen)[chosen]


def _attacking(seen: Observations, draw: np.random.Generator) -> Stream:
    chosen = draw.permutation(len(seen))[:_MOST]
    return Stream(seen[chosen], np.ones(len(chosen), bool), np.ones(len(chosen), bool))


def _mixed(seen: Observations, adversarial: int, every: int, draw: np.random.Generator) -> Stream:
    """One adversarial query, of the first so many of what was seen, after so many clean ones, none twice."""
    clean = len(seen) - adversarial
    rounds = min(adversarial, clean // (every - 1), max(1, _MOST_MIXED // every))
    attacks = draw.permutation(adversarial)[:rounds]
    others = draw.permutation(clean)[: rounds * (every - 1)].reshape(rounds, every - 1)
    chosen = np.concatenate([adversarial + others, attacks[:, None]], axis=1).ravel()
    made = chosen < adversarial
    return Stream(seen[chosen], made, made)


def _confidence(arena: Arena, x: np.ndarray) -> np.ndarray:
    """The lead of the predicted class over the next one."""
    top = np.sort(predict(arena.model, x), axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]
