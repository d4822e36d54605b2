"""Calculate: the tool over a worker process that is kept warm and replaced when it fails.

Knows no maths: what an expression means is decided in the worker.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from llmos.sdk import CallContext, Effect, Output, RetryCall, ToolFailed, tool
from llmos_tools.calculate.limits import LONGEST_EXPRESSION, TOO_LARGE, limit_of
from llmos_tools.calculate.process import WorkerGone, WorkerProcess
from llmos_tools.figures import save_figures


class Calculate:
    """Holds one worker process; calls wait for each other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._starting: asyncio.Task[WorkerProcess] | None = None

    async def open(self) -> None:
        """Start the worker without waiting for it: sympy takes most of a second to import."""
        self._start()

    @tool(effects={Effect.FILES}, is_repeatable=True, timeout_s=10, max_concurrent=None)
    async def calculate(self, expression: str, context: CallContext) -> Output:
        """Work out maths exactly.

        Args:
            expression: in sympy syntax
        """
        if len(expression) > LONGEST_EXPRESSION:
            raise RetryCall(
                f"the expression has {len(expression)} characters, {LONGEST_EXPRESSION} can be read"
            )
        limit_s = limit_of(expression)
        async with self._turn, self._worker() as worker:
            try:
                async with asyncio.timeout(limit_s):
                    reply = await worker.ask(expression)
            except TimeoutError as error:
                raise ToolFailed(f"{TOO_LARGE}: it takes more than {limit_s:g} s") from error
            except WorkerGone as error:
                raise ToolFailed(f"{TOO_LARGE}: it takes too much memory") from error
        match reply:
            case {"answer": answer, "picture": picture}:
                return _drawn(answer, b64decode(picture), context)
            case {"answer": answer}:
                return Output(answer)
            case {"retry": problem}:
                raise RetryCall(problem)
            case _:
                raise ToolFailed(reply["failed"])

    async def close(self) -> None:
        """End the worker, also one that is still starting."""
        starting, self._starting = self._starting, None
        if starting is None:
            return
        starting.cancel()
        with suppress(asyncio.CancelledError, WorkerGone):
            worker = await starting
            await worker.end()

    def _start(self) -> asyncio.Task[WorkerProcess]:
        self._starting = asyncio.create_task(WorkerProcess.start(), name="calculate worker")
        self._starting.add_done_callback(_mark_retrieved)
        return self._starting

    @asynccontextmanager
    async def _worker(self) -> AsyncGenerator[WorkerProcess]:
        """Lend a ready worker. If its evaluation does not finish, it is killed and replaced."""
        starting = self._starting or self._start()
        try:
            worker = await asyncio.shield(starting)
            if worker.has_ended:
                worker = await asyncio.shield(self._start())
        except WorkerGone as error:
            self._starting = None
            raise ToolFailed(f"the calculator does not start: {error}") from error
        try:
            yield worker
        except BaseException:
            worker.kill()
            self._start()
            await worker.end()
            raise


def _drawn(text: str, picture: bytes, context: CallContext) -> Output:
    try:
        files = save_figures([picture], context.workspace)
    except OSError as error:
        raise ToolFailed(f"the picture cannot be saved: {error.strerror}") from error
    return Output(f"{text}, saved as {files[0]}", files)


def _mark_retrieved(starting: asyncio.Task[WorkerProcess]) -> None:
    """Read a failed start, which the next call reports, so that asyncio does not log it too."""
    if not starting.cancelled():
        starting.exception()
