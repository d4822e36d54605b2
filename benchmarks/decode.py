"""Decode: milliseconds a step at several batch sizes, and the bytes that a step must read."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Mapping, Sequence

import torch

from benchmarks import llama_cpp
from benchmarks.continuous_batching import batch_step_s, generate_batch
from benchmarks.llmos_engine import engine_outputs, engine_step_s, warm_engine
from benchmarks.method import (
    OURS,
    Comparison,
    Variant,
    check_equal,
    environment,
    measure_rounds,
    save,
)
from benchmarks.models import TIMED_DTYPE, BenchmarkModel, embedded_model, random_model
from benchmarks.transformers_generate import GenerateDecoder, generate, load_model
from llmos_kernel.engine.base import Engine

BATCHES = (1, 8, 64)
NUM_CONTEXT = 256
NUM_STEPS = 24
CHECKED_BATCH = 3
READS = 5
BYTES = {"float32": 4, "bfloat16": 2}
LLAMA = f"llama.cpp {TIMED_DTYPE}"
CONTINUOUS = "transformers continuous batching float32"
EXACT = f"{OURS} float32"
BOUND = "bytes to read"
KEYS = {
    "generate bfloat16": "vs_generate_bf16",
    "generate float32": "vs_generate_fp32",
    EXACT: "vs_own_fp32",
    CONTINUOUS: "vs_continuous_batching",
    LLAMA: "vs_llama_cpp_bf16",
    BOUND: "vs_bytes",
}

METHOD = f"""
Milliseconds a step over {NUM_STEPS} steps after contexts of {NUM_CONTEXT} tokens, prefilled
before; one compute thread. llmos runs {TIMED_DTYPE}. Bytes to read: all weights and the batch's
keys and values in llmos' dtype, at the rate at which one thread sums a buffer of that size.
transformers' continuous batching runs on the embedded model only.
"""


async def check_decode(model: BenchmarkModel) -> None:
    """Refuse to go on where a batch does not say what `generate` says of each context alone.

    Raises:
        RuntimeError: see `check_equal`.
    """
    reference = load_model(model.folder, "float32")
    contexts = _contexts(model, CHECKED_BATCH)
    engine = await warm_engine(model, "float32")
    outputs: dict[str, object] = {
        OURS: await engine_outputs(engine, contexts, NUM_STEPS),
        "generate": generate(reference, contexts, NUM_STEPS),
        CONTINUOUS: generate_batch(reference, contexts, NUM_STEPS),
    }
    engine.close()
    if llama_cpp.IS_INSTALLED:
        outputs[LLAMA] = _llama_outputs(model, contexts)
    alone = [generate(reference, [context], NUM_STEPS)[0] for context in contexts]
    check_equal(outputs, alone)


def _llama_outputs(model: BenchmarkModel, contexts: Sequence[Sequence[int]]) -> list[list[int]]:
    path = llama_cpp.gguf_of(model, "float32")
    decoder = llama_cpp.LlamaDecoder(path, contexts, NUM_STEPS, is_exact=True)
    try:
        return decoder.outputs(NUM_STEPS)
    finally:
        decoder.close()


def _contexts(model: BenchmarkModel, batch: int) -> list[list[int]]:
    return [model.random_tokens(NUM_CONTEXT, seed) for seed in range(batch)]


class Steps:
    """The variants of one model and batch size, loaded and prefilled. Close it once."""

    @classmethod
    async def load(cls, model: BenchmarkModel, batch: int) -> Steps:
        engine = await warm_engine(model, TIMED_DTYPE)
        return cls(model, batch, engine, await warm_engine(model, "float32"))

    def __init__(
        self, model: BenchmarkModel, batch: int, engine: Engine, exact_engine: Engine
    ) -> None:
        self._model = model
        self._contexts = _contexts(model, batch)
        self._engine = engine
        self._exact_engine = exact_engine
        self._generate = {
            f"generate {dtype}": GenerateDecoder(load_model(model.folder, dtype), self._contexts)
            for dtype in ("bfloat16", "float32")
        }
        self._llama = None
        if llama_cpp.IS_INSTALLED:
            path = llama_cpp.gguf_of(model, TIMED_DTYPE)
            self._llama = llama_cpp.LlamaDecoder(path, self._contexts, NUM_STEPS)

    def variants(self) -> Sequence[Variant]:
        found = [self._ours, self._peers]
        return found if self._model.suffix else [*found, self._continuous]

    async def _ours(self, index: int) -> Mapping[str, float]:
        step_s = await engine_step_s(self._engine, self._contexts, NUM_STEPS)
        exact_s = await engine_step_s(self._exact_engine, self._contexts, NUM_STEPS)
        return {OURS: 1000 * step_s, EXACT: 1000 * exact_s, BOUND: 1000 * self._read_s()}

    async def _peers(self, index: int) -> Mapping[str, float]:
        found = {name: 1000 * each.step_s(NUM_STEPS) for name, each in self._generate.items()}
        return found | ({LLAMA: 1000 * self._llama.step_s(NUM_STEPS)} if self._llama else {})

    async def _continuous(self, index: int) -> Mapping[str, float]:
        reference = self._generate["generate float32"].model
        return {CONTINUOUS: 1000 * batch_step_s(reference, self._contexts, NUM_STEPS)}

    def _read_s(self) -> float:
        num_held = len(self._contexts) * NUM_CONTEXT * self._model.num_kv_elements
        return read_s(BYTES[TIMED_DTYPE] * (self._model.num_weights + num_held))

    def close(self) -> None:
        self._engine.close()
        self._exact_engine.close()
        if self._llama:
            self._llama.close()


def read_s(num_bytes: int) -> float:
    """Return the least seconds in which one thread reads a buffer of this size, again and again."""
    buffer = torch.ones(num_bytes // 4)
    moments = [time.perf_counter()]
    for _ in range(READS):
        buffer.sum()
        moments.append(time.perf_counter())
    return min(after - before for before, after in itertools.pairwise(moments))


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return its ratios."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    comparisons: list[Comparison] = []
    ratios: dict[str, float] = {}
    for model in (embedded_model(), random_model()):
        await check_decode(model)
        for batch in BATCHES:
            steps = await Steps.load(model, batch)
            rounds = await measure_rounds(steps.variants())
            steps.close()
            comparison = Comparison(f"{model.title}, batch {batch}", "ms", rounds)
            comparisons.append(comparison)
            ratios |= {
                f"decode_{KEYS[name]}_b{batch}{model.suffix}": ratio.median
                for name, ratio in comparison.ratios().items()
            }
    save("decode", METHOD, comparisons, setting)
    return ratios


if __name__ == "__main__":
    print(json.dumps(measure()))
