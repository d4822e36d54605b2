"""Hands a step over to a larger model where the process's own one doubts a call of it.

What the larger one says is journalled, then takes the step's place; where it says nothing that
can, the step stays and the user is asked. Knows no engine and runs no call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from llmos_kernel.errors import ModelError, RetryCall
from llmos_kernel.larger import LargerModel, Reply, StepRequest
from llmos_kernel.process import Process
from llmos_kernel.progress import OnProgress, Progress
from llmos_kernel.steps import out_of_budget
from llmos_kernel.syscalls import SyscallTable
from llmos_kernel.trace import Trace
from llmos_kernel.trap import Malformed, Trap


class HandOver:
    """The larger model's side of a kernel, for all its processes."""

    def __init__(
        self,
        model: LargerModel,
        table: SyscallTable,
        trace: Trace,
        *,
        on_text: Callable[[int, str], None],
        on_progress: OnProgress,
    ) -> None:
        self._model = model
        self._table = table
        self._trace = trace
        self._on_text = on_text
        self._on_progress = on_progress

    async def run(self, process: Process) -> None:
        """Have the larger model make the last step anew, unless it fails or a signal stops it.

        Raises:
            TaskFailed: the process has used up its budget.
            StateError: the journal cannot be written; the step is as it was.
        """
        self._report(process)
        reply, reason, problem = Reply(), "signal", ""
        try:
            request = self._request(process)
            if await process.generate(lambda: self._model.speak(request, reply)):
                self._check(process, reply)
                reason = "stop"
        except Exception as error:  # whatever it dies of, the process goes on without it
            reason, problem = "error", " ".join((str(error) or repr(error)).split())
        finally:
            self._end(process, reply, reason, problem)
        if reason == "error":
            self._check_budget(process)

    def _request(self, process: Process) -> StepRequest:
        if process.tokens_left == 0:
            raise ModelError("the process has no tokens left")
        return StepRequest(
            tuple(process.conversation.messages),
            self._table.granted(process.tools),
            process.conversation.seen,
            process.tokens_left,
            process.deadline,
            process.pid,
            process.nice,
            process.is_interactive,
        )

    def _check(self, process: Process, reply: Reply) -> None:
        """Check that a reply can take the place of the step.

        Raises:
            ModelError: it cannot; the message says why.
        """
        if not reply.is_whole:
            raise ModelError(f"its step was cut off after {reply.num_tokens} tokens")
        process.conversation.check_step(reply.text, reply.traps)
        for trap in reply.traps:
            assert isinstance(trap, Trap)
            try:
                self._table.check(trap.name, trap.arguments, granted=process.tools)
            except RetryCall as error:
                raise ModelError(f"it made a call that cannot be run: {error}") from error

    def _end(self, process: Process, reply: Reply, reason: str, problem: str) -> None:
        """Journal what came of the hand-over, then let it act."""
        calls = [
            {"name": trap.name, "arguments": dict(trap.arguments)}
            for trap in reply.traps
            if not isinstance(trap, Malformed)
        ]
        body: dict[str, Any] = {
            "model": self._model.name,
            "doubted": _doubted(process),
            "reason": reason,
            "text": reply.text,
            "calls": calls,
            "num_tokens": reply.num_tokens,
        }
        if problem:
            body["error"] = problem
        self._trace.record(process, "hand_over", body)
        process.conversation.end_hand_over(reason, reply.text, reply.traps, reply.num_tokens)
        if reason == "stop" and reply.text:
            self._on_text(process.pid, reply.text)

    def _check_budget(self, process: Process) -> None:
        if process.deadline is not None and time.monotonic() >= process.deadline:
            raise out_of_budget(process, "max_seconds")
        if process.tokens_left == 0:
            raise out_of_budget(process, "max_tokens")

    def _report(self, process: Process) -> None:
        """Tell people whom the process waits for."""
        call = next(c for c in process.conversation.calls if c.is_below(process.ask_below))
        text = f"{self._model.name} is asked, since I am only {call.request.confidence:.0%} sure"
        self._on_progress(Progress(process.pid, call.id, text))


def _doubted(process: Process) -> list[dict[str, Any]]:
    """Return the calls of which the model is not sure enough, as events hold them."""
    return [
        {
            "name": call.request.name,
            "arguments": dict(call.request.arguments),
            "confidence": call.confidence.body(),
        }
        for call in process.conversation.calls
        if call.confidence and call.is_below(process.ask_below)
    ]
