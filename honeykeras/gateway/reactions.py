"""What becomes of answers: the model's own, or others, as a policy says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

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

    Args:
        scores: What the model says, shape `(n, num_classes)`, probabilities or logits.
        actions: What becomes of each.
        told: For `decoy`, the class that each is to tell; None for the one that is second.

    Returns:
        Of the shape and dtype of `scores`.
    """
    result = scores.copy()
    for action in ("mislead", "reject"):
        chosen = np.array([each == action for each in actions])
        if chosen.any():
            result[chosen] = policies.POLICIES[action](tf.constant(scores[chosen])).numpy()
    for row, (action, label) in enumerate(zip(actions, told, strict=True)):
        if action == "decoy":
            result[row] = _telling(scores[row], label)
    return result


def _telling(scores: np.ndarray, label: int | None) -> np.ndarray:
    """A row in which the greatest score and that of a class have changed places."""
    first, second = np.argsort(-scores, kind="stable")[:2]
    other = second if label is None else label
    result = scores.copy()
    result[first], result[other] = scores[other], scores[first]
    return result


def answer(
    outputs: Mapping[str, np.ndarray], signature: Signature, scores: str | None, changed: np.ndarray | None
) -> dict:
    """The outputs that a client's signature has, with the scores that the client is to get."""
    told = {name: outputs[name] for name in signature.outputs}
    if scores is not None and changed is not None:
        told[scores] = changed
    return told
