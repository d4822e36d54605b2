"""Keeps one server reachable: starts it at its first call, and again after it was lost.

One task for each connection opens and closes it, as the protocol's library demands. A call that
was on its way when the server was lost is not repeated: it may have had its effect. Knows neither
tools' specifications nor the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llmos.mcp.config import Server
from llmos.mcp.listing import MOST_TOOLS, ListedTool, ListingCache, safe_name
from llmos_kernel.abi import JsonObject
from llmos_kernel.errors import LlmosError, RetryCall, ToolFailed

if TYPE_CHECKING:
    import mcp_types as types
    from httpx2 import Response
    from mcp import Client

START_S = 30.0
LARGEST_LOG = 1_000_000


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before a start that follows failures: twice as long after each.

    After `most` failures in a row calls are refused for `rest_s`.
    """

    first_s: float = 0.25
    most: int = 5
    rest_s: float = 300.0

    def delay_s(self, num_failures: int) -> float:
        if num_failures == 0:
            return 0.0
        return self.rest_s if num_failures >= self.most else self.first_s * 2**num_failures / 2


DEFAULT_BACK_OFF = BackOff()


@dataclass(frozen=True, slots=True)
class _Session:
    """One life of a connection. `over` is set when it must not be used any more."""

    owner: asyncio.Task[None]
    ready: asyncio.Future[Client]
    over: asyncio.Event


class Connection:
    """The way to one server. `folder` holds its tool list and its log."""

    def __init__(
        self, server: Server, folder: Path, *, back_off: BackOff = DEFAULT_BACK_OFF
    ) -> None:
        self._server = server
        self._folder = folder
        self._back_off = back_off
        self._session: _Session | None = None
        self._starting = asyncio.Lock()
        self._num_failures = 0
        self._not_before = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is not known to be lost."""
        return self._session is not None and not self._session.over.is_set()

    async def call(self, tool: str, arguments: JsonObject) -> types.CallToolResult:
        """Call a tool, starting the server where it does not run. Cancellation is passed on.

        Raises:
            ToolFailed: the server cannot be reached, was lost meanwhile, or refuses.
            RetryCall: the server says that the arguments are wrong.
        """
        session = await self._usable()
        client = await self._client(session)
        try:
            result = await client.call_tool(tool, dict(arguments))
        except Exception as error:  # the library's boundary: the model gets the error
            raise self._explained(error, session) from error
        self._num_failures = 0
        return result

    async def close(self) -> None:
        """End the connection and, where we started it, the server; safe to call again."""
        session, self._session = self._session, None
        if session is not None:
            session.over.set()
            if not session.ready.done():
                session.owner.cancel()
            await asyncio.wait([session.owner])

    async def _usable(self) -> _Session:
        async with self._starting:
            if self._session is None or not self.is_open:
                await self._wait_for_turn()
                self._session = self._begun()
            return self._session

    async def _wait_for_turn(self) -> None:
        wait_s = self._not_before - time.monotonic()
        if wait_s > 0 and self._num_failures >= self._back_off.most:
            raise ToolFailed(
                f"the MCP server {self._server.name!r} failed {self._num_failures} times in a row "
                f"and is left alone for {wait_s:.0f} s; see {log_path(self._folder, self._server)}"
            )
        await asyncio.sleep(max(0.0, wait_s))

    async def _client(self, session: _Session) -> Client:
        try:
            return await asyncio.shield(session.ready)
        except ConnectionError as error:
            raise ToolFailed(str(error)) from error

    def _begun(self) -> _Session:
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        over = asyncio.Event()
        name = f"MCP server {self._server.name}"
        return _Session(asyncio.create_task(self._own(ready, over), name=name), ready, over)

    async def _own(self, ready: asyncio.Future[Client], over: asyncio.Event) -> None:
        """Open the connection, keep it until it is over, and close it."""
        try:
            async with connected(self._server, self._folder, on_lost=over.set) as client:
                ready.set_result(client)
                await over.wait()
        except Exception as error:  # a server may fail in any way: those who wait get the error
            if not ready.done():
                ready.set_exception(
                    ConnectionError(start_problem(self._server, self._folder, error))
                )
        finally:
            over.set()
            if not ready.done():
                ready.set_exception(ConnectionError(f"{self._server.name!r} is being closed"))
            self._num_failures += 1
            delay_s = self._back_off.delay_s(self._num_failures)
            self._not_before = time.monotonic() + delay_s

    def _explained(self, error: Exception, session: _Session) -> LlmosError:
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED, INVALID_PARAMS

        name = self._server.name
        code = error.code if isinstance(error, MCPError) else None
        text = error.message if isinstance(error, MCPError) else str(error)
        if code == CONNECTION_CLOSED or text == "Session terminated" or session.over.is_set():
            session.over.set()
            return ToolFailed(
                f"the MCP server {name!r} was lost during the call ({text}), which may or may not "
                f"have had its effect; the next call connects anew; its log is "
                f"{log_path(self._folder, self._server)}"
            )
        if code == INVALID_PARAMS:
            return RetryCall(text)
        if code is not None:
            return ToolFailed(f"the MCP server {name!r}: {text}")
        return ToolFailed(f"the MCP server {name!r} answered what it may not: {text}")


def log_path(folder: Path, server: Server) -> Path:
    return folder / f"{safe_name(server.name)}.log"


def start_problem(server: Server, folder: Path, error: BaseException) -> str:
    """Say in one line why a server could not be started."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    why = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        why = f"it did not answer within {START_S:g} s"
    what = (
        f"cannot be reached at {server.address!r}"
        if server.url
        else f"({server.command!r}) could not be started"
    )
    log = log_path(folder, server)
    return f"the MCP server {server.name!r} {what}: {why}; its log is {log}"


@asynccontextmanager
async def connected(
    server: Server, folder: Path, *, on_lost: Callable[[], None]
) -> AsyncGenerator[Client]:
    """Start a server or connect to it, and keep its tool list, for the length of the block.

    Raises whatever the library does.
    """
    async with AsyncExitStack() as stack:
        log = stack.enter_context(_opened_log(folder, server))
        async with asyncio.timeout(START_S):
            client = await stack.enter_async_context(_client(server, log, on_lost))
            ListingCache(folder).store(server, await listed(client))
        yield client


async def listed(client: Client) -> list[ListedTool]:
    """Ask a server for all its tools."""
    tools: list[ListedTool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += [
            ListedTool(name=t.name, description=t.description or "", parameters=t.input_schema)
            for t in page.tools
        ]
        cursor = page.next_cursor
        if not cursor:
            return tools
        if len(tools) > MOST_TOOLS or not page.tools:
            raise ValueError(f"it lists more than {MOST_TOOLS} tools")


def _opened_log(folder: Path, server: Server) -> TextIO:
    folder.mkdir(parents=True, exist_ok=True)
    path = log_path(folder, server)
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(path.with_suffix(".old.log"))
    return path.open("a", buffering=1)


def _client(server: Server, log: TextIO, on_lost: Callable[[], None]) -> Client:
    from mcp import Client
    from mcp_types import Implementation

    # Without a handler Python prints the library's warnings on the terminal.
    logging.getLogger("mcp").addHandler(logging.NullHandler())

    async def note(message: Any) -> None:
        if isinstance(message, Exception):
            log.write(f"llmos: not a message of the protocol: {message}\n")

    transport = _over_http(server, log) if server.url else _over_pipes(server, log, on_lost)
    return Client(
        transport,
        message_handler=note,
        client_info=Implementation(name="llmos", version=version("llmos")),
    )


@asynccontextmanager
async def _over_http(server: Server, log: TextIO) -> AsyncGenerator[Any]:
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async def note_refusal(response: Response) -> None:
        if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            status = f"{response.status_code} {response.reason_phrase}"
            log.write(f"llmos: it answered {status}: check its headers in mcp.json\n")

    async with create_mcp_http_client(headers=dict(server.headers)) as http:
        http.event_hooks["response"].append(note_refusal)
        async with streamable_http_client(server.url, http_client=http) as streams:
            yield streams


@asynccontextmanager
async def _over_pipes(
    server: Server, log: TextIO, on_lost: Callable[[], None]
) -> AsyncGenerator[Any]:
    """Run the server as a child; `on_lost` is called when it closes its output."""
    from anyio import create_memory_object_stream, create_task_group
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(
        command=server.command, args=list(server.args), env=dict(server.env), cwd=server.cwd
    )
    async with stdio_client(parameters, errlog=log) as (read, write), create_task_group() as group:
        send, receive = create_memory_object_stream[Any](0)

        async def hand_on() -> None:
            async with send:
                async for item in read:
                    await send.send(item)
            on_lost()

        group.start_soon(hand_on)
        yield receive, write
        group.cancel_scope.cancel()
