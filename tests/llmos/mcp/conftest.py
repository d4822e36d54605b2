"""Fixtures: servers of others as real processes, described as the mcpServers file describes them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from llmos.mcp.config import Server
from llmos.mcp.connection import BackOff, Connection

SCRIPT = Path(__file__).with_name("servers.py")
BOUND_S = 60.0


class Marks:
    """What the servers note of their lives: pids, a line each."""

    def __init__(self, folder: Path) -> None:
        self.environment = {name: str(folder / name) for name in ("STARTS", "SLOW", "CANCELLED")}

    def pids(self, name: str) -> list[int]:
        path = Path(self.environment[name])
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path)


@pytest.fixture
def piped(marks: Marks) -> Server:
    """A server that runs as a child."""
    environment = marks.environment | {"GREETING": "hello"}
    return Server("tests", command=sys.executable, args=(str(SCRIPT),), env=environment)


@pytest.fixture
def write_servers(home: Path) -> Callable[..., Path]:
    """Return a function that writes the user's mcp.json: an entry for each keyword."""

    def write(**entries: Any) -> Path:
        path = home.parent / "config" / "llmos" / "mcp.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"mcpServers": entries}))
        return path

    return write


@asynccontextmanager
async def opened(
    server: Server, folder: Path, back_off: BackOff | None = None
) -> AsyncGenerator[Connection]:
    connection = Connection(server, folder, back_off=back_off or BackOff(first_s=0.01))
    try:
        yield connection
    finally:
        await connection.close()


async def eventually(claim: Callable[[], bool]) -> None:
    """Wait, within a bound, for what another process does."""
    async with asyncio.timeout(BOUND_S):
        while not claim():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.01)


@pytest.fixture
def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def start_over_http(
    free_port: int, marks: Marks
) -> Generator[Callable[[], Awaitable[subprocess.Popen[bytes]]]]:
    """Return a function that runs the server over HTTP and waits until it listens."""
    running: list[subprocess.Popen[bytes]] = []

    async def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(free_port)],
            env=marks.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        await eventually(lambda: is_listening(free_port))
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def is_listening(port: int) -> bool:
    with closing(socket.socket()) as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
