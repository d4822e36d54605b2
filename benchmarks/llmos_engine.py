"""llmos' own engine, driven through the seam that the kernel uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import torch

from benchmarks.method import steady_step_s
from llmos_kernel.engine.base import Engine, GenerateRequest, TokenMask
from llmos_kernel.engine.torch.engine import TorchEngine

NEVER = -1


def load_engine(folder: Path, dtype: str) -> TorchEngine:
    return TorchEngine.load(folder, dtype=getattr(torch, dtype))


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
    engine: Engine, contexts: Sequence[Sequence[int]], num_new: int
) -> list[list[int]]:
    """Continue all contexts side by side, greedily."""
    streams = [_output(engine, pid, context, num_new) for pid, context in enumerate(contexts)]
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
    streams = [
        _arrivals(engine, pid, context, num_new, masks[pid] if masks else None)
        for pid, context in enumerate(contexts)
    ]
    return steady_step_s(await asyncio.gather(*streams))


async def _output(engine: Engine, pid: int, tokens: Sequence[int], num_new: int) -> list[int]:
    async with aclosing(_stream(engine, pid, tokens, num_new)) as stream:
        return [token_id async for token_id in stream]


async def _arrivals(
    engine: Engine, pid: int, tokens: Sequence[int], num_new: int, mask: TokenMask | None
) -> list[float]:
    async with aclosing(_stream(engine, pid, tokens, num_new, mask)) as stream:
        return [time.perf_counter() async for _ in stream]


def _stream(
    engine: Engine,
    pid: int,
    tokens: Sequence[int],
    num_new: int,
    mask: TokenMask | None = None,
) -> AsyncGenerator[int]:
    request = GenerateRequest(tuple(tokens), NEVER, num_new, pid=pid, mask=mask)
    return engine.generate(request)  # pyright: ignore[reportReturnType]
