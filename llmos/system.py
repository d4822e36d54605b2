"""llmos from Python: `LLMOS` for programs that run an event loop, `run` for one task.

A thin face of the kernel: it knows processes by their handles and nothing of how they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from llmos.boot import BootOptions, booted
from llmos.config import Settings, load_settings
from llmos.sdk import tools_of
from llmos_kernel.errors import ConfigError
from llmos_kernel.journal import JournalEvent
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import Approver, deny_all
from llmos_kernel.process import UNBOUNDED, Budget, Process, ProcessState, Signal
from llmos_kernel.syscalls import OwnedDriver

__all__ = ["LLMOS", "Budget", "RunningProcess", "Signal", "run"]


class RunningProcess:
    """A task at work. `wait` gives its answer, `events` what happens until it ends."""

    def __init__(self, system: LLMOS, kernel: Kernel, pid: int) -> None:
        self.pid = pid
        self._system = system
        self._kernel = kernel
        self._events: asyncio.Queue[JournalEvent | None] = asyncio.Queue()
        self._outcome = self._awaited()

    def _awaited(self) -> asyncio.Task[str]:
        outcome = asyncio.create_task(self._kernel.wait(self.pid))
        outcome.add_done_callback(_retrieve)  # nobody need wait for a process that fails
        return outcome

    def put(self, event: JournalEvent | None) -> None:
        self._events.put_nowait(event)

    async def wait(self) -> str:
        """Return the answer.

        Raises:
            LlmosError: the task failed or was ended; the message says why. After a `StateError`
                for want of disk it may go on, and be waited for again.
        """
        if self._outcome.done() and self.pid in self._kernel.processes:
            self._outcome = self._awaited()
        return await asyncio.shield(self._outcome)

    async def events(self) -> AsyncIterator[JournalEvent]:
        """Yield the process's events from its first here to its last, once."""
        while (event := await self._events.get()) is not None:
            yield event

    def signal(self, signal: Signal) -> None:
        """Interrupt, stop, continue or kill the process; it acts soon.

        Raises:
            LlmosError: it has ended.
        """
        self._kernel.signal(self.pid, signal)

    def send(self, text: str) -> None:
        """Put a message into the process's mailbox.

        Raises:
            LlmosError: it has ended, or the journal cannot be written.
        """
        self._kernel.send(self.pid, text)

    def fork(self, *, at: int | None = None) -> RunningProcess:
        """Make a process with the same past, up to event `at` or all, which goes on by itself.

        Raises:
            ConfigError: there is no such event.
        """
        return self._system.fork(self.pid, at=at)

    async def cancel(self) -> None:
        """End the process and wait until it has ended."""
        if self.pid in self._kernel.processes:
            self._kernel.signal(self.pid, Signal.INTERRUPT)
        await asyncio.wait([self._outcome])


def _retrieve(outcome: asyncio.Task[str]) -> None:
    if not outcome.cancelled():
        outcome.exception()


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
        self._first_events: list[JournalEvent] | None = None  # of the process that is being made

    async def __aenter__(self) -> LLMOS:
        self._kernel = await self._stack.enter_async_context(booted(self._settings, self._options))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        for running in self._running.values():  # those that lacked disk: they have not ended
            running.put(None)
        self._running.clear()

    async def spawn(
        self,
        task: str,
        *,
        nice: int = 0,
        budget: Budget = UNBOUNDED,
        is_interactive: bool = False,
    ) -> RunningProcess:
        """Start a task and return at once. An interactive one goes before those that are not.

        Raises:
            ConfigError: the task is empty, `nice` is out of range, or the system is not running.
        """
        kernel = self._live_kernel()
        if not task.strip():
            raise ConfigError("the task is empty; say what is to be done")
        return self._begun(
            lambda: kernel.spawn(task, nice=nice, budget=budget, is_interactive=is_interactive)
        )

    async def resume(self, pid: int) -> RunningProcess:
        """Let a process go on whose kernel died, with its unfinished children.

        Raises:
            NotRecoverable: it has ended, or its journal does not tell enough.
            StateError: there is no such process, or a living kernel runs it.
        """
        kernel = self._live_kernel()
        return self._begun(lambda: kernel.resume(pid))

    def fork(self, pid: int, *, at: int | None = None) -> RunningProcess:
        """Make a process with the past of another, also an ended one; see `RunningProcess.fork`.

        Raises:
            ConfigError: there is no such event.
            NotRecoverable: its journal does not tell enough.
            StateError: there is no such process.
        """
        kernel = self._live_kernel()
        return self._begun(lambda: kernel.fork(pid, at=at))

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

    def _live_kernel(self) -> Kernel:
        if self._kernel is None:
            raise ConfigError("use LLMOS in an `async with` block")
        return self._kernel

    def _begun(self, make: Callable[[], Process]) -> RunningProcess:
        """Make a process and its handle, which gets all events from the first on."""
        self._first_events = []
        try:
            pid = make().pid
            if pid not in self._running:
                self._running[pid] = RunningProcess(self, self._live_kernel(), pid)
            running = self._running[pid]
            for event in self._first_events:
                self._hand_on(event)
        finally:
            self._first_events = None
        return running

    def _deliver(self, event: JournalEvent) -> None:
        if self._first_events is None:
            self._hand_on(event)
        else:
            self._first_events.append(event)

    def _hand_on(self, event: JournalEvent) -> None:
        running = self._running.get(event.pid)
        if running is None:
            return
        running.put(event)
        if event.kind == "state" and event.body["state"] == ProcessState.ZOMBIE:
            running.put(None)
            del self._running[event.pid]


def run(task: str, *, tools: Sequence[Any] = (), model: str | None = None) -> str:
    """Run one task, blocking, and return its answer. Not for use inside an event loop."""

    async def whole() -> str:
        async with LLMOS(tools=tools, model=model) as system:
            return await system.run(task)

    return asyncio.run(whole())
