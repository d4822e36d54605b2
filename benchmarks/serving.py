"""Serving: many processes with tools, by llmos, by its peers, and at the least that it can take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from benchmarks import llama_cpp
from benchmarks.llmos_engine import (
    ENGINE_DTYPE,
    EngineServer,
    engine_step_s,
    load_engine,
    prefill_s,
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
from benchmarks.models import BenchmarkModel, embedded_model, random_model
from benchmarks.transformers_generate import GenerateServer, load_model
from benchmarks.workload import Run, Server, Shape, Workload, run_workload

FIFO = "generate, first come first served"
LOCK = "generate, cache kept, behind a lock"
LLAMA = "llama.cpp"
BOUND = "lower bound"
KEYS = {FIFO: "vs_fifo", LOCK: "vs_lock", LLAMA: "vs_llama_cpp"}

SHAPE = Shape(num_processes=32, num_turns=6)
CHECKED = Shape(num_processes=3, num_turns=2, num_new=12, tool_s=0)
# Peers that serve one turn at a time run this many of the processes.
NUM_SERIAL = 2
NUM_BOUND_PROMPTS = 4
WARM_UP_TOKENS = 64

METHOD = f"""
{SHAPE.num_processes} processes of {SHAPE.num_turns} turns: a prompt of
{SHAPE.num_prefix + SHAPE.num_prompt} tokens, {SHAPE.num_prefix} of them shared, then each turn
{SHAPE.num_new} tokens out, a tool of {SHAPE.tool_s * 1000:g} ms, {SHAPE.num_result} tokens in.
Seconds until the last tool has ended; one compute thread, {ENGINE_DTYPE} weights everywhere.
`generate` serves one turn at a time, so that the other processes' turns hide the tools: measured
over {NUM_SERIAL} of the processes without tools and multiplied. llama.cpp: `llama_decode` over all
sequences, flash attention, its default float16 cache, the prefix copied. The lower bound: every
token prefilled once at the rate of a prompt alone, every step at the whole batch, no idle moment,
and the last tool, at rates measured in the same round.
"""


@dataclass(frozen=True, slots=True)
class Peers:
    """What the rounds share: the loaded reference and, where it is installed, a GGUF file."""

    reference: PreTrainedModel
    gguf: Path | None

    @classmethod
    def load(cls, model: BenchmarkModel, dtype: str) -> Peers:
        gguf = llama_cpp.gguf_of(model, dtype) if llama_cpp.IS_INSTALLED else None
        return cls(load_model(model.folder, dtype), gguf)

    def llama_server(self, workload: Workload, *, is_exact: bool = False) -> Server:
        llama = llama_cpp.LlamaCpp(
            self.gguf,
            num_sequences=len(workload.prompts),
            num_tokens=workload.context_length(0, workload.num_turns),
            is_exact=is_exact,
        )
        return llama_cpp.LlamaServer(llama, workload.prefix)


async def check_serving(model: BenchmarkModel) -> None:
    """Refuse to go on where a server does not say what `generate` says of whole contexts.

    Raises:
        RuntimeError: see `check_equal`.
    """
    peers = Peers.load(model, "float32")
    workload = CHECKED.workload(model, 0)
    servers: dict[str, Server] = {
        OURS: EngineServer(load_engine(model.folder)),
        LOCK: GenerateServer(peers.reference, keeps_caches=True),
    }
    if peers.gguf:
        servers[LLAMA] = peers.llama_server(workload, is_exact=True)
    reference = await _closing(GenerateServer(peers.reference, keeps_caches=False), workload)
    runs = {name: await _closing(server, workload) for name, server in servers.items()}
    check_equal({name: run.contexts for name, run in runs.items()}, reference.contexts)


async def _closing(server: Server, workload: Workload) -> Run:
    try:
        return await run_workload(server, workload)
    finally:
        server.close()


def variants(model: BenchmarkModel, shape: Shape) -> Sequence[Variant]:
    """Return the makespans to measure, llmos and its lower bound by one variant."""
    peers = Peers.load(model, ENGINE_DTYPE)

    async def ours(index: int) -> Mapping[str, float]:
        workload = shape.workload(model, index)
        server = EngineServer(load_engine(model.folder))
        await server.turn(0, model.random_tokens(WARM_UP_TOKENS, seed=0), WARM_UP_TOKENS)
        try:
            run = await run_workload(server, workload)
            return {OURS: run.makespan_s, BOUND: await _bound_s(server, workload, run, model)}
        finally:
            server.close()

    def serial(name: str, *, keeps_caches: bool) -> Variant:
        async def measure_one_at_a_time(index: int) -> Mapping[str, float]:
            part = shape.workload(model, index).part(NUM_SERIAL, tool_s=0)
            server = GenerateServer(peers.reference, keeps_caches=keeps_caches)
            run = await _closing(server, part)
            return {name: run.makespan_s * shape.num_processes / NUM_SERIAL + shape.tool_s}

        return measure_one_at_a_time

    async def llama(index: int) -> Mapping[str, float]:
        workload = shape.workload(model, index)
        return {LLAMA: (await _closing(peers.llama_server(workload), workload)).makespan_s}

    found = [ours, serial(FIFO, keeps_caches=False), serial(LOCK, keeps_caches=True)]
    return [*found, llama] if peers.gguf else found


async def _bound_s(
    server: EngineServer, workload: Workload, run: Run, model: BenchmarkModel
) -> float:
    """Return the least time for a workload, at the rates of the engine that has just run it."""
    num_prompt = len(workload.prefix) + len(workload.prompts[0])
    prompts = [model.random_tokens(num_prompt, -seed) for seed in range(1, NUM_BOUND_PROMPTS + 1)]
    prefills = [await prefill_s(server.engine, prompt) / num_prompt for prompt in prompts]
    middle = workload.context_length(0, workload.num_turns // 2)
    contexts = [context[:middle] for context in run.contexts]
    step_s = await engine_step_s(server.engine, contexts, workload.num_new)
    # The first token of a turn comes with the prefill.
    num_steps = workload.num_turns * (workload.num_new - 1)
    prefill = workload.num_prefill_tokens * Spread.of(prefills).median
    return prefill + num_steps * step_s + workload.tool_s


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return its ratios."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    comparisons: list[Comparison] = []
    ratios: dict[str, float] = {}
    for model in (embedded_model(), random_model()):
        await check_serving(model)
        rounds = await measure_rounds(variants(model, SHAPE))
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
