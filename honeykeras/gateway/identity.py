"""Who a client is: where it calls from, what a proxy says of it, or a key of its own."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping

from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.policy import Clients, digest_of

# Whoever has one address of IPv6 has so many.
_IPV6_PREFIX = 64
_LONGEST_NAME = 256


def client_of(policy: Clients, peer: str, headers: Mapping[str, str]) -> str:
    """The name that a client goes by.

    Args:
        policy: Who is who.
        peer: The address that the connection comes from.
        headers: The request's, with names in lower case.

    Raises:
        RequestError: If it is nobody who is known.
    """
    if policy.identify == "key":
        return _by_key(policy, headers)
    trusted = _is_in(peer, policy.trusted_proxies)
    if policy.identify == "header":
        name = headers.get(policy.header.lower(), "")
        if not trusted or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise RequestError("UNAUTHENTICATED", "The client is not known")
        return name
    return _address(_forwarded(policy, peer, headers) if trusted else peer)


def _by_key(policy: Clients, headers: Mapping[str, str]) -> str:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    key = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    found = None
    for name, digest in policy.keys.items():
        # As long for one that is right as for one that is not.
        if hmac.compare_digest(digest_of(key), digest):
            found = name
    if found is None:
        raise RequestError("UNAUTHENTICATED", "The client is not known")
    return found


def _forwarded(policy: Clients, peer: str, headers: Mapping[str, str]) -> str:
    """The last address in a proxy's list that no trusted proxy wrote about itself."""
    addresses = [each.strip() for each in headers.get("x-forwarded-for", "").split(",") if each.strip()]
    for address in reversed(addresses):
        if not _is_in(address, policy.trusted_proxies):
            return address
    return peer


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
