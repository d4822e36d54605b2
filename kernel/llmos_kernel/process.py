"""Agent processes: their states, what each owns, and the table that finds them.

Data and transitions; knows no engine, tool or journal.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict

from llmos_kernel.conversation import Conversation, Letter
from llmos_kernel.errors import ConfigError, LlmosError, StateError


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


class Signal(StrEnum):
    INTERRUPT = "interrupt"
    STOP = "stop"
    CONTINUE = "continue"
    KILL = "kill"


NICES = range(-20, 20)


def check_nice(nice: int) -> int:
    """Return a value that is in range.

    Raises:
        ConfigError: it is not.
    """
    if nice not in NICES:
        raise ConfigError(f"nice {nice!r} is not one of -20 to 19")
    return nice


class ExitStatus(StrEnum):
    """How a process ended."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


class TaskFailed(LlmosError):
    """A process cannot finish its task; the message says why."""


class Interrupted(TaskFailed):
    """A signal ended a process, or its turn, before its answer."""

    def __init__(self, pid: int, status: ExitStatus) -> None:
        super().__init__(f"process {pid} was {status}")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a process may use in its whole life: tokens that it generates, seconds that pass."""

    max_tokens: int | None = None
    max_seconds: float | None = None

    def child(self, wanted: Budget) -> Budget:
        """Return the budget of a child that wants one, where this is what its parent has left.

        Raises:
            ConfigError: the child wants more than is left.
        """
        for name in ("max_tokens", "max_seconds"):
            left, asked = getattr(self, name), getattr(wanted, name)
            if left is not None and asked is not None and asked > left:
                raise ConfigError(f"{name} {asked!r} is more than the {left!r} its parent has left")
        return Budget(
            self.max_tokens if wanted.max_tokens is None else wanted.max_tokens,
            self.max_seconds if wanted.max_seconds is None else wanted.max_seconds,
        )


UNBOUNDED = Budget()


class SpawnOptions(TypedDict, total=False):
    """What a caller may say of a new process; see `Process`. A child has no more than its parent:
    not more `tools`, and no larger `budget` than what its parent has left.
    """

    parent: int | None
    nice: int
    is_interactive: bool
    is_attended: bool
    budget: Budget
    tools: frozenset[str] | None


@dataclass(slots=True)
class Process:
    """One agent process.

    `tools` None means all of the table; with `chooses_tools` they change with its messages. While
    nobody attends to it, what needs a yes is denied; that a call does of which the model is less
    sure than `ask_below`. `started` is Unix time; `deadline` is a value of `time.monotonic()`.
    `failure` is set while the process is stopped because its journal could not be written.
    """

    pid: int
    task: str
    conversation: Conversation
    parent: int | None = None
    nice: int = 0
    is_interactive: bool = False
    is_attended: bool = True
    budget: Budget = UNBOUNDED
    tools: frozenset[str] | None = None
    chooses_tools: bool = False
    is_dry_run: bool = False
    ask_below: float = 0.0
    started: float = field(default_factory=time.time)
    deadline: float | None = None
    state: ProcessState = ProcessState.NEW
    exit_status: ExitStatus | None = None
    failure: StateError | None = None
    # What a signal acts on. `is_at_work` from a turn's or a spawned life's beginning to its end,
    # in which `work` is its task; `generation` lives as long as the engine makes tokens;
    # `continued` exists while the process is stopped or about to be.
    is_at_work: bool = False
    work: asyncio.Task[Any] | None = None
    generation: asyncio.Task[None] | None = None
    continued: asyncio.Event | None = None
    ending: ExitStatus | None = None
    is_calling: bool = False
    # What others wait for.
    mail: asyncio.Event | None = None
    outcome: asyncio.Future[str] | None = None

    @property
    def context(self) -> list[int]:
        """The token ids of all that the model has seen and said."""
        return self.conversation.context

    @property
    def num_tokens(self) -> int:
        """How many tokens the model has generated for it."""
        return self.conversation.num_tokens

    @property
    def tokens_left(self) -> int | None:
        if self.budget.max_tokens is None:
            return None
        return max(0, self.budget.max_tokens - self.num_tokens)

    @property
    def budget_left(self) -> Budget:
        if self.deadline is None:
            return Budget(self.tokens_left)
        return Budget(self.tokens_left, max(0.0, self.deadline - time.monotonic()))

    @property
    def is_in_doubt(self) -> bool:
        """Whether a call of the last step needs another's word before it is journalled."""
        talk = self.conversation
        return not talk.is_kept and any(
            call.is_below(self.ask_below) and not call.is_recorded for call in talk.calls
        )

    def move(self, state: ProcessState) -> None:
        """Change state.

        Raises:
            LlmosError: the transition is not one that a process can make.
        """
        if state not in _TRANSITIONS[self.state]:
            raise LlmosError(f"process {self.pid} cannot go from {self.state} to {state}")
        self.state = state

    @property
    def is_killed(self) -> bool:
        return self.ending is ExitStatus.KILLED

    def begin_work(self) -> None:
        """Let signals act on the running task from now on."""
        self.ending = None
        self.is_at_work = True
        self.work = asyncio.current_task()

    def interrupted(self) -> Interrupted:
        """Return the error for whom a signal's cancellation of `work` is to be, and end it."""
        if self.work is not None:
            self.work.uncancel()
        return Interrupted(self.pid, self.ending or ExitStatus.INTERRUPTED)

    def cancel(self, status: ExitStatus) -> None:
        """End the work that is going on, and the life of a spawned process with it, once."""
        if self.ending is None:
            self.ending = status
            if self.work is not None:
                self.work.cancel()

    async def generate(self, make: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Have tokens made; return whether that came to its end and no signal stopped it."""
        if self.continued is not None:
            return False
        self.generation = asyncio.create_task(make())
        try:
            await self.generation
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return False
        finally:
            self.generation = None
        return True

    def deliver(self, letter: Letter) -> None:
        """Put a letter into the mailbox and wake who waits for it."""
        self.conversation.mailbox.append(letter)
        if self.mail is not None:
            self.mail.set()

    async def letter(self) -> Letter:
        """Return the oldest letter, when there is one. It stays where it is."""
        while not self.conversation.mailbox:
            self.mail = asyncio.Event()
            await self.mail.wait()
        return self.conversation.mailbox[0]

    async def ended(self) -> str:
        """Return the answer when the process has ended, or raise what it died of."""
        if self.outcome is None:
            self.outcome = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self.outcome)

    def settle(self, outcome: str | Exception) -> None:
        """Tell those who wait for the process what it came to."""
        if self.outcome is None or self.outcome.done():
            return
        if isinstance(outcome, str):
            self.outcome.set_result(outcome)
        else:
            self.outcome.set_exception(outcome)
            self.outcome.exception()  # a waiter may have gone: then nobody else retrieves it
        self.outcome = None


class ProcessTable:
    """The processes of one kernel, by pid."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}
        self._children: defaultdict[int, list[Process]] = defaultdict(list)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes.values())

    def __len__(self) -> int:
        return len(self._processes)

    def __contains__(self, pid: int) -> bool:
        return pid in self._processes

    def __getitem__(self, pid: int) -> Process:
        """Return a live process.

        Raises:
            LlmosError: there is none with this pid.
        """
        if pid not in self._processes:
            raise LlmosError(f"there is no live process {pid} here; `llmos ps` lists them")
        return self._processes[pid]

    def add(self, process: Process) -> None:
        if process.pid in self._processes:
            raise LlmosError(f"there is already a process {process.pid}")
        self._processes[process.pid] = process
        if process.parent is not None:
            self._children[process.parent].append(process)

    def remove(self, pid: int) -> None:
        process = self._processes.pop(pid)
        if process.parent is not None:
            self._children[process.parent].remove(process)
            if not self._children[process.parent]:
                del self._children[process.parent]

    def children(self, pid: int) -> list[Process]:
        """Return the live children of a process, oldest first."""
        return list(self._children.get(pid, ()))
