"""Our tools for any client of the protocol, over stdin and stdout or over HTTP on the loopback.

Covered: a call from outside is checked as one from the model (schema, policy, limits of time and
output) and journalled with its intent before it acts; over HTTP, who does not send the token, web
pages of other origins and foreign Host headers are refused. Knows no model, and none of the tools
that other servers offer to us.
"""

from __future__ import annotations

import asyncio
import base64
import mimetypes
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from pydantic import SecretStr

from llmos.boot import journal_path, workspace_path
from llmos.mcp.bearer import CONFIGURED, BearerOnly, client_entry, new_token
from llmos_kernel.abi import CallContext, Driver, ToolCall, ToolResult
from llmos_kernel.dispatch import Dispatcher
from llmos_kernel.errors import ConfigError, RetryCall
from llmos_kernel.journal import Journal, explained, told_blob
from llmos_kernel.policy import Approver, needs_approval
from llmos_kernel.syscalls import OwnedDriver, SyscallTable

TASK = "calls of MCP clients"
MOST_PICTURE_BYTES = 5_000_000

Record: TypeAlias = Callable[[str, dict[str, Any]], None]


class CallGate:
    """Runs calls from outside: checks, asks, journals the intent, dispatches, journals the outcome.

    Calls of one tool run one after another, unless it is repeatable.
    """

    def __init__(
        self, table: SyscallTable, journal: Journal, *, workspace: Path, approve: Approver
    ) -> None:
        self.table = table
        self._journal = journal
        self._approve = approve
        self._dispatcher = Dispatcher(table.specs, journal.store_blob)
        self._pid = journal.add_process(TASK, "")
        self._workspace = workspace
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._num_calls = 0

    async def run(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Bring a call to its result. When cancelled, the tool is ended.

        Raises:
            StateError: the journal cannot be written; an effect without its intent is not begun.
        """
        call = ToolCall(f"call_{self._num_calls}", name, arguments)
        self._num_calls += 1
        self._record("tool_call", {"id": call.id, "name": name, "arguments": arguments})
        result = ToolResult(call.id, "cancelled", "error: cancelled by the client")
        try:
            result = await self._outcome(call)
        finally:
            self._record("tool_result", result.body())
        return result

    def close(self) -> None:
        """Journal the end."""
        self._record("state", {"state": "ZOMBIE", "exit": "done"})

    async def _outcome(self, call: ToolCall) -> ToolResult:
        try:
            driver = self.table.check(call.name, call.arguments)
        except RetryCall as error:
            return ToolResult(call.id, "retry", f"error: {error}")
        spec = driver.spec
        if needs_approval(spec) and not await self._approve(call, spec):
            return ToolResult(
                call.id,
                "denied",
                f"error: {spec.name} was not allowed; `llmos mcp serve --yes` allows every tool",
            )
        if spec.is_repeatable:
            return await self._dispatched(driver, call)
        async with self._turns[spec.name]:
            return await self._dispatched(driver, call)

    async def _dispatched(self, driver: Driver, call: ToolCall) -> ToolResult:
        def on_start() -> None:
            if driver.spec.effects:
                self._journal.append(self._pid, "tool_start", {"id": call.id}, is_durable=True)

        context = CallContext(
            self._pid,
            self._workspace,
            partial(told_blob, self._journal.path, self._pid),
            home=self._journal.path.parent,
        )
        return await self._dispatcher.run(driver, call, context, on_start)

    def _record(self, kind: str, body: dict[str, Any]) -> None:
        self._journal.append(self._pid, kind, body)


@asynccontextmanager
async def opened_gate(
    drivers: Sequence[OwnedDriver], home: Path, approve: Approver
) -> AsyncGenerator[CallGate]:
    """Take over the drivers and the state folder for the length of the block."""
    workspace = workspace_path(home)
    with explained(journal_path(home)):
        workspace.mkdir(parents=True, exist_ok=True)
    journal = Journal(journal_path(home))
    table = SyscallTable(drivers)
    try:
        gate = CallGate(table, journal, workspace=workspace, approve=approve)
        try:
            yield gate
        finally:
            gate.close()
    finally:
        await table.close()
        journal.close()


def chosen(drivers: Sequence[OwnedDriver], names: Sequence[str]) -> list[OwnedDriver]:
    """Return the drivers of these names, or all where none are named.

    Raises:
        ConfigError: there is no tool of a name.
    """
    known = {owned.driver.spec.name: owned for owned in drivers}
    if unknown := sorted(set(names) - set(known)):
        raise ConfigError(f"there is no tool {unknown[0]!r}; the tools are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or list(drivers)


def server_over(gate: CallGate, workspace: Path) -> Server[Any]:
    """Return a server of the protocol whose tools are those of the gate."""
    tools = [
        types.Tool(
            name=spec.name,
            description=spec.description,
            input_schema=dict(spec.parameters),
            annotations=types.ToolAnnotations(read_only_hint=not spec.effects),
        )
        for spec in gate.table.specs
    ]

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in {tool.name for tool in tools}:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}")
        result = await gate.run(params.name, params.arguments or {})
        return reply_of(result, workspace)

    return Server(
        "llmos", version=version("llmos"), on_list_tools=list_tools, on_call_tool=call_tool
    )


def reply_of(result: ToolResult, workspace: Path) -> types.CallToolResult:
    """Return a result as the protocol says it: its text, pictures, and links to other files."""
    blocks: list[types.ContentBlock] = [types.TextContent(text=result.text)]
    blocks += [_file_block(workspace, name) for name in result.files]
    return types.CallToolResult(content=blocks, is_error=result.status != "ok")


def _file_block(workspace: Path, name: str) -> types.ContentBlock:
    path = workspace / name
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    # What a tool made may be replaced by a link meanwhile; such a one is named, never followed.
    is_plain = path.is_file() and path.resolve() == workspace.resolve() / name
    if kind.startswith("image/") and is_plain and path.stat().st_size <= MOST_PICTURE_BYTES:
        data = base64.b64encode(path.read_bytes()).decode()
        return types.ImageContent(data=data, mime_type=kind)
    return types.ResourceLink(name=name, uri=path.absolute().as_uri(), mime_type=kind)


async def serve_on_stdio(server: Server[Any]) -> None:
    """Serve one client until it closes our stdin. What else prints goes to stderr meanwhile."""
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


async def serve_on_http(
    server: Server[Any], port: int, configured: SecretStr | None, report: Callable[[str], None]
) -> None:
    """Serve clients at `/mcp` of a port of the loopback until a signal ends us.

    Where no token is configured, one is made, and `report` gets the only line that shows it.

    Raises:
        ConfigError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port} cannot be used: {error.strerror}") from error
        app = server.streamable_http_app()
        token = configured.get_secret_value() if configured else new_token()
        app.add_middleware(BearerOnly, token=token)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        report(f"serving at {address}")
        entry = client_entry(address, CONFIGURED if configured else token)
        report(f"for a client's mcp.json: {entry}")
        settings = uvicorn.Config(app, log_level="warning", lifespan="on", ws="none")
        await uvicorn.Server(settings).serve(sockets=[listener])
