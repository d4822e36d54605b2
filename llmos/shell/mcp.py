"""`llmos mcp`: lists the servers of others, and serves our tools."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.table import Table

from llmos.boot import workspace_path
from llmos.cli import INTERRUPTED
from llmos.config import Settings, home_path, load_settings
from llmos.mcp.client import INSTALL, configured_servers, refreshed, state_folder
from llmos.mcp.config import Server
from llmos.mcp.listing import ListingCache, SchemaRefused, grammar_problem, spec_of
from llmos.model_host import ModelHost
from llmos.plugins import plugin_tools
from llmos.shell.starting import report
from llmos_kernel.errors import ConfigError
from llmos_kernel.policy import approve_all, deny_all

console = Console(highlight=False, markup=False, emoji=False)


def print_servers(*, is_refreshed: bool, as_json: bool) -> None:
    """Print the configured servers, what is known of each, and its tools.

    Refreshed, all servers are started and asked anew; else none is.
    """
    settings = load_settings()
    servers = configured_servers(settings.mcp, report)
    if is_refreshed:
        asyncio.run(_refresh(servers))
    rows = [_row(server) for server in servers]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
    elif rows:
        console.print(_table(rows))
    else:
        print(f"no servers; list them in {settings.mcp.path}")


async def _refresh(servers: Sequence[Server]) -> None:
    folder = state_folder(home_path())
    await asyncio.gather(*(refreshed(server, folder, report) for server in servers))


def _row(server: Server) -> dict[str, Any]:
    tools = ListingCache(state_folder(home_path())).load(server)
    notes: dict[str, str] = {}
    names: list[str] = []
    for tool in tools or []:
        try:
            spec = spec_of(server, tool)
        except SchemaRefused as error:
            notes[tool.name] = f"left out: {error}"
            continue
        names.append(spec.name)
        if problem := grammar_problem(spec):
            notes[spec.name] = f"checked only once it is written: {problem}"
    return {
        "name": server.name,
        "reached": server.address,
        "state": "not asked yet" if tools is None else "known",
        "effects": sorted(effect.value for effect in server.effects),
        "tools": names,
        "notes": notes,
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("server", "reached by", "its tools are", "tools", box=None, pad_edge=False)
    for row in rows:
        notes = [f"({name}: {note})" for name, note in row["notes"].items()]
        table.add_row(row["name"], row["reached"], row["state"], "\n".join([*row["tools"], *notes]))
    return table


def serve(names: Sequence[str], *, port: int | None, is_allowed: bool) -> None:
    """Serve the installed tools, or those named, until the client or a signal ends it.

    Raises:
        ConfigError: there is no such tool, the port is taken, or the library is not installed.
    """
    if find_spec("mcp") is None:
        raise ConfigError(f"the library of the protocol is not installed: {INSTALL}")
    asyncio.run(_serve(load_settings(), names, port=port, is_allowed=is_allowed))


async def _serve(
    settings: Settings, names: Sequence[str], *, port: int | None, is_allowed: bool
) -> None:
    from llmos.mcp.server import chosen, opened_gate, serve_on_http, serve_on_stdio, server_over

    models = ModelHost(settings.models)
    drivers = chosen(plugin_tools(settings, models, report), names)
    approve = approve_all if is_allowed else deny_all
    async with AsyncExitStack() as stack:
        stack.push_async_callback(models.close)
        gate = await stack.enter_async_context(opened_gate(drivers, home_path(), approve))
        server = server_over(gate, workspace_path(home_path()))
        work = (
            serve_on_stdio(server)
            if port is None
            else serve_on_http(server, port, settings.mcp.serve_token, report)
        )
        serving = asyncio.create_task(work)
        await _ended_or_signalled(serving)
    if not serving.done():
        # A thread of the library may wait for a line on stdin, and nothing else can end it.
        os._exit(INTERRUPTED)
    await serving


async def _ended_or_signalled(work: asyncio.Task[None]) -> None:
    """Wait for the end of some work, or for Ctrl-C or SIGTERM."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled.set)
    waiting = asyncio.create_task(signalled.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
