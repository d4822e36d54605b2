"""Python: the tool over one sandboxed kernel for each calling process.

Knows processes by their number only, and is not told when one ends: of more kernels than it may
hold it ends the one that was idle longest, and says so to the process that comes back to it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from llmos.sandbox.limits import MIB, Limits
from llmos.sdk import CallContext, Effect, Output, ToolFailed, tool
from llmos_kernel.errors import SandboxUnavailable
from llmos_tools.figures import save_figures
from llmos_tools.python.exchange import Exchange, Left
from llmos_tools.python.memory import keep_names, names_held
from llmos_tools.python.output import Collector, notes
from llmos_tools.python.session import KernelGone, Outcome, Session

RUN_LIMIT_S = 30.0
MOST_KERNELS = 8
MOST_NAMED = 10


@dataclass
class _Seat:
    """A calling process's place: its kernel, if it has one now. `turn` orders its calls.

    `names` are the variables it holds, or held until its kernel was ended and which are to be
    told of as lost; None where it is not known yet.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: Session | None = None
    exchange: Exchange = field(default_factory=Exchange)
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Ran:
    """A run with what was said before it and left after it."""

    outcome: Outcome
    before: tuple[str, ...]
    left: Left


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
        self._spare: asyncio.Task[Session] | None = None

    async def open(self) -> None:
        """Start a spare kernel without waiting for it; the first call takes it."""
        self._start_spare()

    @tool(effects={Effect.SANDBOX, Effect.FILES}, timeout_s=60, max_concurrent=None)
    async def python(self, code: str, context: CallContext) -> Output:
        """Run Python code and return what it prints.

        Args:
            code: the code
        """
        seat = self._seats.pop(context.pid, None) or _Seat()
        self._seats[context.pid] = seat
        async with seat.turn:
            ran = await self._run(seat, code, context)
        output = ran.outcome.output
        pictures = _saved(output, context)
        shown = [output.text] if output.text else []
        shown += [f"picture saved as {name}" for name in pictures]
        shown += [f"saved {name}" for name in ran.left.files]
        shown += [*notes(output), *ran.left.notes]
        problem = self._problem(ran.outcome)
        if problem is None:
            text = "\n".join([*ran.before, *(shown or ["done"])])
            return Output(text, (*pictures, *ran.left.files))
        after = ["before that:", *shown] if shown else []
        raise ToolFailed("\n".join([*ran.before, problem, *after]))

    async def close(self) -> None:
        """End all kernels, also one that is still starting."""
        seats, self._seats = self._seats, {}
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.cancel()
            with suppress(asyncio.CancelledError, KernelGone, SandboxUnavailable):
                await (await spare).end()
        await asyncio.gather(*(_end(seat) for seat in seats.values()))

    async def _run(self, seat: _Seat, code: str, context: CallContext) -> _Ran:
        if seat.names is None:
            seat.names = await asyncio.to_thread(names_held, context)
        try:
            session, lost = await self._session(seat)
        except SandboxUnavailable as error:
            raise ToolFailed(str(error)) from error
        except KernelGone as error:
            raise ToolFailed(f"Python {error}; try again") from error
        try:
            unseen = await seat.exchange.show(session, code, context)
            outcome = await session.run(code, self._run_limit_s)
            left = await seat.exchange.fetch(session, context)
        except KernelGone as error:
            lost = _lost(seat.names)
            await self._keep_names(seat, (), context)
            await _end(seat)
            raise ToolFailed(f"Python {error}. {lost}") from error
        except asyncio.CancelledError:
            if session.is_gone:
                await _end(seat)
            raise
        await self._keep_names(seat, left.names, context)
        return _Ran(outcome, (*([f"[{lost}]"] if lost else []), *unseen), left)

    async def _keep_names(self, seat: _Seat, names: tuple[str, ...], context: CallContext) -> None:
        if names != seat.names:
            seat.names = names
            await asyncio.to_thread(keep_names, names, context)

    def _problem(self, outcome: Outcome) -> str | None:
        if outcome.was_interrupted:
            return f"the code was stopped after {self._run_limit_s:g} s; the variables are kept"
        if outcome.output.error_name == "MemoryError":
            room = self._limits.memory_bytes // MIB
            return f"{outcome.output.error}; a process may use {room} MB"
        return outcome.output.error

    async def _session(self, seat: _Seat) -> tuple[Session, str]:
        """Return the seat's kernel, and what is to be said of one that it had before."""
        if seat.session is not None and seat.session.is_gone:
            await _end(seat)
        if seat.session is not None:
            return seat.session, ""
        await self._make_room()
        seat.session = await self._started()
        if self._num_kernels < self._most_kernels:
            self._start_spare()
        return seat.session, _lost(seat.names) if seat.names else ""

    async def _started(self) -> Session:
        """Return the spare kernel, or a new one where there is none that works."""
        spare, self._spare = self._spare, None
        if spare is not None:
            # Should it have failed, the start below says why.
            with suppress(KernelGone, SandboxUnavailable):
                session = await spare
                if not session.is_gone:
                    return session
                await session.end()
        return await Session.start(self._limits)

    def _start_spare(self) -> None:
        if self._spare is None:
            self._spare = asyncio.create_task(Session.start(self._limits), name="spare python")
            self._spare.add_done_callback(_mark_retrieved)

    @property
    def _num_kernels(self) -> int:
        return sum(seat.session is not None for seat in self._seats.values())

    async def _make_room(self) -> None:
        idle = [s for s in self._seats.values() if s.session is not None and not s.turn.locked()]
        for seat in idle[: max(0, self._num_kernels + 1 - self._most_kernels)]:
            await _end(seat)


async def _end(seat: _Seat) -> None:
    session, seat.session = seat.session, None
    seat.exchange = Exchange()
    if session is not None:
        with suppress(KernelGone):
            await session.end()


def _mark_retrieved(spare: asyncio.Task[Session]) -> None:
    """Read a failed start, which the next call reports, so that asyncio does not log it too."""
    if not spare.cancelled():
        spare.exception()


def _lost(names: tuple[str, ...] | None) -> str:
    match names:
        case None | ():
            which = "the variables are"
        case [name]:
            which = f"the variable {name} is"
        case _:
            more = ", ..." if len(names) > MOST_NAMED else ""
            which = f"the variables {', '.join(names[:MOST_NAMED])}{more} are"
    return f"Python was started anew: {which} lost"


def _saved(output: Collector, context: CallContext) -> tuple[str, ...]:
    try:
        return save_figures(output.pictures, context.workspace)
    except OSError as error:
        raise ToolFailed(f"the picture cannot be saved: {error.strerror}") from error
