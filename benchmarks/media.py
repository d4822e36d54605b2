"""Media: what a conversation feels of a model that computes flat out at the same time."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from benchmarks.llmos_engine import NEVER, warm_engine
from benchmarks.matrices import Matrices
from benchmarks.method import OURS, Comparison, Spread, Variant, environment, measure_rounds, save
from benchmarks.models import TIMED_DTYPE, BenchmarkModel, embedded_model
from llmos.model_host import HostedModel, ModelHost
from llmos_kernel.engine.base import Engine, GenerateRequest

NUM_PROMPT = 200
NUM_NEW = 800
START_LIMIT_S = 60.0
ALONE = "alone"
THREAD = "model in a thread of the kernel's process"
MEAN, P95 = "a token, mean", "a token, 95th percentile"

METHOD = f"""
Milliseconds from one token to the next of a process that decodes {NUM_NEW} tokens after a prompt of
{NUM_PROMPT} on the embedded model ({TIMED_DTYPE} weights, one compute thread), while another model
multiplies matrices without a pause: hosted by llmos in a process of its own, and in a thread of the
kernel's process, as a tool would be that loads its model itself; and alone. No median: a kernel
that gets no processor for a moment hands over several tokens at once.
"""


# Computes until the file is there, and calls back once it has begun.
Compute = Callable[[Path, Callable[[str], None]], Awaitable[object]]


class Conversation:
    """An engine that decodes, and what may be at work beside it."""

    def __init__(
        self, engine: Engine, model: BenchmarkModel, folder: Path, *, num_new: int = NUM_NEW
    ) -> None:
        self._engine = engine
        self._model = model
        self._folder = folder
        self._num_new = num_new
        self._host = ModelHost()
        self._hosted = HostedModel("the other model", "benchmarks.matrices:Matrices", str(folder))
        self._in_process = Matrices("", print)

    def variants(self) -> Sequence[Variant]:
        return [self._beside_hosted, self._alone, self._beside_thread]

    async def close(self) -> None:
        self._engine.close()
        await self._host.close()

    async def _beside_hosted(self, index: int) -> Mapping[str, float]:
        async with self._at_work(self._compute_hosted, index):
            return await self._measured(OURS, index)

    async def _beside_thread(self, index: int) -> Mapping[str, float]:
        async with self._at_work(self._compute_in_thread, index):
            return await self._measured(THREAD, index)

    async def _alone(self, index: int) -> Mapping[str, float]:
        return await self._measured(ALONE, index)

    async def _compute_hosted(self, until: Path, report: Callable[[str], None]) -> object:
        return await self._host.ask(self._hosted, {"until": str(until)}, report=report)

    async def _compute_in_thread(self, until: Path, report: Callable[[str], None]) -> object:
        request = {"until": str(until)}
        return await asyncio.to_thread(self._in_process.answer, request, self._folder, report)

    @asynccontextmanager
    async def _at_work(self, compute: Compute, index: int) -> AsyncGenerator[None]:
        """Have a model compute for the length of the block."""
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        until = self._folder / f"stop-{compute.__name__}-{index}"

        def report(_: str) -> None:
            loop.call_soon_threadsafe(begun.set)

        work = asyncio.ensure_future(compute(until, report))
        await asyncio.wait_for(begun.wait(), START_LIMIT_S)
        try:
            yield
        finally:
            until.touch()
            await work

    async def _measured(self, name: str, index: int) -> Mapping[str, float]:
        """Return the mean and the 95th percentile of the time between two tokens."""
        prompt = self._model.random_tokens(NUM_PROMPT, index)
        request = GenerateRequest(tuple(prompt), NEVER, self._num_new)
        times: list[float] = []
        async with aclosing(self._engine.generate(request)) as stream:  # pyright: ignore
            async for _ in stream:
                times.append(time.perf_counter())
        self._engine.release(request.pid)
        gaps = [1000 * (later - earlier) for earlier, later in itertools.pairwise(times)]
        return {
            f"{name}, {MEAN}": statistics.fmean(gaps),
            f"{name}, {P95}": statistics.quantiles(gaps, n=20)[-1],
        }


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return its ratios."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    model = embedded_model()
    with tempfile.TemporaryDirectory() as folder:
        conversation = Conversation(await warm_engine(model, TIMED_DTYPE), model, Path(folder))
        try:
            rounds = await measure_rounds(conversation.variants())
        finally:
            await conversation.close()
    comparisons = [comparison(rounds, MEAN), comparison(rounds, P95)]
    save("media", METHOD, comparisons, setting)
    return {
        f"media_{key}_{name}": Spread.of([each[OURS] / each[other] for each in found.rounds]).median
        for name, found in zip(("mean", "p95"), comparisons, strict=True)
        for key, other in (("vs_alone", ALONE), ("vs_thread", THREAD))
    }


def comparison(rounds: Sequence[Mapping[str, float]], quantity: str) -> Comparison:
    """Return one quantity of all variants."""
    names = (OURS, ALONE, THREAD)
    chosen = [{name: each[f"{name}, {quantity}"] for name in names} for each in rounds]
    return Comparison(quantity, "ms", chosen)


if __name__ == "__main__":
    print(json.dumps(measure()))
