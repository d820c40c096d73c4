"""Who a client is: where it calls from, what a proxy says of it, or a key of its own."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.policy import Clients, digest_of

# Whoever has one address of IPv6 has so many.
_IPV6_PREFIX = 64
_LONGEST_NAME = 256


class Caller(NamedTuple):
    """What a connection and a request say of who is calling.

    Attributes:
        peer: The address that the connection comes from.
        headers: All values of each of the request's headers, by its name in lower case, in their order.
        certificate: The common name in the certificate that the caller showed, if an authority that the gateway trusts
            signed it.
    """

    peer: str
    headers: Mapping[str, Sequence[str]] = {}
    certificate: str | None = None


def gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Headers by name. One that is there twice is not one: what a client sent stands beside what a proxy added."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.lower(), []).append(value)
    return found


def client_of(policy: Clients, caller: Caller) -> str:
    """The name that a client goes by.

    Args:
        policy: Who is who.
        caller: Who is calling.

    Raises:
        RequestError: If it is nobody who is known.
    """
    if policy.identify == "key":
        return _by_key(policy, caller.headers)
    if policy.identify == "certificate":
        return _name(caller.certificate)
    trusted = _is_in(caller.peer, policy.trusted_proxies)
    if policy.identify == "header":
        return _name(_only(caller.headers, policy.header.lower()) if trusted else None)
    return _address(_forwarded(policy, caller) if trusted else caller.peer)


def _only(headers: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = headers.get(name, ())
    return values[0] if len(values) == 1 else None


def _name(given: str | None) -> str:
    if given is None or not 0 < len(given) <= _LONGEST_NAME or not given.isprintable():
        raise RequestError("UNAUTHENTICATED", "The client is not known")
    return given


def _by_key(policy: Clients, headers: Mapping[str, Sequence[str]]) -> str:
    scheme, _, given = (_only(headers, "authorization") or "").partition(" ")
    key = given.strip() if scheme.lower() == "bearer" else _only(headers, "x-api-key") or ""
    found = None
    for name, digest in policy.keys.items():
        # As long for one that is right as for one that is not.
        if hmac.compare_digest(digest_of(key), digest):
            found = name
    return _name(found)


def _forwarded(policy: Clients, caller: Caller) -> str:
    """The last address in proxies' lists that no trusted proxy wrote about itself."""
    lists = ",".join(caller.headers.get("x-forwarded-for", ()))
    addresses = [each.strip() for each in lists.split(",") if each.strip()]
    for address in reversed(addresses):
        if not _is_in(address, policy.trusted_proxies):
            return address
    return caller.peer


def _is_in(address: str, networks: list[str]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(network) for network in networks)


def _address(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:_LONGEST_NAME]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))
    return str(found)


def pseudonym(secret: bytes, client: str) -> str:
    """A name for a client that tells nobody who it is, and is the same each time."""
    return hmac.new(secret, b"client/" + client.encode(), hashlib.sha256).hexdigest()[:16]
