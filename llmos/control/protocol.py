"""What a kernel and another terminal say to each other: one JSON request a line, one reply a line.

A reply to `Follow` is `Done` and then one `JournalEvent` a line. Knows neither kernel nor sockets,
but for where these lie and who is at their other end.

Covered: another user cannot connect (folder 0700, socket 0600, and the peer's user is compared).
Not covered: other programs of the same user.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from llmos_kernel.journal import JournalEvent
from llmos_kernel.process import ProcessState, Signal

MAX_LINE = 64 * 1024


class Line(BaseModel):
    """One line in either direction."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ListProcesses(Line):
    """Ask for all processes of the kernel."""

    do: Literal["list"] = "list"


class SendSignal(Line):
    """Signal a process."""

    do: Literal["signal"] = "signal"
    pid: int
    signal: Signal


class Renice(Line):
    """Change a process's share of the model."""

    do: Literal["renice"] = "renice"
    pid: int
    nice: int


class Fork(Line):
    """Make a process with the past of another, up to its event `at` or all."""

    do: Literal["fork"] = "fork"
    pid: int
    at: int | None = None


class Follow(Line):
    """Ask for a process's events from now on, until it ends."""

    do: Literal["follow"] = "follow"
    pid: int


Request: TypeAlias = ListProcesses | SendSignal | Renice | Fork | Follow
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="do")])


class Done(Line):
    """What was asked is done."""

    status: Literal["done"] = "done"


class Forked(Line):
    """A process was forked; `pid` is the new one's."""

    status: Literal["forked"] = "forked"
    pid: int


class LiveProcess(Line):
    """A process as its kernel sees it."""

    pid: int
    parent: int | None
    state: ProcessState
    nice: int
    num_tokens: int
    cache_share: float


class Processes(Line):
    """All processes of a kernel."""

    status: Literal["processes"] = "processes"
    processes: list[LiveProcess]


class Refused(Line):
    """What was asked is not done. `is_usage`: the request itself was wrong."""

    status: Literal["refused"] = "refused"
    error: str
    is_usage: bool = False


Reply: TypeAlias = Done | Forked | Processes | Refused
REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="status")])
EVENT: TypeAdapter[JournalEvent] = TypeAdapter(JournalEvent)


def control_folder(home: Path) -> Path:
    """Return where the kernels of a state folder have their sockets."""
    return home / "run"


@contextmanager
def short_path(path: Path) -> Generator[str]:
    """Give a path to the same file that a socket address, 108 bytes at most, can hold."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def peer_user(connection: socket.socket) -> int:
    """Return the user id of the process at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = struct.unpack("3i", credentials)
    return user
