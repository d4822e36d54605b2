"""What signals do to a process that is at work, and how it stops while its disk is full.

Knows neither other processes nor what the process works at.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from llmos_kernel.errors import StateError
from llmos_kernel.process import ExitStatus, Process, ProcessState, Signal
from llmos_kernel.trace import Trace


class Signals:
    """Signals for all processes of a kernel."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def take(self, process: Process, signal: Signal) -> None:
        """Let a signal act, soon, also where the journal cannot take it."""
        with suppress(StateError):
            self._trace.record(process, "signal", {"signal": signal.value})
        match signal:
            case Signal.STOP:
                self._stop(process)
            case Signal.CONTINUE:
                self.go_on(process)
            case Signal.INTERRUPT | Signal.KILL if process.is_at_work:
                is_kill = signal is Signal.KILL
                process.cancel(ExitStatus.KILLED if is_kill else ExitStatus.INTERRUPTED)
            case Signal.INTERRUPT | Signal.KILL:
                pass

    def _stop(self, process: Process) -> None:
        """Stop a process before its next token; a tool at work goes on, its result waits."""
        if process.continued is not None:
            return
        process.continued = asyncio.Event()
        if process.generation is not None:
            process.generation.cancel()
        elif process.is_calling or not process.is_at_work:
            self._trace.move(process, ProcessState.STOPPED)

    def go_on(self, process: Process) -> None:
        """Let a stopped process go on; one that lacked disk first catches up by itself."""
        if process.continued is None:
            return
        process.continued.set()
        process.continued = None
        if process.state is ProcessState.STOPPED and process.failure is None:
            self._trace.move(process, ProcessState.READY)
            if process.is_calling:
                self._trace.move(process, ProcessState.WAITING)

    async def wait(self, process: Process) -> None:
        """Return at once, or when a stopped process may go on."""
        while process.continued is not None:
            if process.failure is None:
                self._trace.move(process, ProcessState.STOPPED)
            await process.continued.wait()

    def stop_for(self, process: Process, error: StateError) -> None:
        """Stop a process whose journal cannot be written, and tell those who wait for it."""
        process.failure = error
        process.continued = process.continued or asyncio.Event()
        with suppress(StateError):
            self._trace.move(process, ProcessState.STOPPED)
        process.settle(error)
