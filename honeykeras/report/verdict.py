"""What the controls say of a detection, in one sentence: the same for the terminal, the page and the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def verdict(*, exceeds_controls: bool, key_specific: bool) -> str:
    """The sentence.

    Args:
        exceeds_controls: Whether detection lies above its controls; see `evaluation.Detection`.
        key_specific: Whether the kind of detector claims to find the key.
    """
    if exceeds_controls and not key_specific:
        return "Detection lies above both controls, but this kind of detector also finds what is not the key's."
    if exceeds_controls:
        return "Detection lies above both controls, wrong keys and no honeypot, intervals apart: a honeypot effect."
    return (
        "Detection does not stand out from its controls: with a wrong key, or without a honeypot, it is as good. "
        "No honeypot effect is shown."
    )


def lost(compared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The attackers of whom more get past the honeypot than fool a plain or an adversarially trained model.

    Args:
        compared: A report's part of that name.
    """
    found = []
    for name, each in compared.items():
        others = [other["fooled_rate"] for other in (each["plain"], each["adversarial"]) if other is not None]
        if others and each["honeypot"]["undetected_rate"] > min(others):
            found.append(name)
    return found
