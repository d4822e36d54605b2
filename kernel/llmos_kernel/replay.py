"""Runs a recorded process again, with what its model and its tools said, and yields its events.

The kernel of a replay is an ordinary one, over a journal of its own; the record takes the place of
the engine, the tools and everybody outside. Knows no tool.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from llmos_kernel.abi import CallContext, Driver, JsonObject, Output, ToolCall, ToolResult, ToolSpec
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.errors import LlmosError, ModelError
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.kernel import Kernel
from llmos_kernel.larger import Reply, StepRequest
from llmos_kernel.process import ExitStatus, Process, ProcessState, Signal
from llmos_kernel.recovery import (
    OPEN_REASONS,
    Birth,
    NotRecoverable,
    read_calls,
    read_result,
    read_system,
)
from llmos_kernel.steps import Limits
from llmos_kernel.syscalls import OwnedDriver, SyscallTable

PATIENCE_S = 10.0

# Events that come from outside the process, and so are brought about, not waited for.
OUTSIDE = frozenset({"signal", "message", "renice"})


class ReplayDiverged(LlmosError):
    """A replay does not do what is recorded; the message names the first event that differs."""


class RecordedTool:
    """A tool of the record, which never runs."""

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        raise ReplayDiverged(f"{self.spec.name!r} was called, and has no recorded result")

    async def close(self) -> None:
        """Hold nothing, so give nothing back."""


async def replay(journal: Journal, pid: int, renderer: Renderer) -> AsyncIterator[JournalEvent]:
    """Yield the events of a process as a kernel makes them that is told what is recorded.

    They equal the recorded ones but for their time. What came before the last resume or fork is
    taken from the record as it is.

    Raises:
        StateError: there is no such process.
        NotRecoverable: its journal does not tell enough.
        ReplayDiverged: an event differs from the recorded one.
    """
    recorded = list(journal.events(pid))
    if not recorded or recorded[0].kind != "spawn":
        raise NotRecoverable(f"process {pid} cannot be replayed: its journal lacks its beginning")
    conductor = Conductor(recorded, pid, renderer, journal)
    with tempfile.TemporaryDirectory(prefix="llmos-replay-") as folder:
        await conductor.run(Path(folder))
    for event in conductor.events:
        yield event


class Conductor:
    """Brings about what came from outside, each at its place in the record.

    `next` is the recorded event that has to come next; engine, tools and user wait for their turn.
    """

    def __init__(
        self, recorded: list[JournalEvent], pid: int, renderer: Renderer, journal: Journal
    ) -> None:
        birth = Birth.of(recorded[0].body)
        changes = [event.body["system"] for event in recorded if event.kind == "tools"]
        self._recorded = recorded
        self._pid = pid
        self._renderer = renderer
        self._systems = [journal.blob(digest) for digest in (birth.system, *changes)]
        self._birth = birth
        self._task = journal.process(pid).task
        resumes = [event.seq for event in recorded if event.kind == "resume"]
        self._has_resume = bool(resumes)
        self._cursor = resumes[-1] if resumes else 1
        self.events = recorded[: self._cursor]
        self._problem: ReplayDiverged | None = None
        self._advanced = asyncio.Event()
        self.is_held = asyncio.Event()

    async def run(self, folder: Path) -> None:
        """Replay the whole record into `events`.

        Raises:
            ReplayDiverged: an event differs from the recorded one.
        """
        journal = Journal(folder / "journal.db", first_pid=self._pid)
        for system in self._systems:
            journal.store_blob(system)
        journal.add_process(self._task, self._birth.model, events=self.events)
        specs = {spec.name: spec for system in self._systems for spec in read_system(system)[1]}
        kernel = Kernel(
            RecordedEngine(self),
            self._renderer,
            SyscallTable(OwnedDriver(RecordedTool(spec), "the record") for spec in specs.values()),
            journal,
            workspace=folder,
            model=self._birth.model,
            approve=self.approve,
            limits=Limits(**self._birth.limits),
            tool_choice=self,
            larger=self._larger_model(),
            run_call=self.run_call,
            on_event=self._take,
        )
        try:
            await self._conduct(kernel, kernel.adopt(self._pid))
        finally:
            self._cursor = len(self._recorded)
            await kernel.close()

    def _larger_model(self) -> RecordedModel | None:
        names = [event.body["model"] for event in self.rest() if event.kind == "hand_over"]
        return RecordedModel(self, names[0]) if names else None

    async def _conduct(self, kernel: Kernel, process: Process) -> None:
        work: asyncio.Task[str] | None = None
        if process.conversation.is_in_turn and not self._is_next("user"):
            work = asyncio.create_task(kernel.turn(process))
        try:
            while (event := self.next) is not None:
                if event.kind in ("tools", "user") or "exit" in event.body:
                    if work is not None:
                        await asyncio.wait([work], timeout=PATIENCE_S)
                    if event.kind in ("tools", "user"):
                        said = (later.body["text"] for later in self.rest() if later.kind == "user")
                        work = asyncio.create_task(kernel.turn(process, next(said, "")))
                        await self._progress(event)
                    elif process.pid in kernel.processes:
                        kernel.finish(process, ExitStatus(event.body["exit"]))
                elif event.kind in OUTSIDE:
                    await self._bring_about(kernel, process, event)
                else:
                    await self._progress(event)
        finally:
            if work is not None:
                work.cancel()
                await asyncio.wait([work])
                if not work.cancelled():
                    work.exception()

    async def _bring_about(self, kernel: Kernel, process: Process, event: JournalEvent) -> None:
        if process.state is ProcessState.RUNNING and self.is_next_piece_open():
            await asyncio.wait_for(self.is_held.wait(), PATIENCE_S)
        match event.kind:
            case "signal":
                kernel.signal(self._pid, Signal(event.body["signal"]))
            case "message":
                kernel.send(self._pid, event.body["text"], sender=event.body["sender"])
            case _:
                kernel.renice(self._pid, event.body["nice"])

    # What the record says ----------------------------------------------------------

    @property
    def next(self) -> JournalEvent | None:
        """The recorded event that has to come next, if any is left.

        Raises:
            ReplayDiverged: another one came.
        """
        if self._problem is not None:
            raise self._problem
        return self._recorded[self._cursor] if self._cursor < len(self._recorded) else None

    def rest(self) -> list[JournalEvent]:
        return self._recorded[self._cursor :]

    def next_piece(self) -> JournalEvent | None:
        """Return the recorded piece that a model says in the process's present state."""
        for event in self.rest():
            if event.kind in ("step", "hand_over", "state"):
                return None if event.kind == "state" else event
        return None

    def is_next_piece_open(self) -> bool:
        piece = self.next_piece()
        if piece is not None and piece.kind == "hand_over":
            return piece.body["reason"] == "signal"
        return piece is None or piece.body["reason"] in OPEN_REASONS

    def _is_next(self, kind: str, call_id: str | None = None) -> bool:
        event = self.next
        return (
            event is not None
            and event.kind == kind
            and (call_id is None or event.body["id"] == call_id)
        )

    async def turn_of(self, kind: str, call_id: str | None = None) -> None:
        """Wait until the next recorded event is of a kind, and of a call."""
        while not self._is_next(kind, call_id):
            await self._advanced.wait()

    async def hold(self) -> None:
        """Wait to be stopped from outside, as the model was in the record."""
        self.is_held.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_held.clear()

    async def _progress(self, event: JournalEvent) -> None:
        """Wait until the replay has come past an event."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self.next is event:
                    await self._advanced.wait()
        except TimeoutError as error:
            raise ReplayDiverged(
                f"event {event.seq} ({event.kind}) does not come again; "
                "it may have come from a limit of time"
            ) from error

    def _take(self, event: JournalEvent) -> None:
        """Compare an event of the replay with the recorded one."""
        if self._cursor == len(self._recorded):
            return  # the record has ended, and the replay is being closed
        if event.kind == "resume" and not self._has_resume:
            return
        wanted = self._recorded[self._cursor]
        if (event.kind, event.body) != (wanted.kind, wanted.body):
            self._problem = self._problem or ReplayDiverged(
                f"event {wanted.seq} is {wanted.kind} {wanted.body} in the record and "
                f"{event.kind} {event.body} in the replay"
            )
        self.events.append(replace(event, seq=wanted.seq))
        self._cursor += 1
        self._advanced.set()
        self._advanced = asyncio.Event()

    # In place of user and tools -----------------------------------------------------

    def _result(self, call: ToolCall) -> ToolResult | None:
        for event in self.rest():
            if event.kind == "tool_result" and event.body["id"] == call.id:
                return read_result(event.body)
        return None

    def names(
        self,
        specs: Sequence[ToolSpec],
        message: str,
        kept: frozenset[str] = frozenset(),
        called: Sequence[str] = (),
    ) -> frozenset[str]:
        """Return the tools that the message was offered."""
        event = self.next
        if event is None or event.kind != "tools":
            return kept
        return frozenset(event.body["tools"])

    async def approve(self, call: ToolCall, spec: ToolSpec) -> bool:
        """Answer as the user did."""
        result = self._result(call)
        if result is None or result.status != "denied":
            return True
        await self.turn_of("tool_result", call.id)
        return False

    async def run_call(
        self, driver: Driver, call: ToolCall, context: CallContext, on_start: Callable[[], None]
    ) -> ToolResult:
        """Return what is recorded of a call; one that was cancelled waits until it is again."""
        result = self._result(call)
        if driver.spec.effects:
            await self.turn_of("tool_start", call.id)
        on_start()
        if result is None or result.status == "cancelled":
            await asyncio.Event().wait()
        await self.turn_of("tool_result", call.id)
        return result  # pyright: ignore[reportReturnType] - the wait above is without end


class RecordedEngine(FakeEngine):
    """Says what is recorded of the model's steps, piece by piece."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(context_length=1 << 30)
        self._conductor = conductor

    async def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Yield the next recorded piece; where it was broken off, break off or wait for that."""
        piece = self._conductor.next_piece()
        is_open = self._conductor.is_next_piece_open()
        if not is_open:
            await self._conductor.turn_of("step")
        if piece and request.log_probabilities is not None:
            request.log_probabilities.extend(piece.body.get("log_probabilities", ()))
        for token_id in piece.body["tokens"] if piece else ():
            yield token_id
        if is_open:
            await self._break_off()

    async def _break_off(self) -> None:
        """Fail where an error is recorded before any other signal; else wait to be stopped."""
        for event in self._conductor.rest():
            if event.kind == "error":
                raise ModelError(event.body["text"])
            if event.kind == "signal":
                break
        await self._conductor.hold()


class RecordedModel:
    """Says what is recorded of the larger model's steps."""

    def __init__(self, conductor: Conductor, name: str) -> None:
        self.name = name
        self._conductor = conductor

    async def speak(self, request: StepRequest, reply: Reply) -> None:
        """Say the next recorded step; fail or wait to be stopped where it did."""
        piece = self._conductor.next_piece()
        if piece is not None and piece.kind == "hand_over":
            reply.text, reply.num_tokens = piece.body["text"], piece.body["num_tokens"]
            reply.traps += read_calls(piece.body)
        if self._conductor.is_next_piece_open():
            await self._conductor.hold()
        await self._conductor.turn_of("hand_over")
        assert piece is not None
        if "error" in piece.body:
            raise ModelError(piece.body["error"])
        reply.is_whole = True

    def renice(self, pid: int, nice: int) -> None:
        """Share nothing."""

    def release(self, pid: int) -> None:
        """Hold nothing of a process."""

    async def close(self) -> None:
        """Hold nothing, so give nothing back."""
