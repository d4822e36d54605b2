"""A child process that is sent lines and says lines.

Covered: it leaves with its whole group, also from a call that is cancelled; what it prints stays
off the terminal, and so do the terminal's signals off it.
Not covered: what a line says, and how long it may take.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress

TAIL_BYTES = 4096
EXIT_LIMIT_S = 2.0


class ProcessEnded(Exception):
    """The child ended where it should have said a line; `status` is negative for a signal."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it ended with exit status {status}")
        self.status = status


class LineTooLong(Exception):
    """The child said more than a line may hold."""


class LineProcess:
    """One child. It leads a process group, to which its own children belong."""

    def __init__(self, process: asyncio.subprocess.Process, limit: int) -> None:
        self._process = process
        self._limit = limit
        self._tail = b""
        self._listening = (
            asyncio.create_task(self._keep_tail(process.stderr)) if process.stderr else None
        )

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        limit: int,
        keeps_tail: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> LineProcess:
        """Start a child. `limit` is the longest line in bytes; `keeps_tail` is of its stderr.

        Raises:
            OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            env=env,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE if keeps_tail else DEVNULL,
            limit=limit,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        return cls(process, limit)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, even where asyncio has not been told yet."""
        if self._process.returncode is not None:
            return True
        try:
            state = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return state is not None

    @property
    def tail(self) -> str:
        """The end of what it wrote to stderr."""
        return self._tail.decode(errors="replace")

    async def send(self, line: bytes) -> None:
        """Send a line; that the child has ended is found when it is read from."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(line + b"\n")
            await self._process.stdin.drain()

    async def receive(self) -> bytes:
        """Return the next line.

        Raises:
            ProcessEnded: there is none.
            LineTooLong: it is longer than the limit.
        """
        assert self._process.stdout is not None
        try:
            return await self._process.stdout.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            raise LineTooLong(f"its reply is longer than {self._limit:,} bytes") from error
        except asyncio.IncompleteReadError as error:
            raise ProcessEnded(await self._exited(EXIT_LIMIT_S)) from error

    async def finish(self, limit_s: float) -> None:
        """Close its input, give it so long to end by itself, and end it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._exited(limit_s)

    def kill(self) -> None:
        """End the child and its children at once, whatever they are doing."""
        if self._process.returncode is None:
            # Not `process.kill()`, which may reap the child before asyncio and lose its status.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill the child and wait until the system has let go of it."""
        self.kill()
        await self._process.wait()
        if self._listening is not None:
            await self._listening

    async def _exited(self, limit_s: float) -> int:
        """Return its exit status, once it has ended by itself or was killed at the limit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._process.wait()
        await self.end()
        return await self._process.wait()

    async def _keep_tail(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(TAIL_BYTES):
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]
