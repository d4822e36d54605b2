"""Our tools, as a client of the protocol's own library sees them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent

from llmos import CallContext, Output, tool
from llmos.boot import journal_path
from llmos.config import load_settings
from llmos.mcp.client import mcp_tools
from llmos.mcp.config import Server
from llmos.mcp.server import CallGate, opened_gate, serve_on_http, server_over
from llmos.sdk import Label, tools_of
from llmos_kernel.journal import Journal
from llmos_kernel.policy import Approver, approve_all, deny_all
from llmos_kernel.syscalls import OwnedDriver
from tests.llmos.conftest import Cli
from tests.llmos.mcp.conftest import BOUND_S, SCRIPT, Marks, eventually, is_listening, opened

PNG = b"\x89PNG\r\n\x1a\n"
begun = asyncio.Event()
ended = asyncio.Event()


@tool
def launch() -> str:
    """Have every effect."""
    return "launched"


@tool(effects=[], max_output_chars=10)
def long_text() -> str:
    """Say more than may be shown."""
    return "x" * 50


@tool(effects=[], timeout_s=0.05)
async def endless() -> str:
    """Take longer than it may."""
    await asyncio.Event().wait()
    return "never"


@tool(effects=[])
async def patient() -> str:
    """Wait until the call is cancelled."""
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()
    return "never"


@tool(effects=[])
def make_files(context: CallContext) -> Output:
    """Make a picture, a link that looks like one, and a text."""
    (context.workspace / "a.png").write_bytes(PNG)
    (context.workspace / "b.png").symlink_to("/etc/hostname")
    (context.workspace / "c.txt").write_text("c")
    return Output("made", ("a.png", "b.png", "c.txt"))


@tool(effects=[])
def known() -> Output:
    """Say what nothing from outside is in."""
    return Output("known", label=Label.TRUSTED)


@asynccontextmanager
async def client_of_ours(home: Path, approve: Approver = deny_all) -> AsyncGenerator[Client]:
    tools = [launch, long_text, endless, patient, make_files, known]
    drivers = [OwnedDriver(driver, "the test") for each in tools for driver in tools_of(each)]
    async with opened_gate(drivers, home, approve) as gate, connected(gate, home) as client:
        yield client


@asynccontextmanager
async def connected(gate: CallGate, home: Path) -> AsyncGenerator[Client]:
    async with Client(server_over(gate, home / "workspace")) as client:
        yield client


def text_of(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_an_effect_needs_a_yes(home: Path) -> None:
    async with client_of_ours(home) as client:
        denied = await client.call_tool("launch", {})
        assert denied.is_error
        assert "launch was not allowed; `llmos mcp serve --yes`" in text_of(denied)
    async with client_of_ours(home, approve_all) as client:
        assert text_of(await client.call_tool("launch", {})) == "launched"


async def test_limits_hold_for_calls_from_outside(home: Path) -> None:
    async with client_of_ours(home) as client:
        cut = text_of(await client.call_tool("long_text", {}))
        assert cut.startswith("x" * 10 + "\n[cut: 50 characters in all")
        late = await client.call_tool("endless", {})
        assert late.is_error
        assert text_of(late) == "error: endless was stopped after 0.05 s"
        wrong = await client.call_tool("launch", {"fuel": 1})
        assert wrong.is_error
        assert "'fuel' was unexpected" in text_of(wrong)
        with pytest.raises(MCPError, match="there is no tool 'lunch'"):
            await client.call_tool("lunch", {})


async def test_pictures_are_sent_and_other_files_are_named(home: Path) -> None:
    async with client_of_ours(home) as client:
        _, picture, link, text = (await client.call_tool("make_files", {})).content
    assert isinstance(picture, ImageContent)
    assert isinstance(link, ResourceLink)
    assert isinstance(text, ResourceLink)
    assert (picture.mime_type, link.name, text.name) == ("image/png", "b.png", "c.txt")


async def test_a_result_is_journalled_whole(home: Path) -> None:
    async with client_of_ours(home) as client:
        for name in ("make_files", "long_text", "known"):
            await client.call_tool(name, {})
    made, cut, known = [event for event in journalled(home) if event["event"] == "tool_result"]
    assert made["files"] == ["a.png", "b.png", "c.txt"]
    assert cut["blob"] == sha256(b"x" * 50).hexdigest()
    assert "label" not in cut
    assert known["label"] == "trusted"


async def test_a_call_that_its_client_gives_up_is_cancelled_and_journalled(home: Path) -> None:
    begun.clear()
    ended.clear()
    async with client_of_ours(home) as client:
        call = asyncio.create_task(client.call_tool("patient", {}))
        await asyncio.wait_for(begun.wait(), 20)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 20)
    events = journalled(home)
    assert [(event["event"], event.get("status")) for event in events] == [
        ("tool_call", None),
        ("tool_result", "cancelled"),
        ("state", None),
    ]


def journalled(home: Path) -> list[dict[str, Any]]:
    with closing(Journal(journal_path(home), is_read_only=True)) as journal:
        return [event.as_json() for event in journal.events(1)]


async def test_the_installed_tools_are_served_over_pipes(home: Path) -> None:
    words = ["mcp", "serve", "--tool", "calculate", "--tool", "write_file"]
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "llmos", *words], env=dict(os.environ)
    )
    async with Client(parameters) as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == ["calculate", "write_file"]
        assert listed[0].input_schema["required"] == ["expression"]
        assert text_of(await client.call_tool("calculate", {"expression": "17*24"})) == "408"
        saved = await client.call_tool("write_file", {"path": "a.txt", "content": "hello"})
        assert text_of(saved) == "saved"
        outside = await client.call_tool("write_file", {"path": "../a.txt", "content": ""})
        assert outside.is_error
        assert "outside the workspace" in text_of(outside)
    assert (home / "workspace" / "a.txt").read_text() == "hello"
    kinds = [event["event"] for event in journalled(home)]
    assert kinds == [
        "tool_call", "tool_start", "tool_result",
        "tool_call", "tool_start", "tool_result",
        "tool_call", "tool_start", "tool_result",
        "state",
    ]  # fmt: skip


@asynccontextmanager
async def served_over_http(port: int) -> AsyncGenerator[list[str]]:
    """Run the command for the length of the block; after it, the list holds what it reported."""
    command = [sys.executable, "-m", "llmos", "mcp", "serve", "--tool", "calculate"]
    process = subprocess.Popen(
        [*command, "--http", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    reported: list[str] = []
    try:
        await eventually(lambda: is_listening(port) or process.poll() is not None)
        yield reported
    finally:
        process.terminate()
        printed, errors = process.communicate(timeout=30)
        reported += errors.splitlines()
    assert printed == ""
    assert process.returncode == 130


async def answered(port: int, headers: dict[str, str]) -> httpx2.Response:
    """Ask a server for its tools, without the protocol's library."""
    accepted = {"Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx2.AsyncClient(headers=accepted | headers, timeout=BOUND_S) as client:
        return await client.post(f"http://127.0.0.1:{port}/mcp", json=body)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured token, in the environment of the server as of its client."""
    token = "configured-token_0123"
    monkeypatch.setenv("LLMOS_MCP__SERVE_TOKEN", token)
    return token


async def test_over_http_only_this_machine_with_the_token_is_served(
    home: Path, free_port: int, token: str
) -> None:
    async with served_over_http(free_port) as reported:
        address = f"http://127.0.0.1:{free_port}/mcp"
        async with (
            httpx2.AsyncClient(headers=bearer(token), timeout=BOUND_S) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            assert text_of(await client.call_tool("calculate", {"expression": "6*7"})) == "42"
        for foreign in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            assert (await answered(free_port, bearer(token) | foreign)).status_code in (403, 421)
        strangers = ["", "Bearer", f"Bearer {token}x", f"Bearer {token[:-1]}", token]
        for header in [*strangers, f"Basic {token}", f"Bearer {token}, {token}"]:
            refused = await answered(free_port, {"Authorization": header})
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "send the header 'Authorization: Bearer TOKEN'" in refused.text
        assert (await answered(free_port, {"Authorization": f"bearer  {token}"})).status_code != 401
    entry = '{"url": "%s", "headers": {"Authorization": "Bearer ${LLMOS_MCP__SERVE_TOKEN}"}}'
    assert reported[:2] == [
        f"llmos: serving at {address}",
        """llmos: for a client's mcp.json: {"mcpServers": {"llmos": %s}}""" % (entry % address),
    ]
    assert [event["event"] for event in journalled(home)][-1] == "state"


async def test_a_token_is_made_and_shown_where_none_is_configured(
    home: Path, free_port: int
) -> None:
    async with served_over_http(free_port) as reported:
        assert (await answered(free_port, {})).status_code == 401
    [shown] = [line for line in reported if "mcpServers" in line]
    entry = json.loads(shown.partition("mcp.json: ")[2])["mcpServers"]["llmos"]
    assert re.fullmatch(r"Bearer [\w-]{43}", entry["headers"]["Authorization"])


async def test_a_made_token_opens_the_server_that_showed_it(home: Path, free_port: int) -> None:
    lines: list[str] = []
    gate_of = opened_gate([OwnedDriver(d, "the test") for d in tools_of(launch)], home, approve_all)
    async with gate_of as gate:
        serving = asyncio.create_task(
            serve_on_http(server_over(gate, home), free_port, None, lines.append)
        )
        await eventually(lambda: is_listening(free_port))
        entry = json.loads(lines[1].partition("mcp.json: ")[2])["mcpServers"]["llmos"]
        server = Server("ours", url=entry["url"], headers=entry["headers"])
        async with opened(server, home / "mcp") as connection:
            result = await connection.call("launch", {})
        serving.cancel()
        await asyncio.wait([serving])
    assert text_of(result) == "launched"


async def test_mcp_json_takes_the_token_from_the_environment(
    home: Path, free_port: int, token: str, write_servers: Callable[..., Path]
) -> None:
    address = f"http://127.0.0.1:{free_port}/mcp"
    headers = {"Authorization": "Bearer ${LLMOS_MCP__SERVE_TOKEN}"}
    write_servers(ours={"url": address, "headers": headers}, none={"url": address})
    lines: list[str] = []
    async with served_over_http(free_port):
        drivers = await mcp_tools(load_settings().mcp, home, lines.append)
        assert [owned.driver.spec.name for owned in drivers] == ["mcp__ours__calculate"]
        output = await drivers[0].driver.call({"expression": "6*7"}, CallContext(1, home))
        assert output.text == "42"
        for owned in drivers:
            await owned.driver.close()
    [line] = lines
    assert line.startswith(
        f"the MCP server 'none' cannot be reached at {address!r}: send the header"
    )
    assert "it answered 401 Unauthorized" in (home / "mcp" / "none.log").read_text()


@pytest.mark.parametrize("wrong", ["short", "with a space in the middle", "ünsendable-token-01"])
def test_a_token_that_cannot_be_one_is_an_error_at_start(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("LLMOS_MCP__SERVE_TOKEN", wrong)
    status, _, reported = cli("mcp", "serve", "--http", "0")
    assert status == 2
    assert "the setting 'mcp.serve_token' is wrong" in reported
    assert wrong not in reported


async def test_a_signal_ends_it_though_its_client_says_nothing(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmos", "mcp", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        process.stdin.flush()
        assert process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=30) == 130
    assert [event["event"] for event in journalled(home)] == ["state"]


def test_serving_an_unknown_tool_is_an_error_that_names_the_others(home: Path, cli: Cli) -> None:
    status, printed, reported = cli("mcp", "serve", "--tool", "calculat")
    assert (status, printed) == (2, "")
    assert "there is no tool 'calculat'; the tools are" in reported
    assert " calculate, " in reported


def test_the_list_shows_servers_and_what_is_known_of_them(
    home: Path, cli: Cli, marks: Marks, write_servers: Callable[..., Path]
) -> None:
    assert "no servers; list them in" in cli("mcp", "list")[1]
    write_servers(
        tests={"command": sys.executable, "args": [str(SCRIPT)], "env": marks.environment}
    )
    assert '"state": "not asked yet"' in cli("mcp", "list", "--json")[1]
    assert marks.pids("STARTS") == []
    assert "mcp__tests__add" in cli("mcp", "list", "--refresh")[1]
    assert '"state": "known"' in cli("mcp", "list", "--json")[1]
    assert "mcp__tests__add" in cli("tools")[1]
    assert len(marks.pids("STARTS")) == 1
