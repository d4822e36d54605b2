"""The other terminal's end of the control socket: finds running kernels and asks them. Blocking.

A process that no kernel here runs is looked up in the journal, which is only read, so that the
error says what became of it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from llmos.boot import journal_path
from llmos.control.protocol import (
    EVENT,
    REPLY,
    Done,
    Follow,
    Fork,
    Forked,
    Line,
    ListProcesses,
    LiveProcess,
    Processes,
    Refused,
    control_folder,
    peer_user,
    short_path,
)
from llmos_kernel.errors import ConfigError, LlmosError, StateError
from llmos_kernel.journal import Journal, JournalEvent, ProcessRecord

ANSWER_TIMEOUT_S = 10.0
SOCKET_NAME = re.compile(r"\d+(-\d+)?\.sock")

ReplyLine = TypeVar("ReplyLine", bound=Line)


class KernelSilent(StateError):
    """A running kernel does not answer, or not with anything that can be read."""


def live_processes(home: Path) -> dict[int, LiveProcess]:
    """Return the processes of all running kernels that answer, by pid.

    Raises:
        StateError: the sockets are another user's.
    """
    return {process.pid: process for _, process in _listed(home)}


def tell(home: Path, request: Line, pid: int) -> None:
    """Have the kernel of a process do what a request says.

    Raises:
        LlmosError: no kernel runs the process, or its kernel refuses; the message says why.
    """
    _ask(_socket_of(home, pid), request, Done)


def fork(home: Path, pid: int, at: int | None) -> int:
    """Have the kernel of a process fork it and return the new pid; raises what `tell` raises."""
    return _ask(_socket_of(home, pid), Fork(pid=pid, at=at), Forked).pid


@contextmanager
def followed(home: Path, pid: int) -> Generator[Iterator[JournalEvent]]:
    """Give the events of a process from now on, until it ends or its kernel falls silent.

    Raises: what `tell` raises.
    """
    path = _socket_of(home, pid)
    with _connected(path) as connection, connection.makefile("rb") as lines:
        _exchange(connection, lines, Follow(pid=pid), Done)
        connection.settimeout(None)
        yield _events(lines)


def _events(lines: Iterable[bytes]) -> Iterator[JournalEvent]:
    """Yield events, without the half of one that a kernel was writing as it died."""
    with suppress(ConnectionError):
        for line in lines:
            if line.endswith(b"\n"):
                yield EVENT.validate_json(line)


def absent(home: Path, pid: int) -> StateError:
    """Return the error that says what became of a process that no kernel here runs.

    Raises:
        StateError: there never was one of this pid.
    """
    record = record_of(home, pid)
    if record.exit_status is not None:
        return StateError(
            f"process {pid} has ended ({record.exit_status}); `llmos strace {pid}` shows what it "
            f"did, `llmos fork {pid}` goes on from there"
        )
    if record.is_kernel_alive:
        return KernelSilent(
            f"the kernel of process {pid} (host process {record.kernel_pid}) does not answer; "
            "try again, or end that host process"
        )
    return StateError(
        f"the kernel of process {pid} is gone; `llmos resume {pid}` lets the process go on"
    )


def record_of(home: Path, pid: int) -> ProcessRecord:
    """Return what the journal knows of a process.

    Raises:
        StateError: there never was one of this pid.
    """
    with closing(Journal(journal_path(home), is_read_only=True)) as journal:
        return journal.process(pid)


def _socket_of(home: Path, pid: int) -> Path:
    for path, process in _listed(home):
        if process.pid == pid:
            return path
    raise absent(home, pid)


def _listed(home: Path) -> Iterator[tuple[Path, LiveProcess]]:
    """Yield the processes of all kernels that answer, each with its kernel's socket."""
    for path in _sockets(control_folder(home)):
        try:
            reply = _ask(path, ListProcesses(), Processes)
        except KernelSilent:
            continue
        for process in reply.processes:
            yield path, process


def _sockets(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if SOCKET_NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise _not_ours(folder) from error


def _not_ours(path: Path) -> StateError:
    return StateError(
        f"{path} is not yours, and only its owner may reach the kernel there; run llmos as that "
        "user, or set LLMOS_HOME to a folder of your own"
    )


def _ask(path: Path, request: Line, expected: type[ReplyLine]) -> ReplyLine:
    with _connected(path) as connection, connection.makefile("rb") as lines:
        return _exchange(connection, lines, request, expected)


@contextmanager
def _connected(path: Path) -> Generator[socket.socket]:
    """Give a connection to a kernel; the socket of a dead one is removed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            with short_path(path) as name:
                connection.connect(name)
        except ConnectionRefusedError as error:
            path.unlink(missing_ok=True)
            raise KernelSilent(f"the kernel at {path} is gone") from error
        except PermissionError as error:
            raise _not_ours(path) from error
        except OSError as error:
            raise KernelSilent(f"the kernel at {path} does not answer ({error})") from error
        if peer_user(connection) != os.geteuid():
            raise _not_ours(path)
        yield connection


def _exchange(
    connection: socket.socket, lines: Iterator[bytes], request: Line, expected: type[ReplyLine]
) -> ReplyLine:
    try:
        connection.sendall(request.model_dump_json().encode() + b"\n")
        reply = REPLY.validate_json(next(lines, b""))
    except (OSError, ValidationError) as error:
        raise KernelSilent("a running kernel does not answer; try again") from error
    if isinstance(reply, Refused):
        raise ConfigError(reply.error) if reply.is_usage else LlmosError(reply.error)
    if not isinstance(reply, expected):
        raise KernelSilent("a running kernel gave another answer than was asked for")
    return reply
