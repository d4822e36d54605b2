"""llmos from Python: `LLMOS` for programs that run an event loop, `run` for one task.

A thin face of the kernel: it knows processes by their handles and nothing of how they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from llmos.boot import BootOptions, booted
from llmos.config import Settings, load_settings
from llmos.sdk import tools_of
from llmos_kernel.errors import ConfigError
from llmos_kernel.journal import JournalEvent
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import Approver, deny_all
from llmos_kernel.process import ExitStatus, Process
from llmos_kernel.syscalls import OwnedDriver


class RunningProcess:
    """A task at work. `wait` gives its answer, `events` what happens until it ends."""

    def __init__(self, kernel: Kernel, process: Process, task: str) -> None:
        self.pid = process.pid
        self._events: asyncio.Queue[JournalEvent | None] = asyncio.Queue()
        self._work = asyncio.create_task(_whole_life(kernel, process, task))
        self._work.add_done_callback(lambda _: self._events.put_nowait(None))

    def put(self, event: JournalEvent) -> None:
        self._events.put_nowait(event)

    async def wait(self) -> str:
        """Return the answer.

        Raises:
            LlmosError: the task failed; the message says why.
        """
        return await asyncio.shield(self._work)

    async def events(self) -> AsyncIterator[JournalEvent]:
        """Yield the process's events from its first to its last, once."""
        while (event := await self._events.get()) is not None:
            yield event

    async def cancel(self) -> None:
        """End the process and wait until it has ended."""
        self._work.cancel()
        await asyncio.wait([self._work])


async def _whole_life(kernel: Kernel, process: Process, task: str) -> str:
    try:
        answer = await kernel.turn(process, task)
    except asyncio.CancelledError:
        kernel.finish(process, ExitStatus.INTERRUPTED)
        raise
    except Exception:
        kernel.finish(process, ExitStatus.FAILED)
        raise
    kernel.finish(process, ExitStatus.DONE)
    return answer


class LLMOS:
    """A running system, for the length of an `async with` block.

    `tools` are functions with type hints and a docstring, or classes with tool methods; they are
    added to the installed ones. Without `approve`, calls that need the user's word are denied.
    """

    def __init__(
        self,
        *,
        tools: Sequence[Any] = (),
        model: str | None = None,
        approve: Approver = deny_all,
        settings: Settings | None = None,
    ) -> None:
        if settings is not None and model is not None:
            raise ConfigError("give either settings or a model, not both")
        flags = {"model": {"path": model}} if model is not None else {}
        self._settings = settings or load_settings(**flags)
        drivers = [driver for plugin in tools for driver in tools_of(plugin)]
        self._options = BootOptions(
            tools=[OwnedDriver(driver, "the caller of LLMOS") for driver in drivers],
            approve=approve,
            on_event=self._deliver,
        )
        self._stack = AsyncExitStack()
        self._kernel: Kernel | None = None
        self._running: dict[int, RunningProcess] = {}

    async def __aenter__(self) -> LLMOS:
        self._kernel = await self._stack.enter_async_context(booted(self._settings, self._options))
        return self

    async def __aexit__(self, *_: object) -> None:
        for running in list(self._running.values()):
            await running.cancel()
        await self._stack.aclose()

    async def spawn(self, task: str) -> RunningProcess:
        """Start a task and return at once.

        Raises:
            ConfigError: the task is empty, or the system is not running.
        """
        if self._kernel is None:
            raise ConfigError("use LLMOS in an `async with` block")
        if not task.strip():
            raise ConfigError("the task is empty; say what is to be done")
        process = self._kernel.start(task)
        running = RunningProcess(self._kernel, process, task)
        self._running[process.pid] = running
        return running

    async def run(self, task: str) -> str:
        """Run one task and return its answer.

        Raises:
            LlmosError: the task failed; the message says why.
        """
        running = await self.spawn(task)
        try:
            return await running.wait()
        finally:
            await running.cancel()
            del self._running[running.pid]

    def _deliver(self, event: JournalEvent) -> None:
        if running := self._running.get(event.pid):
            running.put(event)


def run(task: str, *, tools: Sequence[Any] = (), model: str | None = None) -> str:
    """Run one task, blocking, and return its answer. Not for use inside an event loop."""

    async def whole() -> str:
        async with LLMOS(tools=tools, model=model) as system:
            return await system.run(task)

    return asyncio.run(whole())
