"""Starts models when they are first asked, and ends those that have been idle when room is short.

Knows processes and bytes, and nothing of what a model answers.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from llmos.model_host.memory import MB, expected_bytes, machine_bytes, resident_bytes
from llmos.model_host.process import ModelProcess
from llmos.model_host.settings import HostSettings
from llmos.model_host.values import HostedModel, Reply, Report
from llmos_kernel.abi import JsonObject
from llmos_kernel.errors import ToolFailed

NO_FILES: Mapping[str, bytes] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class _Seat:
    """One model: its process where it has one, and the calls that run or wait for their turn."""

    model: HostedModel
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    process: ModelProcess | None = None
    # Reserved while it loads, measured from then on, and none without a process.
    held_bytes: int = 0
    # What it held when it was last loaded, before a call made it grow.
    loaded_bytes: int | None = None
    num_calls: int = 0
    idle_timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return self.process is not None and self.num_calls == 0


class ModelHost:
    """All hosted models of one kernel. A tool class asks for it by a type hint.

    What the kernel's process and they hold together stays below the setting `models.memory_mb`.
    Calls of one model wait for each other; different models work side by side.
    """

    def __init__(self, settings: HostSettings | None = None) -> None:
        settings = settings or HostSettings.model_validate({})
        megabytes = settings.memory_mb
        self._limit = machine_bytes() // 2 if megabytes is None else megabytes * MB
        self._idle_s = settings.idle_s
        # The least recently used first.
        self._seats: OrderedDict[HostedModel, _Seat] = OrderedDict()
        # Newcomers come in one after the other, so that a large one is not passed by small ones.
        self._entrance = asyncio.Lock()
        self._room = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        model: HostedModel,
        request: JsonObject,
        files: Mapping[str, bytes] = NO_FILES,
        *,
        report: Report,
    ) -> Reply:
        """Ask a model, which is loaded first where it is not. Cancelling ends its process.

        Raises:
            ToolFailed: it cannot be loaded, has no room, broke, or says that it cannot.
            RetryCall: it says that the request is wrong.
        """
        seat = self._seats.setdefault(model, _Seat(model))
        self._begin(seat)
        try:
            async with seat.turn:
                process = await self._running(seat, report)
                return await process.ask(request, files, report)
        finally:
            self._release(seat)

    async def close(self) -> None:
        """End all models."""
        for seat in self._seats.values():
            self._end(seat)
        await asyncio.gather(*self._endings)

    async def _running(self, seat: _Seat, report: Report) -> ModelProcess:
        """Return the process of a model that nobody else asks now; start it where there is none."""
        if seat.process is not None and not seat.process.has_ended:
            return seat.process
        seat.process, seat.held_bytes = None, 0
        local = _local(seat.model)
        await self._make_room(seat, seat.loaded_bytes or expected_bytes(local), report)
        seat.process = process = await ModelProcess.start(seat.model, local, report)
        seat.held_bytes = seat.loaded_bytes = process.held_bytes
        self._trim()
        if process.held_bytes > self._most_bytes():
            self._end(seat)
            raise self._too_large(seat.model, process.held_bytes)
        return process

    async def _make_room(self, seat: _Seat, num_bytes: int, report: Report) -> None:
        """Reserve room; idle models end for it, and while there is none it waits for one to idle.

        Raises:
            ToolFailed: there can never be so much.
        """
        async with self._entrance:
            while num_bytes > self._most_bytes() - self._held_bytes():
                if num_bytes > self._most_bytes():
                    raise self._too_large(seat.model, num_bytes)
                if (idle := self._oldest_idle()) is not None:
                    self._end(idle)
                    await asyncio.gather(*self._endings)
                    continue
                report("waiting until another model is done, for its memory")
                self._room.clear()
                await self._room.wait()
            seat.held_bytes = num_bytes

    def _begin(self, seat: _Seat) -> None:
        seat.num_calls += 1
        if seat.idle_timer is not None:
            seat.idle_timer.cancel()
            seat.idle_timer = None

    def _release(self, seat: _Seat) -> None:
        """Take note that a call has ended, in whatever way."""
        seat.num_calls -= 1
        self._seats.move_to_end(seat.model)
        self._measure(seat)
        self._room.set()
        self._trim()
        if seat.is_idle:
            loop = asyncio.get_running_loop()
            seat.idle_timer = loop.call_later(self._idle_s, self._end, seat)

    def _measure(self, seat: _Seat) -> None:
        if seat.process is None or seat.process.has_ended:
            seat.process, seat.held_bytes = None, 0
        else:
            seat.held_bytes = seat.process.held_bytes

    def _trim(self) -> None:
        """End idle models while they all hold more than they may, having grown."""
        while self._held_bytes() > self._most_bytes() and (idle := self._oldest_idle()):
            self._end(idle)

    def _end(self, seat: _Seat) -> None:
        """Let a model go; its process ends soon."""
        if seat.idle_timer is not None:
            seat.idle_timer.cancel()
        process, seat.process, seat.held_bytes, seat.idle_timer = seat.process, None, 0, None
        if process is not None:
            ending = asyncio.create_task(process.end())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    def _oldest_idle(self) -> _Seat | None:
        return next((seat for seat in self._seats.values() if seat.is_idle), None)

    def _held_bytes(self) -> int:
        return sum(seat.held_bytes for seat in self._seats.values())

    def _most_bytes(self) -> int:
        """Return what all models may hold beside the kernel's own process."""
        return self._limit - resident_bytes()

    def _too_large(self, model: HostedModel, num_bytes: int) -> ToolFailed:
        return ToolFailed(
            f"{model.name} needs about {num_bytes // MB:,} MB, and there are "
            f"{max(self._most_bytes(), 0) // MB:,} MB for models of tools beside the language "
            "model: raise the setting models.memory_mb, or name a smaller checkpoint"
        )


def _local(model: HostedModel) -> Path | None:
    """Return where a checkpoint lies on this machine, or nothing for a name.

    Raises:
        ToolFailed: it is a path, and nothing is there.
    """
    path = Path(model.checkpoint).expanduser()
    if path.exists():
        return path.absolute()
    if path.is_absolute():
        raise ToolFailed(
            f"{model.name} cannot be loaded: there is no {model.checkpoint!r}; "
            "name another checkpoint in the settings"
        )
    return None
