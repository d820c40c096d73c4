"""`Policy`: what becomes of flags and accusations, from a TOML file."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import sys
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from honeykeras._messages import json_path
from honeykeras.errors import InvalidArgumentError
from honeykeras.names import ALPHA, MAX_FPR

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Action = Literal["observe", "mislead", "decoy", "reject", "slow", "ban"]
"""What becomes of an answer.

`observe`: it is what the model says. `mislead`: the label is the model's, and how sure it is goes up where it goes
down. `decoy`: another label, the same for what is alike. `reject`: a row of zeros. `slow`: the model's answer, late.
`ban`: none at all, for as long as `duration` says.
"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


def _seconds(value: Any) -> Any:
    """A time such as `90s`, `15m`, `12h` or `7d` as seconds."""
    found = re.fullmatch(r"([0-9]{1,9}) ?([smhd])", value) if isinstance(value, str) else None
    return value if found is None else int(found[1]) * _UNITS[found[2]]


def _bytes(value: Any) -> Any:
    """A size such as `64 MB` as bytes."""
    found = re.fullmatch(r"([0-9]{1,9}) ?(KB|MB|GB)", value) if isinstance(value, str) else None
    return value if found is None else int(found[1]) * _SIZES[found[2]]


Seconds = Annotated[float, pydantic.BeforeValidator(_seconds), Field(ge=0, le=2**40, allow_inf_nan=False)]
Bytes = Annotated[int, pydantic.BeforeValidator(_bytes), Field(gt=0, lt=2**63)]
Count = Annotated[int, Field(gt=0, lt=2**63)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Clients(_Table):
    """Who is who.

    Attributes:
        identify: What tells one client from another: the `address` that it calls from, a `header` that a proxy sets,
            a `key` of its own (`authorization: Bearer KEY`, or `x-api-key: KEY`), or the common name in its
            `certificate`, where the gateway asks for one.
        header: For `header`, which one. It is heeded from trusted proxies alone: anybody can send one.
        trusted_proxies: Addresses or networks of proxies that say whom they speak for.
        keys: For `key`, SHA-256 of each client's key, in hexadecimal, by the client's name.
        observed_only: Names of clients whose answers are never changed: of explanation tools, and tests.
        rate: How many requests a client may make, such as `600/minute`; none counts if it is empty.
        remembered: Of how many clients the gateway keeps ledgers in its memory. The one that was silent longest goes.
        without_store: What becomes of requests while the Redis of replicas does not answer: `open` answers them by what
            this replica remembers, `closed` refuses them.
    """

    identify: Literal["address", "header", "key", "certificate"] = "address"
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "x-client-id"
    trusted_proxies: list[str] = []
    keys: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}
    observed_only: list[str] = []
    rate: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,8}/(second|minute|hour|day))?$")] = ""
    remembered: Count = 5000
    without_store: Literal["open", "closed"] = "open"

    @pydantic.field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks

    @pydantic.model_validator(mode="after")
    def _is_complete(self) -> Clients:
        if self.identify == "header" and not self.trusted_proxies:
            raise ValueError("`trusted_proxies` must name the proxies that set the header: anybody can send one")
        if self.identify == "key" and not self.keys:
            raise ValueError("`keys` must name clients, with the SHA-256 of their keys")
        return self


class Flag(_Table):
    """What becomes of the answer to an input that is flagged, of a client that is not accused.

    Attributes:
        action: What, an `Action`.
        delay: For `slow`, by how many seconds.
        duration: For `ban`, for how many seconds.
    """

    action: Action = "mislead"
    delay: Seconds = 1.0
    duration: Seconds = 3600.0


class Accusation(_Table):
    """What becomes of all answers to a client that is accused.

    Attributes:
        action: What, an `Action`.
        delay: For `slow`, by how many seconds.
        duration: For how many seconds after the accusation; then the client begins anew.
    """

    action: Action = "decoy"
    delay: Seconds = 1.0
    duration: Seconds = 7 * 86400.0


class Evidence(_Table):
    """When a client is accused.

    Attributes:
        alpha: How probable it may be that a client is accused whose queries do not depend on the key.
    """

    alpha: Share = ALPHA


class Logs(_Table):
    """What is written of requests.

    Attributes:
        sample: The share of requests that is logged, in [0, 1].
        pseudonyms: Whether clients are named by a keyed hash of their names.
        file_size: How large a file of requests grows, in bytes, before the next one is begun.
        total_size: How large all files together grow, in bytes, before the oldest is removed.
        flagged: How many flagged inputs are kept, at most.
    """

    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    pseudonyms: bool = False
    file_size: Bytes = 64 * 2**20
    total_size: Bytes = 2**30
    flagged: Annotated[int, Field(ge=0)] = 1000

    @pydantic.model_validator(mode="after")
    def _holds_a_file(self) -> Logs:
        if self.total_size < self.file_size:
            raise ValueError("`total_size` must be at least `file_size`")
        return self


class Limits(_Table):
    """What a request may be.

    Attributes:
        body: How large its body may be, in bytes, after it is unpacked.
        deadline: How many seconds an answer may take.
    """

    body: Bytes = 16 * 2**20
    deadline: Annotated[Seconds, Field(gt=0)] = 10.0


class Policy(_Table):
    """What a gateway does, in one value.

    Attributes:
        version: Its number, which events and the page name.
        shadow: Whether answers are as the bare model's, and what would have been done is logged.
        max_fpr: The false positive rate that the detector was calibrated to: what flags on clean traffic are compared
            with.
        clients, flag, accusation, evidence, logs, limits: See there.
        serve: Which version of a model is served, by its name; the greatest where none is given.
        labels: Versions by label, by the model's name.
    """

    version: Count = 1
    shadow: bool = False
    max_fpr: Share = MAX_FPR
    clients: Clients = Clients()
    flag: Flag = Flag()
    accusation: Accusation = Accusation()
    evidence: Evidence = Evidence()
    logs: Logs = Logs()
    limits: Limits = Limits()
    serve: dict[str, Count] = {}
    labels: dict[str, dict[str, Count]] = {}

    @classmethod
    def parse(cls, content: bytes, path: str = "policy.toml") -> Policy:
        """The policy of a file's content.

        Args:
            content: The content.
            path: Where it is from, for messages.

        Raises:
            InvalidArgumentError: If it is none, with the place.
        """
        try:
            document = tomllib.loads(content.decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise InvalidArgumentError(f"{path} must be TOML. Received: {error}.") from None
        try:
            return cls.model_validate(document)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise InvalidArgumentError(
                f"{path} must be a policy. Received at {json_path(first['loc'])}: {first['msg']}."
            ) from None


def digest_of(key: str) -> str:
    """What stands in a policy for a client's key."""
    return hashlib.sha256(key.encode()).hexdigest()
