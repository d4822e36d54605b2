"""Stops processes and lets them go on: by signals, and while their journal cannot be written.

Knows nothing of why or for how long.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from llmos_kernel.errors import StateError
from llmos_kernel.process import Process, ProcessState
from llmos_kernel.trace import Trace


class Stops:
    """Stops for all processes of a kernel."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def stop(self, process: Process) -> None:
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
