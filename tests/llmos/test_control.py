"""The control socket: who may connect, and what becomes of bad requests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from llmos.boot import BootOptions, booted
from llmos.config import load_settings
from llmos.control import server
from llmos.control.client import live_processes
from llmos.control.protocol import MAX_LINE, Follow
from llmos_kernel.engine.fake import Gate
from llmos_kernel.errors import StateError
from llmos_kernel.kernel import Kernel

NOBODY = 65534
SetReplies = Callable[..., None]


@pytest.fixture(autouse=True)
def open_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder that others can reach, but for what llmos itself closes."""
    folder = Path(tempfile.mkdtemp(prefix="llmos-test-"))
    folder.chmod(0o755)
    monkeypatch.setenv("LLMOS_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    yield folder
    shutil.rmtree(folder)


@pytest_asyncio.fixture
async def kernel(fake_model: SetReplies) -> AsyncIterator[Kernel]:
    """A kernel whose process 1 has begun to answer and does not go on."""
    gate = Gate()
    fake_model({1: [("One", gate)]})
    async with booted(load_settings(), BootOptions()) as kernel:
        kernel.spawn("count")
        await gate.reached.wait()
        yield kernel


def socket_path(home: Path) -> Path:
    return home / "run" / f"{os.getpid()}.sock"


async def exchange(home: Path, sent: bytes, *, is_eof: bool = False) -> list[Any]:
    """Send bytes to the kernel and return all that it replies until it hangs up."""

    def converse() -> bytes:
        received = b""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(socket_path(home)))
            with suppress(ConnectionError):  # it hangs up on one who says too much
                connection.sendall(sent)
            if is_eof:
                connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while piece := connection.recv(1 << 16):
                    received += piece
        return received

    return [json.loads(line) for line in (await asyncio.to_thread(converse)).splitlines()]


async def test_only_its_owner_can_see_or_reach_the_socket(kernel: Kernel, open_home: Path) -> None:
    path = socket_path(open_home)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_ISSOCK(path.stat().st_mode)


def as_nobody(path: Path) -> str:
    """Connect as another user, in a process of its own; return what comes of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(str(path))
                with suppress(BrokenPipeError):  # refused already
                    connection.sendall(b'{"do": "signal", "pid": 1, "signal": "kill"}\n')
                os.write(writing, connection.recv(10_000))
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_cannot_connect(kernel: Kernel, open_home: Path) -> None:
    path = socket_path(open_home)
    assert await asyncio.to_thread(as_nobody, path) == "PermissionError"
    path.parent.chmod(0o777)
    path.chmod(0o777)
    reply = json.loads(await asyncio.to_thread(as_nobody, path))
    assert reply["status"] == "refused"
    assert f"you are uid {NOBODY}" in reply["error"]
    assert 1 in kernel.processes


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_a_folder_of_another_user_is_refused(open_home: Path, fake_model: SetReplies) -> None:
    fake_model({})
    (open_home / "run").mkdir()
    os.chown(open_home / "run", NOBODY, NOBODY)
    with pytest.raises(StateError, match="belongs to another user"):
        async with booted(load_settings(), BootOptions()):
            pass


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"\n", "the line"),
        (b"nonsense\n", "the line"),
        (b"{}\n", "do"),
        (b'{"do": "reboot"}\n', "reboot"),
        (b'{"do": "list", "further": 1}\n', "list.further"),
        (b'{"do": "signal", "pid": "1", "signal": "kill"}\n', "signal.pid"),
        (b'{"do": "signal", "pid": 1, "signal": "hup"}\n', "signal.signal"),
        (b'{"do": "signal", "pid": 1}\n', "signal.signal: Field required"),
        (b'{"do": "fork", "pid": 1, "at": 0.5}\n', "fork.at"),
        (b"\xff\xfe\n", "the line"),
        (b"[" * 60_000 + b"\n", "the line"),
        (b" " * (MAX_LINE + 1) + b"\n", "at most 65536 bytes"),
        (b"x" * (4 * MAX_LINE), "at most 65536 bytes"),
    ],
)
async def test_a_bad_request_gets_one_refusal_and_harms_nothing(
    kernel: Kernel, open_home: Path, sent: bytes, problem: str
) -> None:
    (reply,) = await exchange(open_home, sent)
    assert (reply["status"], reply["is_usage"]) == ("refused", True)
    assert problem in reply["error"]
    (listed,) = await exchange(open_home, b'{"do": "list"}\n')
    assert [process["pid"] for process in listed["processes"]] == [1]


async def test_one_connection_is_one_request(kernel: Kernel, open_home: Path) -> None:
    assert len(await exchange(open_home, b'{"do": "list"}\n{"do": "list"}\n')) == 1


async def test_a_client_that_hangs_up_without_a_request_gets_nothing(
    kernel: Kernel, open_home: Path
) -> None:
    assert await exchange(open_home, b'{"do": "list"}', is_eof=True) == []


async def test_a_silent_client_is_dropped(
    kernel: Kernel, open_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 0.05)
    assert await exchange(open_home, b'{"do": ') == []


async def test_a_follower_that_never_reads_is_dropped_and_the_kernel_ends(
    kernel: Kernel, open_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_WAITING_EVENTS", 50)
    monkeypatch.setattr(server, "GOODBYE_TIMEOUT_S", 0.1)
    reader, writer = await asyncio.open_unix_connection(socket_path(open_home))
    writer.write(Follow(pid=1).model_dump_json().encode() + b"\n")
    assert json.loads(await reader.readline()) == {"status": "done"}
    for _ in range(200):
        kernel.send(1, "x" * 1000)
    async with asyncio.timeout(20):
        lines = (await reader.read()).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["message"] * 50
    writer.close()


async def test_followers_see_a_process_to_its_end_when_the_kernel_ends(
    fake_model: SetReplies, open_home: Path
) -> None:
    fake_model({1: [(Gate(),)]})
    async with booted(load_settings(), BootOptions()) as kernel:
        kernel.spawn("count")
        reader, writer = await asyncio.open_unix_connection(socket_path(open_home))
        writer.write(b'{"do": "follow", "pid": 1}\n')
        await reader.readline()
    events = [json.loads(line) for line in (await reader.read()).splitlines()]
    assert events[-1]["body"] == {"state": "ZOMBIE", "exit": "interrupted"}
    assert not list((open_home / "run").iterdir())
    writer.close()


async def test_a_socket_lies_anywhere_and_one_host_process_runs_several_kernels(
    fake_model: SetReplies, open_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = open_home / ("deep" * 25) / ("folder" * 5)
    monkeypatch.setenv("LLMOS_HOME", str(deep))
    fake_model({pid: [(Gate(),)] for pid in (1, 2)})
    first, second = BootOptions(), BootOptions()
    async with booted(load_settings(), first) as one, booted(load_settings(), second) as other:
        one.spawn("count")
        other.spawn("count")
        assert sorted(await asyncio.to_thread(live_processes, deep)) == [1, 2]


def test_the_socket_of_a_dead_kernel_is_removed_when_seen(open_home: Path) -> None:
    (open_home / "run").mkdir()
    stale = open_home / "run" / "4194305.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    assert live_processes(open_home) == {}
    assert not stale.exists()
