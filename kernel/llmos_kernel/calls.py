"""Runs the calls of one step: checks, asks, journals the intent, dispatches, journals the outcome.

Independent calls run side by side. Knows no engine, and of signals only that they cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

from llmos_kernel.abi import CallContext, Driver, Label, ToolCall, ToolResult, ToolSpec
from llmos_kernel.conversation import PendingCall
from llmos_kernel.errors import RetryCall
from llmos_kernel.policy import Approver, needs_approval
from llmos_kernel.process import Process
from llmos_kernel.progress import OnProgress, Progress, ProgressLines
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.trace import Trace
from llmos_kernel.trap import Malformed

CANCELLED = "error: cancelled by the user"
SKIPPED = "error: not run, since an earlier call of the same step was malformed"
UNKNOWN = (
    "unknown: the system stopped while {name} was at work; it may or may not have happened. "
    "Find out before you call it again"
)

RunCall: TypeAlias = Callable[
    [Driver, ToolCall, CallContext, Callable[[], None]], Awaitable[ToolResult]
]
# Gets the pid of the process that reads, and the handle that it was told.
ReadBlob: TypeAlias = Callable[[int, str], str]


class CallRunner:
    """The system call side of a kernel, for all its processes."""

    def __init__(
        self,
        table: SyscallTable,
        run_call: RunCall,
        trace: Trace,
        read_blob: ReadBlob,
        *,
        workspace: Path,
        home: Path,
        approve: Approver,
        on_progress: OnProgress,
    ) -> None:
        self._table = table
        self._run_call = run_call
        self._trace = trace
        self._read_blob = read_blob
        self._workspace = workspace
        self._home = home
        self._approve = approve
        self._on_progress = on_progress
        # A person is asked one thing at a time.
        self._asking = asyncio.Lock()

    def announce(self, process: Process) -> list[tuple[PendingCall, Driver]]:
        """Journal what the model called, refuse what cannot be run, and return the rest.

        What follows a refused call is refused too.
        """
        talk = process.conversation
        for call in talk.calls:
            if not call.is_recorded:
                self._record_intent(process, call)
        is_refused = False
        runnable: list[tuple[PendingCall, Driver]] = []
        for call in talk.calls:
            if call.result is None and is_refused and not isinstance(call.trap, Malformed):
                self._record_result(process, call, ToolResult(call.id, "not_run", SKIPPED))
            elif call.result is None and (driver := self._checked(process, call)):
                runnable.append((call, driver))
            is_refused = is_refused or call.is_malformed
        return runnable

    async def run(self, process: Process) -> None:
        """Bring every call of the last step to its result.

        When cancelled, what has no result is recorded as cancelled.

        Raises:
            StateError: the journal cannot be written; an effect without its intent is not begun.
        """
        lanes = _lanes(self.announce(process))
        try:
            if len(lanes) == 1:
                await self._run_lane(process, lanes[0])
                return
            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(self._run_lane(process, lane))
        except asyncio.CancelledError:
            for call in process.conversation.calls:
                if call.result is None:
                    result = ToolResult(call.id, "cancelled", CANCELLED)
                    self._record_result(process, call, result)
            raise
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group

    def keep(self, process: Process, results: Mapping[str, ToolResult]) -> None:
        """Journal results that were known before the process was rebuilt without them."""
        for call in process.conversation.calls:
            if call.is_recorded and call.result is None and call.id in results:
                self._record_result(process, call, results[call.id])

    async def _run_lane(self, process: Process, lane: list[tuple[PendingCall, Driver]]) -> None:
        for call, driver in lane:
            result = await self._run_one(process, call, driver)
            self._record_result(process, call, result)

    async def _run_one(self, process: Process, call: PendingCall, driver: Driver) -> ToolResult:
        spec = driver.spec
        if call.is_started and spec.effects and not spec.is_repeatable:
            return ToolResult(call.id, "unknown", UNKNOWN.format(name=spec.name))
        request = call.request
        is_asked = call.is_below(process.ask_below) or needs_approval(spec)
        if is_asked and not await self._is_approved(process, request, spec):
            return ToolResult(call.id, "denied", _denial(request, spec))

        def on_start() -> None:
            if spec.effects:
                self._trace.record(process, "tool_start", {"id": call.id}, is_durable=True)
                call.is_started = True

        lines = ProgressLines(partial(self._tell_progress, process.pid, call.id))
        context = self._context(process, call, lines.report)
        try:
            return await self._run_call(driver, request, context, on_start)
        finally:
            lines.close()

    def _tell_progress(self, pid: int, call_id: str, text: str) -> None:
        self._on_progress(Progress(pid, call_id, text))

    def _context(
        self, process: Process, call: PendingCall, report: Callable[[str], None]
    ) -> CallContext:
        talk = process.conversation
        is_of_user = process.parent is None
        return CallContext(
            process.pid,
            self._workspace,
            partial(self._read_blob, process.pid),
            home=self._home,
            asked_at=call.asked_at,
            label=talk.label if is_of_user else Label.UNTRUSTED,
            user_messages=talk.user_messages if is_of_user else (),
            report=report,
        )

    async def _is_approved(self, process: Process, call: ToolCall, spec: ToolSpec) -> bool:
        if not process.is_attended:
            return False
        async with self._asking:
            return await self._approve(call, spec)

    def _checked(self, process: Process, call: PendingCall) -> Driver | None:
        """Return the driver of a call that can be run; give any other its result."""
        if isinstance(call.trap, Malformed):
            process.conversation.refuse(call)
            return None
        try:
            return self._table.check(call.trap.name, call.trap.arguments, granted=process.tools)
        except RetryCall as error:
            call.is_malformed = True
            self._record_result(process, call, ToolResult(call.id, "retry", f"error: {error}"))
            return None

    def _record_intent(self, process: Process, call: PendingCall) -> None:
        if isinstance(call.trap, Malformed):
            body = {"id": call.id, "reason": call.trap.reason, "raw": call.trap.raw}
            event = self._trace.record(process, "malformed", body)
        else:
            body = {"id": call.id, "name": call.trap.name, "arguments": dict(call.trap.arguments)}
            if call.origins:
                body["origins"] = dict(call.origins)
            if call.confidence:
                body["confidence"] = call.confidence.body()
            event = self._trace.record(process, "tool_call", body)
        call.asked_at = event.time
        call.is_recorded = True

    def _record_result(self, process: Process, call: PendingCall, result: ToolResult) -> None:
        body = result.body()
        if call.is_malformed:
            body["is_malformed"] = True
        call.result = result  # kept even where the journal cannot take it now
        self._trace.record(process, "tool_result", body)
        process.conversation.set_result(call, result)


def _denial(call: ToolCall, spec: ToolSpec) -> str:
    """Say why a call was not run: for its effects, or for doubt, which only then is the reason."""
    if needs_approval(spec) or call.confidence is None:
        return f"error: the user did not allow {spec.name}"
    return (
        f"error: not run, since nobody confirmed it and it is only {call.confidence:.0%} sure: "
        f"{call}"
    )


def _lanes(runnable: list[tuple[PendingCall, Driver]]) -> list[list[tuple[PendingCall, Driver]]]:
    """Split calls into lanes that may run side by side; within a lane their order is kept.

    Calls of one tool share a lane, unless the tool is repeatable.
    """
    lanes: dict[str, list[tuple[PendingCall, Driver]]] = {}
    for call, driver in runnable:
        key = call.id if driver.spec.is_repeatable else driver.spec.name
        lanes.setdefault(key, []).append((call, driver))
    return list(lanes.values())
