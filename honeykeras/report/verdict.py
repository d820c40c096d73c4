"""What the controls say of a detection, in one sentence: the same for the terminal, the page and the card."""

from __future__ import annotations


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
