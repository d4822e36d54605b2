"""A process's life: a user's message in, model steps and system calls, an answer out.

The kernel owns the model and the journal. It knows no command line, no plugin discovery and no
particular engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from llmos_kernel.abi import Driver
from llmos_kernel.calls import CallRunner, RunCall
from llmos_kernel.confidence import Calibration
from llmos_kernel.conversation import Letter, Phase, Step
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.dispatch import Dispatcher
from llmos_kernel.engine.base import CacheUse, Engine, TokenMask
from llmos_kernel.errors import StateError
from llmos_kernel.grammar import Masks
from llmos_kernel.hand_over import HandOver
from llmos_kernel.journal import Journal, JournalEvent, told_blob
from llmos_kernel.larger import LargerModel
from llmos_kernel.making import ProcessMaker
from llmos_kernel.policy import Approver
from llmos_kernel.process import (
    ExitStatus,
    Interrupted,
    Process,
    ProcessState,
    ProcessTable,
    Signal,
    SpawnOptions,
    TaskFailed,
    check_nice,
)
from llmos_kernel.process_calls import process_calls
from llmos_kernel.progress import OnProgress
from llmos_kernel.recovery import NotRecoverable, outcome
from llmos_kernel.signals import Signals
from llmos_kernel.steps import Limits, StepRunner, out_of_budget
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.tool_choice import ChoosesTools
from llmos_kernel.trace import Trace

__all__ = ["Kernel", "Limits", "TaskFailed", "ignore"]

DEFAULT_LIMITS = Limits()


def ignore(*_: Any) -> None:
    """Listen to nothing."""


class Kernel:
    """Processes over one engine, one tool table and one journal. Use from one event loop.

    Every method that takes a pid raises `LlmosError` where it has to be that of a live process
    and is not.
    """

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        table: SyscallTable,
        journal: Journal,
        *,
        workspace: Path,
        model: str,
        approve: Approver,
        limits: Limits = DEFAULT_LIMITS,
        is_dry_run: bool = False,
        has_process_calls: bool = False,
        tool_choice: ChoosesTools | None = None,
        calibration: Calibration | None = None,
        ask_below: float = 0.0,
        larger: LargerModel | None = None,
        run_call: RunCall | None = None,
        on_event: Callable[[JournalEvent], None] = ignore,
        on_text: Callable[[int, str], None] = ignore,
        on_progress: OnProgress = ignore,
    ) -> None:
        """Take over engine, table and journal: `close` closes them.

        `on_event` gets every journalled event, `on_text` (pid, piece) the answer as it comes,
        `on_progress` what calls say of how far they are. A dry run ends a turn before its calls are
        run. With `has_process_calls` models are offered the calls about processes; `tool_choice`
        chooses the tools of each message, all without one. With `calibration` the kernel reads how
        sure the model is of each call; one of which it is less sure than `ask_below` needs a yes.
        With a `larger` model, which `close` closes too, that one makes the step instead. `run_call`
        runs checked calls in the dispatcher's place.
        """
        self._engine = engine
        calls = process_calls(self, journal.parent) if has_process_calls else []
        self._table = table.extended(calls, "llmos")
        self._journal = journal
        self._on_event = on_event
        self._maker = ProcessMaker(
            journal,
            renderer,
            self._table,
            model=model,
            limits=limits,
            is_dry_run=is_dry_run,
            tool_choice=tool_choice,
            calibration=calibration,
            ask_below=ask_below,
        )
        self._trace = Trace(journal, on_event)
        self._signals = Signals(self._trace)
        self._masks = Masks(renderer) if engine.takes_masks else None
        self._steps = StepRunner(
            engine,
            renderer,
            self._trace,
            limits=limits,
            on_text=on_text,
            mask_of=self._mask,
        )
        run_call = run_call or Dispatcher(self._table.specs, journal.store_blob).run
        self._calls = CallRunner(
            self._table,
            run_call,
            self._trace,
            partial(told_blob, journal.path),
            workspace=workspace,
            home=journal.path.parent,
            approve=approve,
            on_progress=on_progress,
        )
        self._larger = larger
        self._hand_over = None
        if larger is not None:
            self._hand_over = HandOver(
                larger, self._table, self._trace, on_text=on_text, on_progress=on_progress
            )
        self._lives: dict[int, asyncio.Task[None]] = {}
        self.processes = ProcessTable()

    # A process's life -------------------------------------------------------

    async def _life(self, process: Process) -> None:
        """A spawned process from wherever it is to its end, whatever happens on the way."""
        process.work = asyncio.current_task()
        result: str | Exception
        try:
            result, status = await self._whole_turn(process), ExitStatus.DONE
        except asyncio.CancelledError:
            status = process.ending or ExitStatus.INTERRUPTED
            result = Interrupted(process.pid, status)
        except Exception as error:  # the boundary of a task: those who wait get the error
            result, status = error, ExitStatus.FAILED
        process.work = None
        if lives := self._kill_children(process):
            await asyncio.wait(lives)
        self._end(process, status, result)

    async def _whole_turn(self, process: Process) -> str:
        """Bring a process to its answer, with stops while its journal cannot be written."""
        while True:
            try:
                if process.failure is not None:
                    self._restore(process)
                if not process.conversation.has_heard:
                    self.tell(process, process.task)
                return await self._turn(process)
            except StateError as error:
                if process.ending is not None:
                    raise asyncio.CancelledError from error
                self._signals.stop_for(process, error)
                await self._signals.wait(process)

    async def _turn(self, process: Process) -> str:
        """Bring a turn to its answer within the process's time, and leave the process READY."""
        if process.ending is not None:
            raise asyncio.CancelledError
        timeout = asyncio.timeout_at(process.deadline)
        try:
            async with timeout:
                return await self._until_answer(process)
        except StateError:
            raise
        except Exception as error:  # recorded, whatever it is, and raised again
            failure = out_of_budget(process, "max_seconds") if timeout.expired() else error
            self._trace.record(process, "error", {"text": str(failure) or repr(failure)})
            raise failure from error.__cause__
        finally:
            if process.state in (ProcessState.RUNNING, ProcessState.WAITING):
                self._trace.move(process, ProcessState.READY)

    async def _until_answer(self, process: Process) -> str:
        """Go on from wherever the process is until the model has answered."""
        talk = process.conversation
        while talk.answer is None:
            await self._signals.wait(process)
            match talk.phase:
                case Phase.SPEAK:
                    self._steps.check(process)
                    self._trace.move(process, ProcessState.RUNNING)
                    await self._steps.run(process)
                case Phase.CALL if self._hand_over is not None and process.is_in_doubt:
                    self._trace.move(process, ProcessState.RUNNING)
                    await self._hand_over.run(process)
                case Phase.CALL if process.is_dry_run:
                    self._calls.announce(process)
                    self._steps.answer(process)
                case Phase.CALL:
                    await self._call(process)
                case Phase.ANSWER | Phase.ANSWERED:
                    self._steps.answer(process)
        return talk.answer

    async def _call(self, process: Process) -> None:
        self._trace.move(process, ProcessState.WAITING)
        process.is_calling = True
        try:
            await self._calls.run(process)
        finally:
            process.is_calling = False
            if process.state is ProcessState.WAITING:
                self._trace.move(process, ProcessState.READY)
        await self._signals.wait(process)
        process.conversation.give_results()

    # Making and ending processes ---------------------------------------------

    def spawn(self, task: str, **options: Unpack[SpawnOptions]) -> Process:
        """Make a process, as `start`, whose whole life, up to its answer, runs by itself."""
        process = self.start(task, **options)
        self._begin(process)
        return process

    def start(self, task: str, **options: Unpack[SpawnOptions]) -> Process:
        """Make a process that its caller leads through `turn`s and ends with `finish`.

        Raises:
            ConfigError: an option is out of range; a child has more than its parent.
        """
        parent = options.get("parent")
        process, first = self._maker.new(
            task, None if parent is None else self.processes[parent], options
        )
        self._on_event(first)
        self._admit(process)
        return process

    def _admit(self, process: Process) -> None:
        self.processes.add(process)
        self._trace.move(process, ProcessState.READY)

    def _begin(self, process: Process) -> None:
        process.is_at_work = True
        life = asyncio.create_task(self._life(process), name=f"process {process.pid}")
        self._lives[process.pid] = life
        life.add_done_callback(lambda _: self._lives.pop(process.pid))

    async def turn(self, process: Process, message: str | None = None) -> str:
        """Give a process a user's message, or let its open turn go on, and return its answer.

        After cancellation or failure another turn can follow.

        Raises:
            TaskFailed: the model came to no answer within its limits, or a signal interrupted it.
            LlmosError: the engine or the journal failed.
        """
        process.begin_work()
        try:
            if process.failure is not None:
                self._restore(process)
            if message is not None:
                self.tell(process, message)
            return await self._turn(process)
        except asyncio.CancelledError:
            if process.ending is None:
                raise
            raise process.interrupted() from None
        except StateError as error:
            self._signals.stop_for(process, error)
            raise
        finally:
            process.is_at_work = False
            process.work = None
            if process.is_killed:
                self.finish(process, ExitStatus.KILLED)

    def finish(self, process: Process, status: ExitStatus) -> None:
        """End a process; it leaves the table, its journal stays. Its children are killed."""
        answer = process.conversation.answer
        self._end(process, status, Interrupted(process.pid, status) if answer is None else answer)

    def _end(self, process: Process, status: ExitStatus, result: str | Exception) -> None:
        self._kill_children(process)
        # One that lacked disk and was not killed can be resumed: its journal must not say ended.
        if process.failure is None or status is ExitStatus.KILLED:
            process.exit_status = status
            with suppress(StateError):
                self._trace.move(process, ProcessState.ZOMBIE)
        for model in self._models():
            model.release(process.pid)
        self.processes.remove(process.pid)
        process.settle(result)

    def _models(self) -> list[Engine | LargerModel]:
        return [self._engine] if self._larger is None else [self._engine, self._larger]

    def _kill_children(self, process: Process) -> list[asyncio.Task[None]]:
        """Kill a process's children; return the lives that have yet to end."""
        children = self.processes.children(process.pid)
        for child in children:
            self.signal(child.pid, Signal.KILL)
        return [self._lives[child.pid] for child in children if child.pid in self._lives]

    def driver(self, name: str) -> Driver | None:
        """Return a tool, for those who use it themselves, beside the processes' calls."""
        return self._table.find(name)

    @property
    def journal_path(self) -> Path:
        return self._journal.path

    async def close(self) -> None:
        """End every process that is left, then close tools, engine and journal."""
        for process in list(self.processes):
            if process.pid in self._lives:
                process.cancel(ExitStatus.INTERRUPTED)
            elif process.pid in self.processes:
                self.finish(process, ExitStatus.INTERRUPTED)
        while self._lives:
            await asyncio.wait(list(self._lives.values()))
        await self._table.close()
        self._engine.close()
        if self._larger is not None:
            await self._larger.close()
        self._journal.close()

    # Signals and messages ----------------------------------------------------

    def signal(self, pid: int, signal: Signal) -> None:
        """Signal a process. One that is killed while it is not at work ends at once."""
        process = self.processes[pid]
        self._signals.take(process, signal)
        if signal is Signal.KILL and not process.is_at_work:
            self.finish(process, ExitStatus.KILLED)

    def send(self, pid: int, text: str, *, sender: int | None = None) -> None:
        """Put a message into a process's mailbox; it wakes where it waits for one.

        Raises:
            StateError: the journal cannot take it; then the process does not get it.
        """
        process = self.processes[pid]
        self._trace.record(process, "message", {"sender": sender, "text": text})
        process.deliver(Letter(sender, text))

    async def receive(self, pid: int) -> Letter:
        """Wait for a message and return it; the result of the call that asked takes it out."""
        return await self.processes[pid].letter()

    def renice(self, pid: int, nice: int) -> None:
        """Change a process's share of the model.

        Raises:
            ConfigError: `nice` is out of range.
        """
        process, nice = self.processes[pid], check_nice(nice)
        self._trace.record(process, "renice", {"nice": nice})
        process.nice = nice
        for model in self._models():
            model.renice(pid, nice)

    def cache_use(self, pid: int) -> CacheUse:
        """Return how much of what a live process asked the model to read was held already."""
        return self._engine.cache_use(pid)

    async def wait(self, pid: int) -> str:
        """Return a process's answer once it has ended; any number may wait, also afterwards.

        Raises:
            TaskFailed: it ended without one.
            StateError: its journal cannot be written, or it has not ended and is not here.
            Exception: what else it died of.
        """
        if pid not in self.processes:
            return outcome(pid, self._journal.events(pid))
        process = self.processes[pid]
        if process.failure is not None:
            raise process.failure
        return await process.ended()

    # Going on from the journal -------------------------------------------------

    def resume(self, pid: int) -> Process:
        """Let a process go on whose kernel died, with its unfinished children.

        A call that was not begun, or may be repeated, is run; of another whose effect had begun
        the process is told that the outcome is unknown. Raises: as `adopt`.
        """
        if pid in self.processes and self.processes[pid].failure is not None:
            self._signals.go_on(self.processes[pid])
            return self.processes[pid]
        process = self.adopt(pid)
        self._begin(process)
        for child in self._journal.children(pid):
            if self._journal.process(child).exit_status is None:
                self.resume(child)
        return process

    def adopt(self, pid: int) -> Process:
        """Take over a process whose kernel died; its caller leads it on through `turn`s.

        Raises:
            NotRecoverable: it is at work or has ended, or its journal does not tell enough.
            StateError: there is no such process, or a living kernel runs it.
        """
        if pid in self.processes:
            raise NotRecoverable(f"process {pid} is at work already")
        self._maker.take_over(pid)
        return self._revive(pid)

    def fork(self, pid: int, *, at: int | None = None) -> Process:
        """Make a process with the same past, up to event `at` or all, which goes on by itself.

        Of a step that is still being made, only what is journalled is taken over.

        Raises: as `adopt`, but for those at work; ConfigError where there is no such event.
        """
        process = self._revive(self._maker.copy(pid, at=at))
        self._begin(process)
        self._engine.fork(pid, process.pid, len(process.context))
        return process

    def _revive(self, pid: int) -> Process:
        process = self._maker.revived(pid)
        if process.parent is not None and process.parent not in self.processes:
            process.parent = None
        self._trace.record(process, "resume", {})
        self._admit(process)
        return process

    def _restore(self, process: Process) -> None:
        """Take a process back to what its journal tells, but for results that are known."""
        known = {call.id: call.result for call in process.conversation.calls if call.result}
        self._trace.record(process, "resume", {})
        process.conversation = self._maker.revived(process.pid).conversation
        self._calls.keep(process, known)
        self._trace.move(process, ProcessState.READY)
        process.failure = process.continued = None

    def _mask(self, process: Process) -> TokenMask | None:
        """Return a new mask for a step of a process; None where the engine takes none."""
        if self._masks is None:
            return None
        return self._masks.mask(self._table.granted(process.tools), process.conversation.seen)

    # One step and its records ---------------------------------------------------

    def tell(self, process: Process, message: str) -> None:
        """Append a user's message to a process's context, with the tools that fit it."""
        if changed := self._maker.other_tools(process, message):
            self._trace.record(process, "tools", changed)
            self._maker.give_tools(process, frozenset(changed["tools"]))
        self._trace.record(process, "user", {"text": message})
        process.conversation.tell(message)

    async def step(self, process: Process) -> Step:
        """Let the model speak once, to its stop token or its limit."""
        step = process.conversation.open_step()
        while not step.is_ended:
            await self._signals.wait(process)
            self._trace.move(process, ProcessState.RUNNING)
            await self._steps.run(process)
        return step
