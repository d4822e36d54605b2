"""Agent processes: their states, what each owns, and the table that finds them.

Pure data and transitions; knows no engine, tool or journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from llmos_kernel.errors import LlmosError


class ProcessState(StrEnum):
    NEW = "NEW"
    READY = "READY"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    STOPPED = "STOPPED"
    ZOMBIE = "ZOMBIE"


_TRANSITIONS: dict[ProcessState, frozenset[ProcessState]] = {
    ProcessState.NEW: frozenset({ProcessState.READY, ProcessState.ZOMBIE}),
    ProcessState.READY: frozenset(
        {ProcessState.RUNNING, ProcessState.WAITING, ProcessState.STOPPED, ProcessState.ZOMBIE}
    ),
    ProcessState.RUNNING: frozenset(
        {ProcessState.READY, ProcessState.WAITING, ProcessState.STOPPED, ProcessState.ZOMBIE}
    ),
    ProcessState.WAITING: frozenset(
        {ProcessState.READY, ProcessState.STOPPED, ProcessState.ZOMBIE}
    ),
    ProcessState.STOPPED: frozenset({ProcessState.READY, ProcessState.ZOMBIE}),
    ProcessState.ZOMBIE: frozenset(),
}


class ExitStatus(StrEnum):
    """How a process ended."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(slots=True)
class Process:
    """One agent process. `context` holds the token ids of all that its model has seen and said.

    It is append-only. `num_malformed` counts the malformed calls since the last user message.
    """

    pid: int
    state: ProcessState = ProcessState.NEW
    context: list[int] = field(default_factory=list[int])
    num_calls: int = 0
    num_malformed: int = 0
    exit_status: ExitStatus | None = None

    def move(self, state: ProcessState) -> None:
        """Change state.

        Raises:
            LlmosError: the transition is not one that a process can make.
        """
        if state not in _TRANSITIONS[self.state]:
            raise LlmosError(f"process {self.pid} cannot go from {self.state} to {state}")
        self.state = state

    def next_call_id(self) -> str:
        self.num_calls += 1
        return f"{self.pid}.{self.num_calls}"


class ProcessTable:
    """The processes of one kernel, by pid."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes.values())

    def add(self, process: Process) -> None:
        if process.pid in self._processes:
            raise LlmosError(f"there is already a process {process.pid}")
        self._processes[process.pid] = process

    def remove(self, pid: int) -> None:
        del self._processes[pid]
