"""llmos' own engine, driven through the seam that the kernel uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing

import torch

from benchmarks.models import BenchmarkModel
from llmos_kernel.engine.base import Engine, GenerateRequest, TokenMask
from llmos_kernel.engine.torch.engine import TorchEngine

NEVER = -1
WARM_UP_PROCESSES = 8
WARM_UP_TOKENS = 32
WARM_UP_SEED = 1_000_000_000


async def warm_engine(model: BenchmarkModel, dtype: str) -> TorchEngine:
    """Load an engine and let it run until it has its compiled operations; it then holds nothing."""
    engine = TorchEngine.load(model.folder, dtype=getattr(torch, dtype))
    pids = range(WARM_UP_PROCESSES)
    prompts = [model.random_tokens(WARM_UP_TOKENS, WARM_UP_SEED + pid) for pid in pids]
    await engine_outputs(engine, prompts, WARM_UP_TOKENS)
    for pid in pids:
        engine.release(pid)
    return engine


class EngineServer:
    """Every process's turn is one request; how they share the model is the engine's business."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def turn(self, process: int, tokens: Sequence[int], num_new: int) -> list[int]:
        """Continue a process's context beside those of the others."""
        return await _output(self.engine, process, tokens, num_new)

    def close(self) -> None:
        self.engine.close()


async def engine_outputs(
    engine: Engine,
    contexts: Sequence[Sequence[int]],
    num_new: int,
    masks: Sequence[TokenMask] | None = None,
) -> list[list[int]]:
    """Continue all contexts side by side, greedily, each under its mask."""
    streams = [
        _output(engine, pid, context, num_new, masks[pid] if masks else None)
        for pid, context in enumerate(contexts)
    ]
    return await asyncio.gather(*streams)


async def prefill_s(engine: Engine, context: Sequence[int]) -> float:
    """Return the seconds until the first token after a context that the engine has not seen."""
    start = time.perf_counter()
    await _output(engine, 0, context, 1)
    return time.perf_counter() - start


async def engine_step_s(
    engine: Engine,
    contexts: Sequence[Sequence[int]],
    num_new: int,
    masks: Sequence[TokenMask] | None = None,
) -> float:
    """Return the seconds a step in which all contexts decode, each under its mask.

    What the engine does not hold yet of the contexts is prefilled before.
    """
    await engine_outputs(engine, contexts, 1)
    start = time.perf_counter()
    await engine_outputs(engine, contexts, num_new, masks)
    return (time.perf_counter() - start) / num_new


async def _output(
    engine: Engine,
    pid: int,
    tokens: Sequence[int],
    num_new: int,
    mask: TokenMask | None = None,
) -> list[int]:
    request = GenerateRequest(tuple(tokens), NEVER, num_new, pid=pid, mask=mask)
    async with aclosing(engine.generate(request)) as stream:  # pyright: ignore
        return [token_id async for token_id in stream]
