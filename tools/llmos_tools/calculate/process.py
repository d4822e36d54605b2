"""The worker process as its parent sees it: start it, ask it, end it.

Covered: time, memory and crashes of an evaluation, since it runs in a child that can be killed.
Not covered: what an evaluation may mean; that is the parser's matter (see `evaluation`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from llmos.line_process import LineProcess, LineTooLong, ProcessEnded
from llmos_tools.calculate.limits import LONGEST_REPLY, START_LIMIT_S

COMMAND = (sys.executable, "-P", "-m", "llmos_tools.calculate.worker")


class WorkerGone(Exception):
    """The process ended, or did not start; its place must be taken by another."""


class WorkerProcess:
    """One child that reads an expression a line and answers a line, both JSON."""

    def __init__(self, process: LineProcess) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> WorkerProcess:
        """Start a child and return it once it has imported sympy. Cancelling ends the child.

        Raises:
            WorkerGone: it ended, or was not ready in time.
        """
        try:
            process = await LineProcess.start(COMMAND, env=_environment(), limit=LONGEST_REPLY)
        except OSError as error:
            raise WorkerGone(f"{COMMAND[0]!r}: {error.strerror}") from error
        worker = cls(process)
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await worker._read()
        except BaseException as error:
            await worker.end()
            if isinstance(error, TimeoutError):
                raise WorkerGone(f"it is not ready after {START_LIMIT_S:g} s") from error
            raise
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Tell a process that died while nobody asked it anything."""
        return self._process.has_ended

    async def ask(self, expression: str) -> dict[str, str]:
        """Evaluate an expression. After a cancelled call the process must be ended.

        Raises:
            WorkerGone: the process ended instead of answering.
        """
        await self._process.send(json.dumps({"expression": expression}).encode())
        return json.loads(await self._read())

    async def _read(self) -> bytes:
        try:
            return await self._process.receive()
        except (LineTooLong, ProcessEnded) as error:
            raise WorkerGone(str(error)) from error

    def kill(self) -> None:
        """End the process at once, whatever it is doing."""
        self._process.kill()

    async def end(self) -> None:
        """Kill the process and wait until the system has let go of it."""
        await self._process.end()


def _environment() -> dict[str, str]:
    """Return what the child needs to import this package; nothing else of ours reaches it."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return {
        "PYTHONPATH": paths,
        "PYTHONHASHSEED": "0",
        "PYTHONIOENCODING": "utf-8",
        # A pool of threads for each core would use up the address space on large machines.
        "OPENBLAS_NUM_THREADS": "1",
    }
