"""Makes processes: new ones, ones that go on from a journal, copies. Each is made NEW.

Knows no engine and runs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from llmos_kernel.confidence import Calibration
from llmos_kernel.conversation import Conversation
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.errors import ConfigError
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.process import UNBOUNDED, Process, SpawnOptions, check_nice
from llmos_kernel.recovery import Birth, NotRecoverable, RecoveredProcess, rebuild, system_blob
from llmos_kernel.steps import Limits
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.tool_choice import ChoosesTools


class ProcessMaker:
    """Makes the processes of one kernel, in its journal."""

    def __init__(
        self,
        journal: Journal,
        renderer: Renderer,
        table: SyscallTable,
        *,
        model: str,
        limits: Limits,
        is_dry_run: bool,
        tool_choice: ChoosesTools | None,
        calibration: Calibration | None,
        ask_below: float,
    ) -> None:
        self._journal = journal
        self._renderer = renderer
        self._table = table
        self._model = model
        self._limits = limits
        self._is_dry_run = is_dry_run
        self._tool_choice = tool_choice
        self._calibration = calibration
        self._ask_below = ask_below
        self._systems: dict[frozenset[str] | None, tuple[list[int], str]] = {}

    def new(
        self, task: str, parent: Process | None, options: SpawnOptions
    ) -> tuple[Process, JournalEvent]:
        """Make a process whose context is its system prompt and tools, and the event of it.

        Raises:
            ConfigError: it would have more than its parent has, or its `nice` is out of range.
        """
        nice = check_nice(options.get("nice", 0))
        budget, tools = options.get("budget", UNBOUNDED), options.get("tools")
        if parent is not None:
            budget = parent.budget_left.child(budget)
            tools = _child_tools(parent.tools, tools)
        chooses_tools = tools is None and self._tool_choice is not None
        if chooses_tools:
            tools = self._chosen(task)
        system_ids, digest = self._system(tools)
        birth = Birth(
            parent=None if parent is None else parent.pid,
            nice=nice,
            is_interactive=options.get("is_interactive", False),
            budget=budget,
            tools=tools,
            system=digest,
            model=self._model,
            limits=asdict(self._limits),
            is_dry_run=self._is_dry_run,
            chooses_tools=chooses_tools,
            calibration=self._calibration,
            ask_below=self._ask_below,
        )
        first = JournalEvent(0, 0, time.time(), "spawn", birth.body())
        pid = self._journal.add_process(task, self._model, events=[first])
        specs = self._table.granted(tools)
        talk = Conversation(
            pid,
            self._renderer,
            system_ids,
            specs,
            told=birth.told,
            calibration=birth.calibration,
        )
        process = _process(pid, task, RecoveredProcess(birth, talk, nice, tools, 0.0))
        is_attended = options.get("is_attended", True)
        process.is_attended = is_attended and (parent is None or parent.is_attended)
        return process, replace(first, pid=pid)

    def _chosen(
        self, message: str, kept: frozenset[str] = frozenset(), called: Sequence[str] = ()
    ) -> frozenset[str] | None:
        if self._tool_choice is None:
            return None
        return self._tool_choice.names(self._table.specs, message, kept, called)

    def other_tools(self, process: Process, message: str) -> dict[str, Any] | None:
        """Return the body of a `tools` event, where a message is offered others than before."""
        if not process.chooses_tools or process.tools is None:
            return None
        tools = self._chosen(message, process.tools, process.conversation.called[::-1])
        if tools is None or tools == process.tools:
            return None
        return {"tools": sorted(tools), "system": self._system(tools)[1]}

    def give_tools(self, process: Process, tools: frozenset[str]) -> None:
        """Offer a process these tools from now on."""
        process.tools = tools
        process.conversation.set_tools(self._system(tools)[0], self._table.granted(tools))

    def _system(self, tools: frozenset[str] | None) -> tuple[list[int], str]:
        """Return the ids of the system message for these tools, and the blob it is kept in."""
        if tools not in self._systems:
            specs = self._table.granted(tools)
            digest = self._journal.store_blob(system_blob(SYSTEM_PROMPT, specs))
            self._systems[tools] = self._renderer.system_ids(SYSTEM_PROMPT, specs), digest
        return self._systems[tools]

    def take_over(self, pid: int) -> None:
        """Make an unfinished process, whose kernel is gone, this kernel's own.

        Raises:
            NotRecoverable: it has ended.
            StateError: there is no such process, or a living kernel runs it.
        """
        ending = self._journal.process(pid).exit_status
        if ending is not None:
            raise NotRecoverable(
                f"process {pid} has ended ({ending}); `llmos fork {pid}` goes on from where it was"
            )
        self._journal.take_over(pid)

    def revived(self, pid: int) -> Process:
        """Make a process that is as its journal tells.

        Raises:
            NotRecoverable: it cannot be rebuilt, or another model made it.
        """
        task = self._journal.process(pid).task
        return _process(pid, task, self._rebuilt(pid, list(self._journal.events(pid))))

    def copy(self, pid: int, *, at: int | None) -> int:
        """Journal a new process with the life of another up to its event `at`; return its pid.

        Raises:
            ConfigError: there is no such event.
            NotRecoverable: it cannot be rebuilt, or another model made it.
        """
        record = self._journal.process(pid)
        events = list(self._journal.events(pid))
        end = len(events) if at is None else at + 1
        if not 0 < end <= len(events):
            raise ConfigError(f"process {pid} has no event {at!r}; it has 0 to {len(events) - 1}")
        kept = events[:end]
        if "exit" in kept[-1].body:
            kept.pop()
        birth = self._rebuilt(pid, kept).birth
        body = replace(birth, fork={"pid": pid, "at": len(kept) - 1}).body()
        first = replace(events[0], time=time.time(), body=body)
        return self._journal.add_process(record.task, record.model, events=[first, *kept[1:]])

    def _rebuilt(self, pid: int, events: list[JournalEvent]) -> RecoveredProcess:
        recovered = rebuild(events, pid, self._renderer, self._journal.blob)
        if recovered.birth.model != self._model:
            raise NotRecoverable(
                f"process {pid} ran on the model {recovered.birth.model!r}; start with that one"
            )
        return recovered


def _process(pid: int, task: str, recovered: RecoveredProcess) -> Process:
    birth = recovered.birth
    process = Process(
        pid,
        task,
        recovered.conversation,
        parent=birth.parent,
        nice=recovered.nice,
        is_interactive=birth.is_interactive,
        budget=birth.budget,
        tools=recovered.tools,
        chooses_tools=birth.chooses_tools,
        is_dry_run=birth.is_dry_run,
        ask_below=birth.ask_below,
    )
    if birth.budget.max_seconds is not None:
        process.deadline = time.monotonic() + birth.budget.max_seconds - recovered.seconds_used
    return process


def _child_tools(
    own: frozenset[str] | None, wanted: frozenset[str] | None
) -> frozenset[str] | None:
    if wanted is None:
        return own
    if own is not None and not wanted <= own:
        more = ", ".join(sorted(wanted - own))
        raise ConfigError(f"a child cannot have tools that its parent lacks: {more}")
    return wanted
