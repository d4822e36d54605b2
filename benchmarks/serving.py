"""Serving: many processes with tools, by llmos, by its peers, and at the least that it can take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks import llama_cpp
from benchmarks.llmos_engine import (
    EngineServer,
    engine_step_s,
    prefill_s,
    warm_engine,
)
from benchmarks.method import (
    OURS,
    Comparison,
    Spread,
    Variant,
    check_equal,
    environment,
    measure_rounds,
    save,
)
from benchmarks.models import TIMED_DTYPE, BenchmarkModel, embedded_model, random_model
from benchmarks.transformers_generate import GenerateServer, load_model
from benchmarks.workload import Run, Server, Shape, Workload, run_and_close, run_workload

FIFO = "generate, first come first served"
LOCK = "generate, cache kept, behind a lock"
LLAMA = "llama.cpp"
BOUND = "lower bound"
KEYS = {FIFO: "vs_fifo", LOCK: "vs_lock", LLAMA: "vs_llama_cpp"}

SHAPE = Shape(num_processes=32, num_turns=6)
# The larger model takes several times as long for a turn.
RANDOM_SHAPE = replace(SHAPE, num_turns=3)
CHECKED = Shape(num_processes=3, num_turns=2, num_new=12, tool_s=0)
# Peers that serve one turn at a time run this many of the processes.
NUM_SERIAL = 2
NUM_BOUND_PROMPTS = 4

METHOD = f"""
{SHAPE.num_processes} processes of {SHAPE.num_turns} turns ({RANDOM_SHAPE.num_turns} on the random
model): a prompt of
{SHAPE.num_prefix + SHAPE.num_prompt} tokens, {SHAPE.num_prefix} of them shared, then each turn
{SHAPE.num_new} tokens out, a tool of {SHAPE.tool_s * 1000:g} ms, {SHAPE.num_result} tokens in.
Seconds until the last tool has ended; one compute thread, {TIMED_DTYPE} weights everywhere.
`generate` serves one turn at a time, so that the other processes' turns hide the tools: measured
over {NUM_SERIAL} of the processes without tools and multiplied. llama.cpp: `llama_decode` over all
sequences, the prefix copied, its fast attention over its default float16 cache (its output is
checked with exact attention over a float32 cache). The lower bound: every
token prefilled once at the rate of a prompt alone, every step at the whole batch, no idle moment,
and the last tool, at rates measured in the same round.
"""


class Serving:
    """One workload on one model, the weights in one dtype; each variant runs it anew."""

    def __init__(self, model: BenchmarkModel, shape: Shape, dtype: str) -> None:
        self._model = model
        self._shape = shape
        self._dtype = dtype
        self._reference = load_model(model.folder, dtype)
        self._gguf = llama_cpp.gguf_of(model, dtype) if llama_cpp.IS_INSTALLED else None

    def batching(self) -> Sequence[Variant]:
        """Return the variants that serve many at once."""
        return [self._ours, self._llama] if self._gguf else [self._ours]

    def all(self) -> Sequence[Variant]:
        """Return all variants; the lower bound is measured right after llmos."""
        return [self._ours_and_bound, *self.batching()[1:], self._fifo, self._lock]

    async def check(self) -> None:
        """Refuse to go on where a server does not say what `generate` says of whole contexts.

        Raises:
            RuntimeError: see `check_equal`.
        """
        workload = self._shape.workload(self._model, 0)
        servers: dict[str, Server] = {
            OURS: await self._warm_server(),
            LOCK: GenerateServer(self._reference, keeps_caches=True),
        }
        if self._gguf:
            servers[LLAMA] = self._llama_server(workload, is_exact=True)
        fifo = GenerateServer(self._reference, keeps_caches=False)
        reference = (await run_and_close(fifo, workload)).contexts
        runs = {name: await run_and_close(server, workload) for name, server in servers.items()}
        check_equal({name: run.contexts for name, run in runs.items()}, reference)

    async def _ours(self, index: int) -> Mapping[str, float]:
        server = await self._warm_server()
        run = await run_and_close(server, self._shape.workload(self._model, index))
        return {OURS: run.makespan_s}

    async def _ours_and_bound(self, index: int) -> Mapping[str, float]:
        workload = self._shape.workload(self._model, index)
        server = await self._warm_server()
        try:
            run = await run_workload(server, workload)
            return {OURS: run.makespan_s, BOUND: await self._bound_s(server, workload, run)}
        finally:
            server.close()

    async def _warm_server(self) -> EngineServer:
        """Return a server that holds nothing of an earlier round."""
        return EngineServer(await warm_engine(self._model, self._dtype))

    async def _bound_s(self, server: EngineServer, workload: Workload, run: Run) -> float:
        """Return the least time for a workload, at the rates of the engine that has just run it."""
        num_prompt = len(workload.prefix) + len(workload.prompts[0])
        prefills: list[float] = []
        for seed in range(1, NUM_BOUND_PROMPTS + 1):
            prompt = self._model.random_tokens(num_prompt, -seed)
            prefills.append(await prefill_s(server.engine, prompt) / num_prompt)
        middle = workload.context_length(0, workload.num_turns // 2)
        contexts = [context[:middle] for context in run.contexts]
        step_s = await engine_step_s(server.engine, contexts, workload.num_new)
        # The first token of a turn comes with the prefill.
        num_steps = workload.num_turns * (workload.num_new - 1)
        prefill = workload.num_prefill_tokens * Spread.of(prefills).median
        return prefill + num_steps * step_s + workload.tool_s

    async def _fifo(self, index: int) -> Mapping[str, float]:
        return {FIFO: await self._one_at_a_time_s(index, keeps_caches=False)}

    async def _lock(self, index: int) -> Mapping[str, float]:
        return {LOCK: await self._one_at_a_time_s(index, keeps_caches=True)}

    async def _one_at_a_time_s(self, index: int, *, keeps_caches: bool) -> float:
        part = self._shape.workload(self._model, index).part(NUM_SERIAL, tool_s=0)
        server = GenerateServer(self._reference, keeps_caches=keeps_caches)
        run = await run_and_close(server, part)
        return run.makespan_s * self._shape.num_processes / NUM_SERIAL + self._shape.tool_s

    async def _llama(self, index: int) -> Mapping[str, float]:
        workload = self._shape.workload(self._model, index)
        run = await run_and_close(self._llama_server(workload), workload)
        return {LLAMA: run.makespan_s}

    def _llama_server(self, workload: Workload, *, is_exact: bool = False) -> Server:
        llama = llama_cpp.LlamaCpp(
            self._gguf,
            num_sequences=len(workload.prompts),
            num_tokens=workload.context_length(0, workload.num_turns),
            is_exact=is_exact,
        )
        return llama_cpp.LlamaServer(llama, workload.prefix)


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return its ratios."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    comparisons: list[Comparison] = []
    ratios: dict[str, float] = {}
    for model, shape in ((embedded_model(), SHAPE), (random_model(), RANDOM_SHAPE)):
        await Serving(model, CHECKED, "float32").check()
        rounds = await measure_rounds(Serving(model, shape, TIMED_DTYPE).all())
        comparison = Comparison(model.title, "s", rounds)
        comparisons.append(comparison)
        found = comparison.ratios()
        ratios |= {KEYS[name] + model.suffix: found[name].median for name in found if name in KEYS}
        bound = Spread.of([each[OURS] / each[BOUND] for each in rounds])
        ratios[f"vs_lower_bound{model.suffix}"] = bound.median
    save("serving", METHOD, comparisons, setting)
    return ratios


if __name__ == "__main__":
    print(json.dumps(measure()))
