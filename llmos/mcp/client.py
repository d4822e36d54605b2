"""Servers of others as tools: each tool of a server is the driver `mcp__server__tool`.

Which tools there are is known from the last start of a server, so most starts of llmos start none.
Covered: a server's annotations are not read, its tools have all effects unless the user's file
says otherwise; children write to logs, not to the terminal. Not covered: what a server does on
this machine: it runs as the user.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from llmos.config import McpSettings
from llmos.mcp.config import Server, read_servers
from llmos.mcp.connection import Connection, connected, start_problem
from llmos.mcp.listing import ListedTool, ListingCache, SchemaRefused, spec_of
from llmos.mcp.results import ResultReader
from llmos.sdk import CallContext, Output
from llmos_kernel.abi import JsonObject, ToolSpec
from llmos_kernel.errors import ConfigError
from llmos_kernel.syscalls import OwnedDriver

Report = Callable[[str], None]
INSTALL = "pip install 'llmos[mcp]'"


@dataclass(frozen=True, slots=True)
class McpTool:
    """One tool of a server. Tools of one server share its connection."""

    spec: ToolSpec
    name: str
    connection: Connection

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        """Run one call; see `llmos_kernel.abi.Driver`."""
        result = await self.connection.call(self.name, arguments)
        return ResultReader(context.workspace, self.name).read(result)

    async def close(self) -> None:
        """End the connection, for all tools of the server."""
        await self.connection.close()


def state_folder(home: Path) -> Path:
    """Return the folder of tool lists and logs."""
    return home / "mcp"


def configured_servers(settings: McpSettings, report: Report) -> list[Server]:
    """Return the servers of the configured file, none where there is no file.

    Raises:
        ConfigError: the file was named and is missing, or is wrong.
    """
    if not settings.path.is_file():
        if settings.file is not None:
            raise ConfigError(f"there is no file {settings.file!r}; the setting mcp.file names it")
        return []
    if find_spec("mcp") is None:
        report(f"{settings.path} is not used: {INSTALL}")
        return []
    return read_servers(settings.path, os.environ, report)


async def mcp_tools(settings: McpSettings, home: Path, report: Report) -> list[OwnedDriver]:
    """Return the tools of all configured servers; start those whose tools are not known yet.

    `report` gets one line for each server and each tool that is left out.

    Raises:
        ConfigError: as `configured_servers`.
    """
    folder = state_folder(home)
    servers = configured_servers(settings, report)
    listings = await asyncio.gather(*(known_tools(server, folder, report) for server in servers))
    return [
        driver
        for server, tools in zip(servers, listings, strict=True)
        for driver in _drivers(server, tools, folder, report)
    ]


async def known_tools(server: Server, folder: Path, report: Report) -> list[ListedTool]:
    """Return a server's tools from its last start, or start it to ask; none where that fails."""
    cache = ListingCache(folder)
    tools = cache.load(server)
    if tools is None and await refreshed(server, folder, report):
        tools = cache.load(server)
    return tools or []


async def refreshed(server: Server, folder: Path, report: Report) -> bool:
    """Start a server, keep what it lists, end it, and return whether it could be started."""
    try:
        async with connected(server, folder, on_lost=lambda: None):
            return True
    except Exception as error:  # a server may fail in any way; the others go on
        report(start_problem(server, folder, error))
        return False


def _drivers(
    server: Server, tools: list[ListedTool], folder: Path, report: Report
) -> list[OwnedDriver]:
    connection = Connection(server, folder)
    drivers: list[OwnedDriver] = []
    for tool in tools:
        owner = f"the tool {tool.name!r} of the MCP server {server.name!r}"
        try:
            spec = spec_of(server, tool)
        except SchemaRefused as error:
            report(f"{owner} is left out: {error}")
            continue
        drivers.append(OwnedDriver(McpTool(spec, tool.name, connection), owner))
    return drivers
