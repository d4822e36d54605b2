"""Servers of others as tools, over pipes and over HTTP, with their deaths."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from llmos import boot
from llmos.boot import BootOptions, booted, load_renderer
from llmos.config import Settings, load_settings
from llmos.mcp.client import mcp_tools
from llmos.mcp.config import Server
from llmos.mcp.connection import BackOff, Connection
from llmos.mcp.results import ResultReader
from llmos_kernel.abi import CallContext, Output, ToolCall
from llmos_kernel.dispatch import Dispatcher
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.errors import ConfigError, ToolFailed
from llmos_kernel.journal import JournalEvent
from llmos_kernel.policy import approve_all, deny_all, needs_approval
from llmos_kernel.syscalls import SyscallTable
from tests.llmos.mcp.conftest import SCRIPT, Marks, eventually, opened
from tests.llmos.mcp.servers import PNG

WriteServers = Callable[..., Path]


async def output(connection: Connection, workspace: Path, tool: str, **arguments: Any) -> Output:
    return ResultReader(workspace, tool).read(await connection.call(tool, arguments))


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_each_kind_of_result_reaches_the_model(piped: Server, tmp_path: Path) -> None:
    async with opened(piped, tmp_path / "mcp") as connection:
        assert await output(connection, tmp_path, "add", a=17, b=25) == Output("42")
        (tmp_path / "picture-1.png").symlink_to("/etc/nothing")
        drawn = await output(connection, tmp_path, "picture")
        assert drawn == Output("[image saved as picture-2.png]", ("picture-2.png",))
        assert (tmp_path / "picture-2.png").read_bytes() == PNG
        point = (await output(connection, tmp_path, "point")).text
        assert "".join(point.split()) == '{"x":3,"y":4}'
        link = "see there\n[resource report at file:///report.txt: of May]"
        assert (await output(connection, tmp_path, "link")).text == link
        with pytest.raises(ToolFailed, match="the well is dry"):
            await output(connection, tmp_path, "fail")
        with pytest.raises(ToolFailed, match="Unknown tool: absent"):
            await output(connection, tmp_path, "absent")


async def test_a_server_writes_to_its_log_and_ends_with_the_connection(
    piped: Server, marks: Marks, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with opened(piped, tmp_path / "mcp") as connection:
        assert await output(connection, tmp_path, "odd name/é") == Output("hello")
        [pid] = marks.pids("STARTS")
        assert is_alive(pid)
    assert not is_alive(pid)
    assert "a word on stderr" in (tmp_path / "mcp" / "tests.log").read_text()
    assert capfd.readouterr() == ("", "")


async def test_a_server_that_dies_in_a_call_is_started_for_the_next(
    piped: Server, marks: Marks, tmp_path: Path
) -> None:
    async with opened(piped, tmp_path / "mcp") as connection:
        with pytest.raises(ToolFailed, match=r"'tests' was lost during the call .*may or may not"):
            await connection.call("die", {})
        assert await output(connection, tmp_path, "add", a=1, b=2) == Output("3")
        first, second = marks.pids("STARTS")
        os.kill(second, signal.SIGKILL)
        await eventually(lambda: not is_alive(second) and not connection.is_open)
        assert await output(connection, tmp_path, "add", a=2, b=2) == Output("4")
    assert first != second
    assert len(marks.pids("STARTS")) == 3


async def test_a_server_that_never_starts_is_left_alone_after_some_attempts(
    tmp_path: Path,
) -> None:
    server = Server("dead", command="false")
    async with opened(server, tmp_path, BackOff(first_s=0.001, most=3)) as connection:
        for _ in range(3):
            with pytest.raises(ToolFailed, match=r"'dead' \('false'\) could not be started"):
                await connection.call("add", {})
        with pytest.raises(ToolFailed, match=r"failed 3 times in a row .* see .*dead\.log"):
            await connection.call("add", {})


async def test_a_slow_tool_is_told_that_its_call_was_cancelled(
    piped: Server, marks: Marks, tmp_path: Path
) -> None:
    async with opened(piped, tmp_path / "mcp") as connection:
        call = asyncio.create_task(connection.call("slow", {}))
        await eventually(lambda: bool(marks.pids("SLOW")))
        assert await output(connection, tmp_path, "add", a=1, b=1) == Output("2")
        call.cancel()
        await eventually(lambda: bool(marks.pids("CANCELLED")))
        assert await output(connection, tmp_path, "add", a=1, b=2) == Output("3")
    assert len(marks.pids("STARTS")) == 1


async def test_a_server_over_http_is_called_and_found_again(
    start_over_http: Callable[[], Awaitable[Popen[bytes]]], free_port: int, tmp_path: Path
) -> None:
    server = Server("far", url=f"http://127.0.0.1:{free_port}/mcp", headers={"X-Key": "k"})
    async with opened(server, tmp_path / "mcp") as connection:
        with pytest.raises(ToolFailed, match="'far' cannot be reached at 'http://127"):
            await connection.call("add", {})
        process = await start_over_http()
        assert await output(connection, tmp_path, "add", a=20, b=3) == Output("23")
        process.kill()
        process.wait()
        with pytest.raises(ToolFailed, match="'far' was lost during the call"):
            await connection.call("add", {"a": 1, "b": 1})
        await start_over_http()
        assert await output(connection, tmp_path, "add", a=20, b=4) == Output("24")


async def test_tools_are_known_from_the_last_start_and_called_through_dispatch(
    home: Path, marks: Marks, write_servers: WriteServers
) -> None:
    entry = {"command": sys.executable, "args": [str(SCRIPT)], "env": marks.environment}
    write_servers(tests=entry | {"llmos": {"timeout_s": 20}})
    lines: list[str] = []
    await mcp_tools(load_settings().mcp, home, lines.append)
    table = SyscallTable(await mcp_tools(load_settings().mcp, home, lines.append))
    assert len(marks.pids("STARTS")) == 1
    assert "mcp__tests__odd_name__" in {spec.name for spec in table.specs}
    driver = table.check("mcp__tests__add", {"a": 5, "b": 6})
    assert needs_approval(driver.spec)
    call = ToolCall("call_0", driver.spec.name, {"a": 5, "b": 6})
    dispatcher = Dispatcher(table.specs, lambda data: "")
    result = await dispatcher.run(driver, call, CallContext(1, home), lambda: None)
    assert (result.status, result.text) == ("ok", "11")
    assert len(marks.pids("STARTS")) == 2
    await table.close()
    assert lines == []


async def test_a_process_calls_a_server_when_the_user_says_yes(
    home: Path, marks: Marks, write_servers: WriteServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"command": sys.executable, "args": [str(SCRIPT)], "env": marks.environment}
    write_servers(tests=entry)
    monkeypatch.setenv("LLMOS_TOOLS__DISABLED", '["mcp__tests__die", "mcp__away__tool"]')

    def load_model(settings: Settings, **_: Any) -> Any:
        renderer = load_renderer(settings)
        call = '{"name": "mcp__tests__add", "arguments": {"a": 40, "b": 2}}'
        assert renderer.call_open_id is not None
        assert renderer.call_close_id is not None
        ids = [renderer.call_open_id, *renderer.content_ids(call), renderer.call_close_id]
        says = [[*ids, renderer.stop_id], [*renderer.content_ids("Done."), renderer.stop_id]]
        return renderer, FakeEngine(by_pid={1: says, 2: says})

    monkeypatch.setattr(boot, "load_model", load_model)
    events: list[JournalEvent] = []
    for approve in (deny_all, approve_all):
        options = BootOptions(approve=approve, on_event=events.append)
        async with booted(load_settings(), options) as kernel:
            assert await kernel.wait(kernel.spawn("Add 40 and 2.").pid) == "Done."
    results = [event.body for event in events if event.kind == "tool_result"]
    assert [result["status"] for result in results] == ["denied", "ok"]
    assert results[1]["text"] == "42"
    assert len(marks.pids("STARTS")) == 2


async def test_a_server_that_cannot_start_is_reported_and_stops_no_other(
    home: Path, marks: Marks, write_servers: WriteServers
) -> None:
    write_servers(
        absent={"command": "no-such-command"},
        tests={"command": sys.executable, "args": [str(SCRIPT)], "env": marks.environment},
    )
    lines: list[str] = []
    found = await mcp_tools(load_settings().mcp, home, lines.append)
    assert "mcp__tests__add" in {owned.driver.spec.name for owned in found}
    assert len(lines) == 1
    assert "'absent' ('no-such-command') could not be started" in lines[0]


async def test_two_tools_of_one_name_are_an_error_that_names_both(
    home: Path, marks: Marks, write_servers: WriteServers
) -> None:
    entry = {"command": sys.executable, "args": [str(SCRIPT)], "env": marks.environment}
    write_servers(**{"a.b": entry, "a_b": entry})
    found = await mcp_tools(load_settings().mcp, home, lambda line: None)
    with pytest.raises(ConfigError, match=r"of the MCP server 'a\.b', .* of the MCP server 'a_b'"):
        SyscallTable(found)


async def test_without_a_file_there_are_no_servers_and_a_named_file_must_be_there(
    home: Path,
) -> None:
    assert await mcp_tools(load_settings().mcp, home, lambda line: None) == []
    with pytest.raises(ConfigError, match=r"there is no file '/no/mcp\.json'; the setting mcp"):
        await mcp_tools(load_settings(mcp={"file": "/no/mcp.json"}).mcp, home, lambda line: None)


def test_the_library_of_the_protocol_loads_only_when_a_server_is_needed() -> None:
    code = "import sys, llmos.mcp.client, llmos.shell.mcp; print('mcp' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert printed == b"False\n"
