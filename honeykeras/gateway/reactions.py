"""What becomes of answers: the model's own, or others, as a policy says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from honeykeras.export import policies
from honeykeras.gateway.tensors import Signature


class Reaction(NamedTuple):
    """What becomes of the answer to one input.

    Attributes:
        action: One of the policy's actions.
        why: `flag` or `accusation`; nothing where the answer is the model's for want of either.
    """

    action: str = "observe"
    why: str = ""


NOTHING = Reaction()


def scores_of(signature: Signature) -> str | None:
    """The name of the output that says how probable each class is; None if the signature has no such one.

    It is the one output of floats, one row for each input: what else a signature of a user's gives cannot be changed so
    that it still fits.
    """
    found = [name for name, each in signature.outputs.items() if each.dtype.kind == "f" and len(each.shape or ()) == 2]
    others = set(signature.outputs) - {"classes"} - set(found)
    return found[0] if len(found) == 1 and not others else None


def labels(scores: np.ndarray) -> np.ndarray:
    """The class that each row tells."""
    return scores.argmax(axis=1)


def altered(scores: np.ndarray, actions: list[str], told: list[int | None]) -> np.ndarray:
    """Answers as clients get them.

    All that may become of a row is made of each, so that the time that it takes does not tell what became of it.

    Args:
        scores: What the model says, shape `(n, num_classes)`, probabilities or logits.
        actions: What becomes of each.
        told: For `decoy`, the class that each is to tell; None for the one that is second.

    Returns:
        Of the shape and dtype of `scores`.
    """
    rows = np.arange(len(scores))
    first, second = np.argsort(-scores, axis=1, kind="stable")[:, :2].T
    label = np.array([other if each is None else each for each, other in zip(told, second, strict=True)])
    decoys = scores.copy()
    decoys[rows, first], decoys[rows, label] = scores[rows, label], scores[rows, first]
    made = {"mislead": misled(scores), "decoy": decoys, "reject": np.zeros_like(scores)}
    chosen = [made.get(action, scores)[row] for row, action in zip(rows, actions, strict=True)]
    return np.stack(chosen)


def misled(scores: np.ndarray) -> np.ndarray:
    """What `export.policies.mislead` does in a graph: on a few rows, a graph would take longer than all the rest."""
    rows = np.arange(len(scores))
    first, second = np.argsort(-scores, axis=1, kind="stable")[:, :2].T
    high, low = scores[rows, first], scores[rows, second]
    total = high + low
    are_probabilities = (np.abs(scores.sum(axis=1) - 1) < policies.ROUNDING) & (scores >= 0).all(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = np.log(np.maximum(high, policies.LEAST)) - np.log(np.maximum(low, policies.LEAST))
        margin = np.where(are_probabilities, ratio, high - low)
        turned = (2 * np.floor(margin / policies.PERIOD) + 1) * policies.PERIOD - margin
        turned = np.maximum(turned, policies.TIE).astype(scores.dtype)
        share = np.where(are_probabilities, total / (1 + np.exp(-turned)), (total + turned) / 2)
    result = scores.copy()
    result[rows, second], result[rows, first] = total - share, share
    return result


def answer(
    outputs: Mapping[str, np.ndarray], signature: Signature, scores: str | None, changed: np.ndarray | None
) -> dict:
    """The outputs that a client's signature has, with the scores that the client is to get."""
    told = {name: outputs[name] for name in signature.outputs}
    if scores is not None and changed is not None:
        told[scores] = changed
    return told
