"""Journals what happens to processes, and tells a listener.

Knows nothing of what the events mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.process import Process, ProcessState


class Trace:
    """The one way in which events of a kernel's processes come into its journal."""

    def __init__(self, journal: Journal, on_event: Callable[[JournalEvent], None]) -> None:
        self._journal = journal
        self._on_event = on_event

    def record(
        self, process: Process, kind: str, body: dict[str, Any], *, is_durable: bool = False
    ) -> JournalEvent:
        """Append an event and return it.

        Raises:
            StateError: the journal cannot be written.
        """
        event = self._journal.append(process.pid, kind, body, is_durable=is_durable)
        self._on_event(event)
        return event

    def move(self, process: Process, state: ProcessState) -> None:
        """Change a process's state where it is another, and record that.

        Raises:
            StateError: the journal cannot be written; the state has changed all the same.
        """
        if state is process.state:
            return
        process.move(state)
        body = {"state": state.value}
        if process.exit_status is not None:
            body["exit"] = process.exit_status.value
        self.record(process, "state", body)
