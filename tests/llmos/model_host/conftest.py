from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmos.model_host import HostedModel, HostSettings, ModelHost, Reply
from llmos.model_host.memory import MB, resident_bytes
from llmos_kernel.abi import JsonObject

GUESTS = "tests.llmos.model_host.guests"
LIMIT_S = 20.0


@dataclass(slots=True)
class Reports:
    """The lines that were reported, to be waited for."""

    lines: list[str] = field(default_factory=list[str])
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._arrived.set()

    async def has(self, line: str) -> None:
        async with asyncio.timeout(LIMIT_S):
            while line not in self.lines:
                self._arrived.clear()
                await self._arrived.wait()


class Bench:
    """A host, models for it, and what they report."""

    def __init__(self, folder: Path, host: ModelHost) -> None:
        self.folder = folder
        self.host = host

    def model(self, name: str, megabytes: int = 1) -> HostedModel:
        checkpoint = self.folder / name
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / "mb").write_text(str(megabytes))
        return HostedModel(f"the {name} model", f"{GUESTS}:Obedient", str(checkpoint))

    async def ask(
        self, model: HostedModel, do: str = "tell", report: Reports | None = None, **more: str
    ) -> JsonObject:
        async with asyncio.timeout(LIMIT_S):
            reply = await self.host.ask(model, {"do": do, **more}, report=report or Reports())
        return reply.value

    async def busy(self, model: HostedModel) -> tuple[asyncio.Task[Reply], Path]:
        """Have a model work until somebody writes into the pipe that is returned."""
        pipe = self.folder / f"pipe-{os.urandom(4).hex()}"
        os.mkfifo(pipe)
        reports = Reports()
        request: JsonObject = {"do": "wait", "until": str(pipe)}
        work = asyncio.create_task(self.host.ask(model, request, report=reports))
        await reports.has("waiting")
        return work, pipe


async def let_go(pipe: Path) -> None:
    """Let a model that waits for a pipe go on."""
    await asyncio.to_thread(pipe.write_text, "")


def room_for(megabytes: int) -> HostSettings:
    """Return settings with so much room beside this process, as it is now."""
    return HostSettings(memory_mb=resident_bytes() // MB + megabytes, idle_s=600)


@pytest.fixture
async def make_bench(tmp_path: Path) -> AsyncGenerator[Callable[..., Bench]]:
    async with AsyncExitStack() as stack:

        def make(settings: HostSettings | None = None) -> Bench:
            host = ModelHost(settings)
            stack.push_async_callback(host.close)
            return Bench(tmp_path, host)

        yield make


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
