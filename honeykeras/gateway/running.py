"""`run`: a gateway as a process, from its start to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import grpc
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from honeykeras._files import PathLike, read_file
from honeykeras._messages import first_line
from honeykeras.errors import HoneyKerasError, InvalidArgumentError
from honeykeras.gateway import rest, rpc
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.in_process import InProcess
from honeykeras.gateway.policy import Policy
from honeykeras.gateway.rates import Rates

# For so long requests that are under way are waited for, in seconds, before connections are cut.
_DRAIN = 30


@dataclasses.dataclass(frozen=True)
class Tls:
    """By what clients know the gateway, and it knows them: files in PEM.

    Attributes:
        certificate: The gateway's certificate, with those between it and its authority.
        key: The private key of that, readable by its owner alone.
        client_authority: The certificate of who signs those of clients; they must show one then.
    """

    certificate: PathLike
    key: PathLike
    client_authority: PathLike | None = None

    def check(self) -> None:
        """Raises `HoneyKerasError` if they cannot be used, in our words."""
        self.for_grpc()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_authority is not None:
                context.load_verify_locations(self.client_authority)
        except (ssl.SSLError, OSError) as error:
            raise InvalidArgumentError(
                f"{self.certificate} and {self.key} must be a certificate and its private key, as PEM. Received: "
                f"{first_line(error)}."
            ) from None

    def for_http(self) -> dict[str, Any]:
        """What uvicorn takes."""
        settings: dict[str, Any] = {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key)}
        if self.client_authority is not None:
            settings |= {"ssl_ca_certs": str(self.client_authority), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return settings

    def for_grpc(self) -> grpc.ServerCredentials:
        """What gRPC takes."""
        key = read_file(self.key, "private key", private=True)
        certificate, authority = (
            None if path is None else read_file(path, "certificate", private=False)
            for path in (self.certificate, self.client_authority)
        )
        return grpc.ssl_server_credentials([(key, certificate)], authority, authority is not None)


class _Http(HttpToolsProtocol):
    """HTTP that tells an application which certificate a client showed."""

    app_state: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        shown = transport.get_extra_info("peercert") or {}
        names = [value for part in shown.get("subject", ()) for name, value in part if name == "commonName"]
        self.app_state = {**self.app_state, "certificate": names[0] if len(names) == 1 else None}


@dataclasses.dataclass(frozen=True)
class Ports:
    """Where a gateway listens.

    Attributes:
        host: The address that clients reach.
        rest: Port of the REST API; 0 takes any that is free.
        grpc: Port of the gRPC API; None for none.
        private_host: The address that operators reach.
        private: Port of metrics and the page; 0 takes any that is free.
        tls: What clients are spoken to in; None for plain text.
    """

    host: str = "127.0.0.1"
    rest: int = 8501
    grpc: int | None = None
    private_host: str = "127.0.0.1"
    private: int = 0
    tls: Tls | None = None


class _Server(uvicorn.Server):
    """A server of HTTP whose signals somebody else handles."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(
    guard: Guard,
    models: Sequence[str],
    ports: Ports,
    *,
    rates: Rates,
    private: Any = None,
    read_policy: Callable[[], Policy] | None = None,
    started: Callable[[Ports], None] = lambda ports: None,
    said: Callable[[str], None] = lambda line: None,
) -> None:
    """Serves until the process is told to end (SIGTERM, SIGINT); then answers what is under way.

    Args:
        guard: Who answers.
        models: The names of the models that it is to answer for.
        ports: Where it listens.
        rates: How often clients may ask.
        private: The application that operators reach, if there is one.
        read_policy: Reads the policy anew, at SIGHUP. One that cannot be read or used is refused, and the old one
            stays.
        started: Is told, once it listens, on which ports.
        said: Is told in a line what operators want to know.

    Raises:
        HoneyKerasError: If it cannot begin.
    """

    async def limit(client: str) -> None:
        await rates.check(guard.policy, client)

    if ports.tls is not None:
        ports.tls.check()
    async with contextlib.AsyncExitStack() as stack:
        await guard.backend.start()
        stack.push_async_callback(guard.backend.close)
        stack.push_async_callback(guard.store.close)
        stack.push_async_callback(rates.close)
        await _check(guard, models)
        servers = [_http(rest.make_app(guard, limit), ports.host, ports.rest, ports.tls)]
        if private is not None:
            servers.append(_http(private, ports.private_host, ports.private))
        sockets = [stack.enter_context(_socket(server.config.host, server.config.port)) for server in servers]
        grpc_port = await stack.enter_async_context(_rpc(guard, limit, ports))
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        if read_policy is not None:
            again = functools.partial(reload, guard, models, read_policy, said)
            loop.add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(again()))
        serving = [
            asyncio.ensure_future(server.serve(sockets=[each])) for server, each in zip(servers, sockets, strict=True)
        ]
        while not all(server.started for server in servers):
            await asyncio.sleep(0.01)
        # What was loaded stays: looking through all of TensorFlow for garbage takes a quarter of a second each time.
        gc.collect()
        gc.freeze()
        numbers = [each.getsockname()[1] for each in sockets]
        started(dataclasses.replace(ports, rest=numbers[0], grpc=grpc_port, private=numbers[-1]))
        await ending.wait()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)


def _http(app: Any, host: str, port: int, tls: Tls | None = None) -> _Server:
    # Which server it is, is nobody's business.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_DRAIN,
        http=_Http,
        **({} if tls is None else tls.for_http()),
    )
    return _Server(config)


def _socket(host: str, port: int) -> socket.socket:
    """A port that is bound, so that one that is taken is told at once."""
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # Asyncio sends what is written at once where the protocol is stated. Else an answer's end waits until its begin
        # is acknowledged, 40 ms later.
        bound = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise _taken(host, port, error.strerror or "an error") from None
    return bound


def _taken(host: str, port: int, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The gateway must be able to listen at {host}:{port}. Received: {why}. Choose another port, or end who has it."
    )


@contextlib.asynccontextmanager
async def _rpc(guard: Guard, limit: Callable[[str], Any], ports: Ports) -> AsyncIterator[int | None]:
    if ports.grpc is None:
        yield None
        return
    server, alive = rpc.make_server(guard, limit)
    try:
        where = f"{ports.host}:{ports.grpc}"
        port = (
            server.add_insecure_port(where)
            if ports.tls is None
            else server.add_secure_port(where, ports.tls.for_grpc())
        )
    except RuntimeError:
        raise _taken(ports.host, ports.grpc, "the port is taken") from None
    await server.start()
    await rpc.set_health(alive, True)
    try:
        yield port
    finally:
        await rpc.set_health(alive, False)
        await server.stop(_DRAIN)


async def _check(guard: Guard, models: Sequence[str]) -> None:
    try:
        await guard.check(models)
    except RequestError as error:
        raise InvalidArgumentError(f"The model must answer before it is served. Received: {error.message}.") from None


async def reload(
    guard: Guard, models: Sequence[str], read_policy: Callable[[], Policy], said: Callable[[str], None]
) -> None:
    """Takes a policy in the place of another, with the versions that it serves; or leaves all as it is and says why."""
    old = guard.policy
    try:
        policy = read_policy()
        if isinstance(guard.backend, InProcess):
            await guard.backend.choose(policy.serve, policy.labels)
        guard.policy = policy
        try:
            await _check(guard, models)
        except HoneyKerasError:
            guard.policy = old
            if isinstance(guard.backend, InProcess):
                await guard.backend.choose(old.serve, old.labels)
            raise
    except HoneyKerasError as error:
        said(f"The policy was refused, and version {old.version} stays: {first_line(error)}")
    else:
        said(f"Policy version {policy.version} is in force, after version {old.version}.")
