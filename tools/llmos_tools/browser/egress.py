"""The browser's only way out: a local HTTP proxy that vets each host before it connects.

Covered: a name is resolved once, here, and the connection goes to the address that was vetted, so
neither a changed DNS answer nor a redirect, a frame, a script or a WebSocket reaches what
`Allowance` refuses. Each request has a connection of its own: a host never sees another's.
Not covered: other programs of this machine may use the proxy too, and reach what it lets through.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeAlias
from urllib.parse import urlsplit

import h11

from llmos_tools.browser.addresses import Allowance

CONNECT_LIMIT_S = 10.0
HEAD_LIMIT_S = 60.0
HEAD_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
MOST_CONNECTIONS = 256
MOST_FAILURES = 256
_HOP_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"upgrade"}
)

Address: TypeAlias = str
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[Address]]]
Connect: TypeAlias = Callable[[Address, int], Awaitable[Streams]]


class Unreachable(Exception):
    """A host cannot or may not be reached; the message says why, for the model."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `host` is lower case, an IPv6 address without brackets."""

    host: str
    port: int

    @classmethod
    def of_url(cls, url: str) -> Target:
        """Raises: ValueError: the URL has no host or no port that is a number."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError(f"{url!r} has no host")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.hostname.rstrip("."), port)


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, in the system's order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


async def connect(address: Address, port: int) -> Streams:
    """Open a connection to an address; nothing is resolved."""
    return await asyncio.open_connection(str(ip_address(address.partition("%")[0])), port)


class EgressProxy:
    """Runs on a port of the loopback device between `start` and `close`."""

    def __init__(
        self, allowance: Allowance, *, resolve: Resolve = resolve, connect: Connect = connect
    ) -> None:
        self._allowance = allowance
        self._resolve = resolve
        self._connect = connect
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MOST_CONNECTIONS)
        self._failures: OrderedDict[Target, str] = OrderedDict()

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        if self._server is None:
            raise RuntimeError("the proxy is not started")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def failure(self, target: Target) -> str | None:
        """Say why the last connection to a host failed; None where it did not."""
        return self._failures.get(target)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with self._places:
                await self._serve(reader, writer)
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            pass  # either side went away, or the proxy closes
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        browser = _Peer(h11.Connection(h11.SERVER, HEAD_BYTES), reader, writer)
        async with asyncio.timeout(HEAD_LIMIT_S):
            request = await browser.receive()
        if not isinstance(request, h11.Request):
            return
        is_tunnel = request.method == b"CONNECT"
        try:
            target = _target(request)
            host = _Peer(h11.Connection(h11.CLIENT, HEAD_BYTES), *await self.reach(target))
        except (Unreachable, ValueError) as error:
            await _refuse(browser, str(error))
            return
        try:
            if is_tunnel:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await _pipe_both((reader, writer), (host.reader, host.writer))
            else:
                await _relay(browser, host, request)
        finally:
            host.writer.close()

    async def reach(self, target: Target) -> Streams:
        """Vet a host and connect to it.

        Raises:
            Unreachable: it is refused, does not exist or does not answer.
        """
        try:
            streams = await self._reach(target)
        except Unreachable as error:
            self._failures[target] = str(error)
            if len(self._failures) > MOST_FAILURES:
                self._failures.popitem(last=False)
            raise
        self._failures.pop(target, None)
        return streams

    async def _reach(self, target: Target) -> Streams:
        addresses = await self._addresses(target)
        refusal = self._allowance.refusal(target.host, target.port, addresses)
        if refusal is not None:
            raise Unreachable(refusal)
        problem = "it has no address"
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_LIMIT_S):
                    return await self._connect(address, target.port)
            except TimeoutError:
                problem = f"it did not answer within {CONNECT_LIMIT_S:g} s"
            except OSError as error:
                problem = error.strerror or str(error)
        raise Unreachable(f"{target.host}:{target.port} cannot be reached: {problem}")

    async def _addresses(self, target: Target) -> list[Address]:
        try:
            return [str(ip_address(target.host))]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return await self._resolve(target.host, target.port)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise Unreachable(
                f"there is no host {target.host!r}, or this machine has no network"
            ) from error


@dataclass(slots=True)
class _Peer:
    """One end of a connection that speaks HTTP/1.1."""

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def receive(self) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(CHUNK_BYTES))
        return event

    async def send(self, event: h11.Event) -> None:
        if data := self.http.send(event):
            self.writer.write(data)
            await self.writer.drain()


def _target(request: h11.Request) -> Target:
    """Raises: ValueError: the request does not name a host in the form for a proxy."""
    text = request.target.decode("ascii")
    if request.method == b"CONNECT":
        return Target.of_url(f"https://{text}")
    if not text.startswith("http://"):
        raise ValueError("only addresses that begin with http:// or https:// can be reached")
    return Target.of_url(text)


async def _refuse(browser: _Peer, why: str) -> None:
    body = f"llmos: {why}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    await browser.send(h11.Response(status_code=403, reason=b"Refused", headers=headers))
    await browser.send(h11.Data(data=body))
    await browser.send(h11.EndOfMessage())


async def _relay(browser: _Peer, host: _Peer, request: h11.Request) -> None:
    """Hand one request to the host and its answer back; both connections end with it."""
    _, _, path = request.target.removeprefix(b"http://").partition(b"/")
    headers = _end_to_end(request.headers)
    await host.send(h11.Request(method=request.method, target=b"/" + path, headers=headers))
    sending = asyncio.create_task(_copy_body(browser, host))
    try:
        while True:
            event = await host.receive()
            if isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Response):
                event = h11.Response(
                    status_code=event.status_code,
                    reason=event.reason,
                    headers=_end_to_end(event.headers),
                )
            if isinstance(event, h11.Response | h11.Data | h11.EndOfMessage):
                await browser.send(event)
            if isinstance(event, h11.EndOfMessage):
                return
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _copy_body(browser: _Peer, host: _Peer) -> None:
    while isinstance(event := await browser.receive(), h11.Data | h11.EndOfMessage):
        await host.send(event)
        if isinstance(event, h11.EndOfMessage):
            return


def _end_to_end(headers: h11._headers.Headers) -> list[tuple[bytes, bytes]]:  # pyright: ignore
    kept = [(name, value) for name, value in headers if name.lower() not in _HOP_HEADERS]
    return [*kept, (b"Connection", b"close")]


async def _pipe_both(one: Streams, other: Streams) -> None:
    """Copy both ways until either side ends."""
    ways = [
        asyncio.create_task(_pipe(one[0], other[1])),
        asyncio.create_task(_pipe(other[0], one[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
