"""The kernel's end of the control socket: answers requests, streams events to followers.

Knows of the kernel only what it offers to anyone. A request never harms the kernel: whatever is
wrong with it is one `Refused`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, assert_never

from pydantic import ValidationError

from llmos.control.protocol import (
    EVENT,
    MAX_LINE,
    REQUEST,
    Done,
    Follow,
    Fork,
    Forked,
    Line,
    ListProcesses,
    LiveProcess,
    Processes,
    Refused,
    Renice,
    Request,
    SendSignal,
    peer_user,
    short_path,
)
from llmos_kernel.errors import ConfigError, LlmosError, StateError
from llmos_kernel.journal import JournalEvent
from llmos_kernel.kernel import Kernel
from llmos_kernel.process import ProcessState

REQUEST_TIMEOUT_S = 10.0
GOODBYE_TIMEOUT_S = 2.0
MAX_WAITING_EVENTS = 10_000

Events = asyncio.Queue[JournalEvent | None]


class Followers:
    """Hands a kernel's events to those who follow a process; None ends a queue.

    One that falls too far behind is left to read the journal.
    """

    def __init__(self) -> None:
        self._queues: dict[Events, int] = {}

    def publish(self, event: JournalEvent) -> None:
        """Hand on an event; see `Kernel`'s `on_event`."""
        is_last = event.kind == "state" and event.body["state"] == ProcessState.ZOMBIE
        for queue, pid in list(self._queues.items()):
            if pid != event.pid:
                continue
            if queue.qsize() >= MAX_WAITING_EVENTS:
                self._end(queue)
                continue
            queue.put_nowait(event)
            if is_last:
                self._end(queue)

    def close(self) -> None:
        """End all queues."""
        for queue in list(self._queues):
            self._end(queue)

    def _end(self, queue: Events) -> None:
        queue.put_nowait(None)
        self._queues.pop(queue, None)

    @contextmanager
    def following(self, pid: int) -> Generator[Events]:
        """Give a queue of all events of a process from now on."""
        queue = Events()
        self._queues[queue] = pid
        try:
            yield queue
        finally:
            self._queues.pop(queue, None)


class ControlServer:
    """Serves one kernel at `FOLDER/<host pid>.sock`, from `start` to `close`."""

    def __init__(self, kernel: Kernel, followers: Followers, folder: Path) -> None:
        self._kernel = kernel
        self._followers = followers
        self._folder = folder
        self._path: Path | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()
        self._is_open = True

    async def start(self) -> None:
        """Listen.

        Raises:
            StateError: there can be no socket in the folder.
        """
        try:
            self._make_folder()
            listening = self._listen()
        except OSError as error:
            raise StateError(
                f"{self._folder} cannot hold the kernel's socket ({error.strerror}); mend its "
                "permissions, or set LLMOS_HOME to another folder"
            ) from error
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MAX_LINE)

    def _make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = self._folder.stat().st_uid
        if owner != os.geteuid():
            raise StateError(
                f"{self._folder} belongs to another user (uid {owner}); set LLMOS_HOME to a "
                "folder of your own"
            )
        self._folder.chmod(0o700)

    def _listen(self) -> socket.socket:
        """Return a socket that listens before it can be found: a found one that refuses is dead."""
        listening = socket.socket(socket.AF_UNIX)
        hidden = self._folder / f".{os.getpid()}.{id(self)}"
        try:
            with short_path(hidden) as path:
                listening.bind(path)
            hidden.chmod(0o600)
            listening.listen()
            self._path = self._free_name()
            hidden.rename(self._path)
        except OSError:
            listening.close()
            hidden.unlink(missing_ok=True)
            raise
        return listening

    def _free_name(self) -> Path:
        """Return a name for the socket; this host process may run several kernels."""
        name, number = self._folder / f"{os.getpid()}.sock", 1
        while name.exists() and _is_listening(name):
            number += 1
            name = self._folder / f"{os.getpid()}-{number}.sock"
        return name

    def stop(self) -> None:
        """Refuse all further requests; those who follow go on following."""
        self._is_open = False
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Let followers read to the end, for a bounded time, and end all connections."""
        self.stop()
        self._followers.close()
        if self._server is not None:
            self._server.close()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=GOODBYE_TIMEOUT_S)
            for task in late:
                task.cancel()

    # One connection -----------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the client said nothing, or has gone
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _check_user(writer.get_extra_info("socket"))
            request = await _read_request(reader)
        except LlmosError as error:
            await _send(writer, _refusal(error))
            return
        if not isinstance(request, Follow):
            await _send(writer, self._reply(request))
            return
        with self._followers.following(request.pid) as events:
            reply = self._reply(request)
            await _send(writer, reply)
            if isinstance(reply, Done):
                await _stream(events, reader, writer)

    def _reply(self, request: Request) -> Line:
        try:
            return self._answer(request)
        except LlmosError as error:
            return _refusal(error)
        except Exception as error:  # the boundary of a task: the client gets it, the kernel lives
            return Refused(error=f"the kernel could not do that: {error!r}")

    def _answer(self, request: Request) -> Line:
        if not self._is_open:
            raise LlmosError("this kernel is about to end")
        match request:
            case ListProcesses():
                return Processes(processes=self._live())
            case SendSignal(pid=pid, signal=signal):
                self._kernel.signal(pid, signal)
                return Done()
            case Renice(pid=pid, nice=nice):
                self._kernel.renice(pid, nice)
                return Done()
            case Fork(pid=pid, at=at):
                parent = self._kernel.processes[pid]
                return Forked(pid=self._kernel.fork(parent.pid, at=at).pid)
            case Follow(pid=pid):
                _ = self._kernel.processes[pid]
                return Done()
            case _:
                assert_never(request)

    def _live(self) -> list[LiveProcess]:
        return [
            LiveProcess(
                pid=process.pid,
                parent=process.parent,
                state=process.state,
                nice=process.nice,
                num_tokens=process.num_tokens,
                cache_share=self._kernel.cache_use(process.pid).share,
            )
            for process in self._kernel.processes
        ]


async def _stream(
    events: Events, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send events until there are no more or the client hangs up."""
    hangs_up = asyncio.create_task(reader.read(1))
    hangs_up.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            writer.write(EVENT.dump_json(event) + b"\n")
            await writer.drain()
    finally:
        hangs_up.cancel()


def _refusal(error: LlmosError) -> Refused:
    return Refused(error=str(error), is_usage=isinstance(error, ConfigError))


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, short_path(path) as name:
        try:
            probe.connect(name)
        except OSError:
            return False
    return True


def _check_user(connection: Any) -> None:
    user = peer_user(connection)
    if user != os.geteuid():
        raise LlmosError(f"this kernel belongs to uid {os.geteuid()}, and you are uid {user}")


async def _read_request(reader: asyncio.StreamReader) -> Request:
    """Read a request.

    Raises:
        ConfigError: it is not one.
        TimeoutError: it does not come.
    """
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise ConfigError(f"a request has at most {MAX_LINE} bytes") from None
    try:
        return REQUEST.validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the line"
        raise ConfigError(f"this is no request: {place}: {problem['msg']}") from error


async def _send(writer: asyncio.StreamWriter, line: Line) -> None:
    with suppress(ConnectionError):
        writer.write(line.model_dump_json().encode() + b"\n")
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            await writer.drain()
