"""Runs one step of the model for a process: asks the engine for tokens until the step is over.

A step may be made in several pieces, with stops between them. Knows no tools.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from llmos_kernel.conversation import Step
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.base import Engine, GenerateRequest, TokenMask
from llmos_kernel.errors import ModelError
from llmos_kernel.grammar import Words
from llmos_kernel.process import Process, TaskFailed
from llmos_kernel.trace import Trace

MAX_MALFORMED = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one turn. A step is one reply of the model, up to its stop token."""

    max_steps: int = 12
    max_step_tokens: int = 512


def out_of_budget(process: Process, name: str) -> TaskFailed:
    """Return the error of a process that has used up its `max_tokens` or `max_seconds`."""
    value = getattr(process.budget, name)
    return TaskFailed(
        f"process {process.pid} has used up its budget, {name} {value!r}; give it a larger one"
    )


def _too_hard(reason: str) -> TaskFailed:
    return TaskFailed(f"{reason}; say it in other words, or name a larger model with --model")


class StepRunner:
    """The model side of a kernel, for all its processes."""

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        trace: Trace,
        *,
        limits: Limits,
        on_text: Callable[[int, str], None],
        mask_of: Callable[[Process], TokenMask | None],
    ) -> None:
        """`mask_of` makes a new mask for a step of a process."""
        self._engine = engine
        self._renderer = renderer
        self._trace = trace
        self._limits = limits
        self._on_text = on_text
        self._mask_of = mask_of

    def check(self, process: Process) -> None:
        """Check that a process may speak once more in its turn.

        Raises:
            TaskFailed: it has used up its budget, or the model comes to no answer.
        """
        talk = process.conversation
        if talk.num_malformed >= MAX_MALFORMED:
            raise _too_hard(f"the model made {MAX_MALFORMED} malformed calls")
        if talk.step is None and talk.num_steps >= self._limits.max_steps:
            raise _too_hard(f"no answer after {self._limits.max_steps} steps")
        if process.tokens_left == 0:
            raise out_of_budget(process, "max_tokens")

    async def run(self, process: Process) -> None:
        """Let the model speak on until its step ends or a signal stops it.

        What it said is appended and journalled, however this ends.

        Raises:
            ModelError: the context is full, or the engine failed.
            TaskFailed: the process has used up its budget.
        """
        talk = process.conversation
        step = talk.open_step()
        reason = "error"
        try:
            reason = await self._generate(process, step)
        except asyncio.CancelledError:
            reason = "signal"
            raise
        finally:
            self._end_piece(process, step, reason)
        if reason == "deadline":
            raise out_of_budget(process, "max_seconds")
        if reason == "limit" and process.tokens_left == 0:
            raise out_of_budget(process, "max_tokens")

    async def _generate(self, process: Process, step: Step) -> str:
        """Take tokens from the engine and return why there are no more."""
        request = self._request(process, step)
        if not await process.generate(lambda: self._take_tokens(process, step, request)):
            return "signal"
        if step.is_whole:
            return "stop"
        is_late = request.deadline is not None and time.monotonic() >= request.deadline
        num_new = len(process.context) - len(request.tokens)
        return "deadline" if is_late and num_new < request.max_new_tokens else "limit"

    def _request(self, process: Process, step: Step) -> GenerateRequest:
        room = self._engine.context_length - len(process.context)
        if room < 1:
            raise ModelError(
                f"the conversation has filled the model's context of {self._engine.context_length} "
                "tokens; start a new one, or use a model with a longer context"
            )
        limits = [room, self._limits.max_step_tokens - len(step.tokens)]
        if process.tokens_left is not None:
            limits.append(process.tokens_left)
        return GenerateRequest(
            tuple(process.context),
            self._renderer.stop_id,
            min(limits),
            deadline=process.deadline,
            pid=process.pid,
            nice=process.nice,
            is_interactive=process.is_interactive,
            mask=self._mask(process, step),
            log_probabilities=None if process.conversation.calibration is None else [],
        )

    def _mask(self, process: Process, step: Step) -> TokenMask | None:
        """Return a mask that has taken notice of what was said of the step so far."""
        mask = self._mask_of(process)
        if mask is not None:
            for token_id in step.tokens:
                mask.accept(token_id)
        return mask

    async def _take_tokens(self, process: Process, step: Step, request: GenerateRequest) -> None:
        """Feed a step what the engine makes of a request, or of one for words alone."""
        if await self._is_taken(process, step, request):
            return
        words = Words(self._renderer, self._mask(process, step))
        await self._is_taken(process, step, replace(request, mask=words, log_probabilities=[]))

    async def _is_taken(self, process: Process, step: Step, request: GenerateRequest) -> bool:
        """Feed a step until there is no more; return whether it was not given up as a call."""
        talk = process.conversation
        # It grows as the engine goes on, by one before each token.
        told = iter(() if request.log_probabilities is None else request.log_probabilities)
        async with aclosing(self._engine.generate(request)) as tokens:  # pyright: ignore
            async for token_id in tokens:
                log_probability = next(told, None)
                if self._engine.takes_masks and talk.is_unwanted(step, token_id, log_probability):
                    return False
                if text := talk.feed(step, token_id, log_probability):
                    self._on_text(process.pid, text)
                if step.is_whole:
                    break
        return True

    def _end_piece(self, process: Process, step: Step, reason: str) -> None:
        tokens = step.tokens[step.num_recorded :]
        is_over = reason in ("stop", "limit", "deadline")
        if tokens or is_over:
            body: dict[str, Any] = {"tokens": tokens, "reason": reason}
            if told := step.log_probabilities[step.num_recorded :]:
                body["log_probabilities"] = told
            self._trace.record(process, "step", body)
            step.num_recorded = len(step.tokens)
        if is_over and (text := process.conversation.end_step()):
            self._on_text(process.pid, text)

    def answer(self, process: Process) -> None:
        """Take what the model said in its last step as the answer of the turn."""
        step = process.conversation.open_step()
        body: dict[str, Any] = {"text": step.text.strip()}
        if not step.is_whole:
            body["is_truncated"] = True
        self._trace.record(process, "answer", body)
        process.conversation.set_answer(body["text"])
