"""Grammar: what masking costs a step in which every sequence is in the middle of a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from tokenizers import Tokenizer

from benchmarks.llmos_engine import engine_step_s, warm_engine
from benchmarks.method import OURS, Comparison, Spread, environment, measure_rounds, save
from benchmarks.models import TIMED_DTYPE, BenchmarkModel, embedded_model
from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.renderer import Renderer, detect_dialect
from llmos_kernel.engine.base import Engine
from llmos_kernel.grammar import CallMask, Masks

BATCHES = (1, 64)
NUM_CONTEXT = 256
NUM_STEPS = 24
FREE = "without masks"

METHOD = f"""
Milliseconds a step over {NUM_STEPS} steps of the embedded model in {TIMED_DTYPE} after contexts of
{NUM_CONTEXT} tokens, one compute thread; with masks, every sequence writes the arguments of a call
to one of two tools in each of the steps. It did not choose to make that call: three in ten of its
best tokens are not allowed, far more than in use.
"""


def tools() -> list[ToolSpec]:
    """Return tools whose calls take longer to write than the steps that are timed."""
    text = {"type": "string", "minLength": 400}
    fields = {"title": text, "count": {"type": "integer"}, "tags": {"type": "array", "items": text}}
    names = ("store", "publish")
    return [
        ToolSpec(name, name, {"type": "object", "properties": fields, "required": list(fields)})
        for name in names
    ]


class Masking:
    """One batch of the embedded model, with and without masks. Close it once."""

    def __init__(self, model: BenchmarkModel, batch: int, engine: Engine) -> None:
        tokenizer = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
        self._renderer = Renderer(tokenizer, detect_dialect(tokenizer))
        self._masks = Masks(self._renderer)
        self._contexts = [model.random_tokens(NUM_CONTEXT, seed) for seed in range(batch)]
        self._engine = engine

    async def masked(self, index: int) -> Mapping[str, float]:
        masks = [self._open_mask() for _ in self._contexts]
        step_s = await engine_step_s(self._engine, self._contexts, NUM_STEPS, masks)
        if any(mask.words() is None for mask in masks):
            raise RuntimeError("a call was closed before the last step; let the tools ask for more")
        return {OURS: 1000 * step_s}

    async def free(self, index: int) -> Mapping[str, float]:
        return {FREE: 1000 * await engine_step_s(self._engine, self._contexts, NUM_STEPS)}

    def _open_mask(self) -> CallMask:
        mask = self._masks.mask(tools())
        assert mask is not None
        assert self._renderer.call_open_id is not None
        mask.accept(self._renderer.call_open_id)
        return mask

    def close(self) -> None:
        self._engine.close()


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return the masks' share of a step."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    comparisons: list[Comparison] = []
    shares: dict[str, float] = {}
    model = embedded_model()
    for batch in BATCHES:
        masking = Masking(model, batch, await warm_engine(model, TIMED_DTYPE))
        rounds = await measure_rounds([masking.masked, masking.free])
        masking.close()
        comparisons.append(Comparison(f"batch {batch}", "ms", rounds))
        share = Spread.of([1 - each[FREE] / each[OURS] for each in rounds])
        shares[f"grammar_share_b{batch}"] = share.median
    save("grammar", METHOD, comparisons, setting)
    return shares


if __name__ == "__main__":
    print(json.dumps(measure()))
