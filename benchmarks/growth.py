"""Growth: how the time grows with the number of processes and with the length of a context."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from benchmarks import llama_cpp
from benchmarks.llmos_engine import engine_step_s, prefill_s, warm_engine
from benchmarks.method import OURS, Comparison, Variant, environment, measure_rounds, save
from benchmarks.models import TIMED_DTYPE, BenchmarkModel, embedded_model, random_model
from benchmarks.serving import CHECKED, LLAMA, Serving
from benchmarks.transformers_generate import GenerateDecoder, load_model
from benchmarks.workload import Shape
from llmos_kernel.engine.base import Engine

PROCESSES = (1, 4, 16, 64)
CONTEXTS = (1024, 4096, 16_384)
NUM_TURNS = 2
NUM_STEPS = 12
GENERATE = "generate, cache kept"
KEYS = {GENERATE: "vs_generate", LLAMA: "vs_llama_cpp"}

METHOD = f"""
Processes: the embedded model, {NUM_TURNS} turns of each process as under Serving. Contexts: the
random model, milliseconds a step at batch 1 over {NUM_STEPS} steps; the prefill before it is
measured once. One compute thread, {TIMED_DTYPE} weights everywhere.
"""


async def grow_processes(model: BenchmarkModel) -> list[Comparison]:
    comparisons: list[Comparison] = []
    for count in PROCESSES:
        shape = Shape(num_processes=count, num_turns=NUM_TURNS)
        rounds = await measure_rounds(Serving(model, shape, TIMED_DTYPE).batching())
        comparisons.append(Comparison(f"{count} processes", "s", rounds))
    return comparisons


class Context:
    """The variants over one long context, loaded and prefilled. Close it once."""

    def __init__(self, model: BenchmarkModel, length: int, engine: Engine) -> None:
        self._contexts = [model.random_tokens(length, length)]
        self._engine = engine
        self._generate = GenerateDecoder(load_model(model.folder, TIMED_DTYPE), self._contexts)
        self._llama = None
        if llama_cpp.IS_INSTALLED:
            path = llama_cpp.gguf_of(model, TIMED_DTYPE)
            self._llama = llama_cpp.LlamaDecoder(path, self._contexts, NUM_STEPS)

    async def prefills(self) -> Mapping[str, float]:
        """Return the seconds of each variant's prefill; to be called before the steps."""
        found = {OURS: await prefill_s(self._engine, self._contexts[0])}
        found[GENERATE] = self._generate.prefill_s
        return found | ({LLAMA: self._llama.prefill_s} if self._llama else {})

    def variants(self) -> Sequence[Variant]:
        return [self._ours, self._peers]

    async def _ours(self, index: int) -> Mapping[str, float]:
        return {OURS: 1000 * await engine_step_s(self._engine, self._contexts, NUM_STEPS)}

    async def _peers(self, index: int) -> Mapping[str, float]:
        found = {GENERATE: 1000 * self._generate.step_s(NUM_STEPS)}
        return found | ({LLAMA: 1000 * self._llama.step_s(NUM_STEPS)} if self._llama else {})

    def close(self) -> None:
        self._engine.close()
        if self._llama:
            self._llama.close()


async def grow_context(model: BenchmarkModel, length: int) -> tuple[Comparison, Comparison]:
    """Return the time of one prefill, and of the steps after it."""
    context = Context(model, length, await warm_engine(model, TIMED_DTYPE))
    prefill = Comparison(f"{length:,} tokens, prefill", "s", [await context.prefills()])
    rounds = await measure_rounds(context.variants())
    context.close()
    return prefill, Comparison(f"{length:,} tokens", "ms", rounds)


def measure() -> dict[str, float]:
    """Measure this part, write its tables and plot, and return its ratios."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    embedded, random = embedded_model(), random_model()
    for model in (embedded, random):
        await Serving(model, CHECKED, "float32").check()
    processes = await grow_processes(embedded)
    pairs = [await grow_context(random, length) for length in CONTEXTS]
    contexts = [step for _, step in pairs]
    save("growth", METHOD, [*processes, *contexts, *(prefill for prefill, _ in pairs)], setting)
    return _ratios(PROCESSES, processes, "processes") | _ratios(CONTEXTS, contexts, "tokens")


def _ratios(sizes: Sequence[int], comparisons: Sequence[Comparison], kind: str) -> dict[str, float]:
    return {
        f"growth_{KEYS[name]}_{size}_{kind}": ratio.median
        for size, comparison in zip(sizes, comparisons, strict=True)
        for name, ratio in comparison.ratios().items()
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
