"""Runs one process of a kernel of this terminal's own, from its making to its exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from llmos.boot import BootOptions
from llmos.cli import DONE, INTERRUPTED
from llmos.config import Settings
from llmos.shell.approval import ask_on_terminal
from llmos.shell.screen import Display, JsonLines, Screen
from llmos.shell.starting import report, started
from llmos_kernel.errors import ConfigError, LlmosError
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import Approver, approve_all, deny_all
from llmos_kernel.process import ExitStatus, Process, Signal
from llmos_kernel.syscalls import OwnedDriver

Make: TypeAlias = Callable[[Kernel], Process]


@dataclass(frozen=True, slots=True)
class ForegroundOptions:
    """How a process is shown, and who says yes to its calls."""

    as_json: bool = False
    yes: bool = False
    deny: bool = False

    def check(self) -> None:
        """Check that the flags go together.

        Raises:
            ConfigError: they do not.
        """
        if self.yes and self.deny:
            raise ConfigError("give either --yes or --deny, not both")

    def approver(self) -> Approver:
        if self.yes:
            return approve_all
        if self.deny or not sys.stdin.isatty():
            return deny_all
        return ask_on_terminal


async def run_in_foreground(
    make: Make,
    settings: Settings,
    options: ForegroundOptions,
    *,
    tools: Sequence[OwnedDriver] = (),
    is_dry_run: bool = False,
    on_failed_start: Callable[[LlmosError], None] = lambda error: None,
) -> int:
    """Start a kernel, make a process in it, show it to its end and return the exit status.

    Raises:
        LlmosError: it could not start, or failed; the message says what to do.
    """
    display: Display = JsonLines() if options.as_json else Screen()
    boot_options = BootOptions(
        tools=tools,
        is_dry_run=is_dry_run,
        approve=options.approver(),
        on_event=display.show_step,
        on_text=display.show_text,
        on_progress=display.show_progress,
        report=report,
    )
    async with AsyncExitStack() as stack:
        try:
            kernel = await stack.enter_async_context(started(settings, boot_options))
        except LlmosError as error:
            on_failed_start(error)
            raise
        return await _lead(kernel, make(kernel), display)


async def _lead(kernel: Kernel, process: Process, display: Display) -> int:
    display.pid = process.pid
    try:
        with interrupting(kernel, process.pid):
            answer = await kernel.wait(process.pid)
    except LlmosError:
        if process.exit_status is ExitStatus.INTERRUPTED:
            return INTERRUPTED
        raise
    display.show_answer(answer)
    await _wait_for_others(kernel)
    return DONE


async def _wait_for_others(kernel: Kernel) -> None:
    """Wait for processes that other terminals have forked here, and those that were scheduled."""
    while others := list(kernel.processes):
        pid = others[0].pid
        report(f"waiting for process {pid}, which began here; Ctrl-C ends it")
        try:
            with interrupting(kernel, pid):
                await kernel.wait(pid)
        except LlmosError as error:
            report(f"process {pid}: {error}")
            if pid in kernel.processes:  # it lacks disk: it can be resumed when there is room
                return


@contextmanager
def interrupting(kernel: Kernel, pid: int) -> Generator[None]:
    """Have Ctrl-C and SIGTERM interrupt a process for the length of the block."""

    def interrupt() -> None:
        if pid in kernel.processes:
            kernel.signal(pid, Signal.INTERRUPT)

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
