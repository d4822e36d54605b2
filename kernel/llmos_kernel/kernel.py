"""A process's life: a user's message in, model steps and system calls, an answer out.

The kernel owns the model and the journal. It knows no command line, no plugin discovery and no
particular engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmos_kernel.abi import CallContext, Driver, ToolCall, ToolResult
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.dispatch import run_call
from llmos_kernel.engine.base import Engine, GenerateRequest
from llmos_kernel.errors import LlmosError, ModelError, RetryCall
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.policy import Approver, needs_approval
from llmos_kernel.process import ExitStatus, Process, ProcessState, ProcessTable
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.trap import Malformed, Text, Trap, TrapParser

MAX_MALFORMED = 3
CANCELLED = "error: cancelled by the user"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one turn. A step is one reply of the model, up to its stop token."""

    max_steps: int = 12
    max_step_tokens: int = 512


class TaskFailed(LlmosError):
    """A process cannot finish its task; the message says why."""


@dataclass(slots=True)
class Step:
    """What one step of the model came to. `is_whole` is false where a limit cut it off."""

    text: str = ""
    traps: list[Trap | Malformed] = field(default_factory=list[Trap | Malformed])
    is_whole: bool = False


def ignore(*_: Any) -> None:
    """Listen to nothing."""


class Kernel:
    """Processes over one engine, one tool table and one journal. Use from one event loop."""

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
        limits: Limits | None = None,
        is_dry_run: bool = False,
        on_event: Callable[[JournalEvent], None] = ignore,
        on_text: Callable[[int, str], None] = ignore,
    ) -> None:
        """Take over engine, table and journal: `close` closes them.

        `on_event` gets every journalled event, `on_text` (pid, piece) the answer as it comes.
        A dry run journals the calls and ends the turn before any of them runs.
        """
        self._engine = engine
        self._renderer = renderer
        self._table = table
        self._journal = journal
        self._workspace = workspace
        self._model = model
        self._approve = approve
        self._limits = limits or Limits()
        self._is_dry_run = is_dry_run
        self._on_event = on_event
        self._on_text = on_text
        self.processes = ProcessTable()

    def start(self, task: str) -> Process:
        """Make a process whose context is the system prompt and the tool table."""
        process = Process(self._journal.add_process(task, self._model))
        self.processes.add(process)
        process.context += self._renderer.system_ids(SYSTEM_PROMPT, self._table.specs)
        self._move(process, ProcessState.READY)
        return process

    async def turn(self, process: Process, message: str) -> str:
        """Give a process a user's message and return its answer.

        After cancellation or failure the context is whole again, so that another turn can follow.

        Raises:
            TaskFailed: the model came to no answer within its limits.
            LlmosError: the engine or the journal failed.
        """
        self.tell(process, message)
        process.num_malformed = 0
        for _ in range(self._limits.max_steps):
            step = await self.step(process)
            if not step.traps:
                return self._answer(process, step)
            results = await self._run_traps(process, step.traps)
            if self._is_dry_run:
                return self._answer(process, step)
            names = [trap.name if isinstance(trap, Trap) else "" for trap in step.traps]
            self.give_results(process, [result.text for result in results], names)
            if process.num_malformed >= MAX_MALFORMED:
                raise self._failure(process, f"the model made {MAX_MALFORMED} malformed calls")
        raise self._failure(process, f"no answer after {self._limits.max_steps} steps")

    def finish(self, process: Process, status: ExitStatus) -> None:
        """End a process; it leaves the table, its journal stays."""
        process.exit_status = status
        self._move(process, ProcessState.ZOMBIE)
        self.processes.remove(process.pid)

    async def close(self) -> None:
        """End every process that is left, then close tools, engine and journal."""
        for process in list(self.processes):
            self.finish(process, ExitStatus.INTERRUPTED)
        await self._table.close()
        self._engine.close()
        self._journal.close()

    # One step ---------------------------------------------------------------

    def tell(self, process: Process, message: str) -> None:
        """Append a user's message to a process's context."""
        self._record(process, "user", {"text": message})
        process.context += self._renderer.user_ids(message, process.context)

    async def step(self, process: Process) -> Step:
        """Let the model speak once, to its stop token or its limit, and append what it said."""
        self._move(process, ProcessState.RUNNING)
        process.context += self._renderer.assistant_open_ids(process.context)
        step = Step()
        parser = TrapParser(self._renderer, self._table.specs)
        try:
            async for token_id in self._tokens(process):
                process.context.append(token_id)
                step.is_whole = token_id in self._renderer.stop_ids
                self._take(process, step, parser.feed(token_id))
        finally:
            if not step.is_whole:
                process.context.append(self._renderer.stop_id)
            process.context += self._renderer.after_stop_ids(process.context)
            self._move(process, ProcessState.READY)
        self._take(process, step, parser.finish())
        return step

    async def _tokens(self, process: Process) -> AsyncIterator[int]:
        room = self._engine.context_length - len(process.context)
        if room < 1:
            raise ModelError(
                f"the conversation has filled the model's context of {self._engine.context_length} "
                "tokens; start a new one, or use a model with a longer context"
            )
        request = GenerateRequest(
            tuple(process.context),
            self._renderer.stop_id,
            min(room, self._limits.max_step_tokens),
        )
        async with aclosing(self._engine.generate(request)) as tokens:  # pyright: ignore
            async for token_id in tokens:
                yield token_id
                if token_id in self._renderer.stop_ids:
                    return

    def _take(self, process: Process, step: Step, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Text):
                step.text += event.text
                self._on_text(process.pid, event.text)
            elif isinstance(event, Trap | Malformed):
                step.traps.append(event)

    def give_results(self, process: Process, texts: list[str], names: Sequence[str] = ()) -> None:
        """Append the results of a step's calls, in their order; `names` are the tools' names."""
        process.context += self._renderer.results_ids(texts, names=names, context=process.context)

    # System calls -----------------------------------------------------------

    async def _run_traps(self, process: Process, traps: list[Trap | Malformed]) -> list[ToolResult]:
        """Run a step's calls in order; after a malformed one the rest is not run."""
        self._move(process, ProcessState.WAITING)
        results: list[ToolResult] = []
        try:
            for trap in traps:
                if any(result.status == "retry" for result in results):
                    results.append(self._skipped(process, trap))
                else:
                    results.append(await self._run_trap(process, trap))
        except asyncio.CancelledError:
            missing = len(traps) - len(results)
            self.give_results(process, [r.text for r in results] + [CANCELLED] * missing)
            raise
        finally:
            self._move(process, ProcessState.READY)
        return results

    async def _run_trap(self, process: Process, trap: Trap | Malformed) -> ToolResult:
        call_id = process.next_call_id()
        if isinstance(trap, Malformed):
            process.num_malformed += 1
            self._record(
                process, "malformed", {"id": call_id, "reason": trap.reason, "raw": trap.raw}
            )
            return ToolResult(call_id, "retry", f"error: {trap.detail}")
        call = ToolCall(call_id, trap.name, trap.arguments)
        try:
            driver = self._table.check(call.name, call.arguments)
        except RetryCall as error:
            process.num_malformed += 1
            self._record_call(process, call, is_durable=False)
            return self._record_result(process, ToolResult(call_id, "retry", f"error: {error}"))
        return await self._run_checked(process, call, driver)

    async def _run_checked(self, process: Process, call: ToolCall, driver: Driver) -> ToolResult:
        """Journal the intent, run the call, journal its outcome."""
        spec = driver.spec
        if self._is_dry_run:
            self._record_call(process, call, is_durable=False)
            return ToolResult(call.id, "not_run", "")
        if needs_approval(spec) and not await self._approve(call, spec):
            self._record_call(process, call, is_durable=False)
            denied = ToolResult(call.id, "denied", f"error: the user did not allow {call.name}")
            return self._record_result(process, denied)
        self._record_call(process, call, is_durable=bool(spec.effects))
        context = CallContext(process.pid, self._workspace)
        try:
            result = await run_call(driver, call, context, self._journal.store_blob)
        except asyncio.CancelledError:
            self._record_result(process, ToolResult(call.id, "cancelled", CANCELLED))
            raise
        return self._record_result(process, result)

    def _skipped(self, process: Process, trap: Trap | Malformed) -> ToolResult:
        text = "error: not run, since an earlier call of the same step was malformed"
        return ToolResult(process.next_call_id(), "not_run", text)

    # Records ----------------------------------------------------------------

    def _answer(self, process: Process, step: Step) -> str:
        text = step.text.strip()
        body: dict[str, Any] = {"text": text}
        if not step.is_whole:
            body["is_truncated"] = True
        self._record(process, "answer", body)
        return text

    def _failure(self, process: Process, reason: str) -> TaskFailed:
        message = f"{reason}; say it in other words, or name a larger model with --model"
        self._record(process, "error", {"text": message})
        return TaskFailed(message)

    def _record_call(self, process: Process, call: ToolCall, *, is_durable: bool) -> None:
        body = {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
        self._record(process, "tool_call", body, is_durable=is_durable)

    def _record_result(self, process: Process, result: ToolResult) -> ToolResult:
        body: dict[str, Any] = {
            "id": result.call_id,
            "status": result.status,
            "text": result.text,
        }
        if result.files:
            body["files"] = list(result.files)
        self._record(process, "tool_result", body)
        return result

    def _move(self, process: Process, state: ProcessState) -> None:
        process.move(state)
        body = {"state": state.value}
        if process.exit_status is not None:
            body["exit"] = process.exit_status.value
        self._record(process, "state", body)

    def _record(
        self, process: Process, kind: str, body: dict[str, Any], *, is_durable: bool = False
    ) -> None:
        self._on_event(self._journal.append(process.pid, kind, body, is_durable=is_durable))
