"""Python: the tool over one sandboxed kernel for each calling process.

Knows processes by their number only, and is not told when one ends: of more kernels than it may
hold it ends the one that was idle longest, and says so to the process that comes back to it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from llmos.sdk import CallContext, Effect, Output, ToolFailed, tool
from llmos_kernel.errors import SandboxUnavailable
from llmos_tools.figures import save_figures
from llmos_tools.python.limits import MIB, Limits
from llmos_tools.python.output import Collector, notes
from llmos_tools.python.session import KernelGone, Outcome, Session

RUN_LIMIT_S = 30.0
MOST_KERNELS = 8
_LOST = "Python was started anew: the variables are lost"


@dataclass
class _Seat:
    """A calling process's place: its kernel, if it has one now. `turn` orders its calls."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: Session | None = None
    was_ended_for_room: bool = False


class Python:
    """Holds the kernels. The calls of one process wait for each other, those of two do not."""

    def __init__(
        self,
        run_limit_s: float = RUN_LIMIT_S,
        limits: Limits | None = None,
        most_kernels: int = MOST_KERNELS,
    ) -> None:
        self._run_limit_s = run_limit_s
        self._limits = limits or Limits()
        self._most_kernels = most_kernels
        # In the order of their last calls, the latest last.
        self._seats: dict[int, _Seat] = {}

    async def open(self) -> None:
        """Start nothing: a kernel is started by its process's first call."""

    @tool(effects={Effect.SANDBOX}, timeout_s=60)
    async def python(self, code: str, context: CallContext) -> Output:
        """Run Python code and return what it prints.

        Args:
            code: the code
        """
        seat = self._seats.pop(context.pid, None) or _Seat()
        self._seats[context.pid] = seat
        async with seat.turn:
            note = "[" + _LOST + "]\n" if seat.was_ended_for_room else ""
            outcome = await self._run(seat, code)
        files = _saved(outcome.output, context)
        shown = [outcome.output.text] if outcome.output.text else []
        shown += [f"picture saved as {name}" for name in files] + notes(outcome.output)
        problem = self._problem(outcome)
        if problem is None:
            return Output(note + ("\n".join(shown) or "done"), files)
        raise ToolFailed(note + "\n".join([problem, *(["before that:", *shown] if shown else [])]))

    async def close(self) -> None:
        """End all kernels."""
        seats, self._seats = self._seats, {}
        await asyncio.gather(*(_end(seat) for seat in seats.values()))

    async def _run(self, seat: _Seat, code: str) -> Outcome:
        try:
            session = await self._session(seat)
        except SandboxUnavailable as error:
            raise ToolFailed(str(error)) from error
        except KernelGone as error:
            raise ToolFailed(f"Python {error}; try again") from error
        try:
            return await session.run(code, self._run_limit_s)
        except KernelGone as error:
            await _end(seat)
            raise ToolFailed(f"Python {error}. {_LOST}") from error
        except asyncio.CancelledError:
            if session.is_gone:
                await _end(seat)
            raise

    def _problem(self, outcome: Outcome) -> str | None:
        if outcome.was_interrupted:
            return f"the code was stopped after {self._run_limit_s:g} s; the variables are kept"
        if outcome.output.error_name == "MemoryError":
            room = self._limits.memory_bytes // MIB
            return f"{outcome.output.error}; a process may use {room} MB"
        return outcome.output.error

    async def _session(self, seat: _Seat) -> Session:
        if seat.session is not None and seat.session.is_gone:
            await _end(seat)
        if seat.session is None:
            await self._make_room()
            seat.session = await Session.start(self._limits)
            seat.was_ended_for_room = False
        return seat.session

    async def _make_room(self) -> None:
        idle = [s for s in self._seats.values() if s.session is not None and not s.turn.locked()]
        num_kernels = sum(seat.session is not None for seat in self._seats.values())
        for seat in idle[: max(0, num_kernels + 1 - self._most_kernels)]:
            seat.was_ended_for_room = True
            await _end(seat)


async def _end(seat: _Seat) -> None:
    session, seat.session = seat.session, None
    if session is not None:
        with suppress(KernelGone):
            await session.end()


def _saved(output: Collector, context: CallContext) -> tuple[str, ...]:
    try:
        return save_figures(output.pictures, context.workspace)
    except OSError as error:
        raise ToolFailed(f"the picture cannot be saved: {error.strerror}") from error
