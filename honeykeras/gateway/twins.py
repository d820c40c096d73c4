"""Which signatures are for clients, and which of the operator's answers in the place of one."""

from __future__ import annotations

from collections.abc import Mapping

from honeykeras.export.signatures import DEFAULT, EVIDENCE, EXTENDED
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.tensors import Signature


def public(found: Mapping[str, Signature]) -> dict[str, Signature]:
    """The signatures that clients may know of."""
    return {name: each for name, each in found.items() if name != EXTENDED and not name.startswith(f"{EXTENDED}_")}


def twin(name: str, found: Mapping[str, Signature]) -> str:
    """The operator's signature that takes what a client's takes, and tells the most.

    The default one's is called without its name where it is this package's own.
    """
    for named, first in [(f"{EVIDENCE}_{name}", EVIDENCE), (f"{EXTENDED}_{name}", EXTENDED)]:
        if named in found and "score" in found[named].outputs:
            return named
        if name == DEFAULT and first in found and found[first].inputs.keys() == found[name].inputs.keys():
            return first
    raise RequestError("INTERNAL", f"The signature {name} cannot be asked")
