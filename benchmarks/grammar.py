"""Grammar: what masking costs a step in which every sequence is in the middle of a call."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from tokenizers import Tokenizer

from benchmarks.calls import ordered_tools, requests_for_calls
from benchmarks.llmos_engine import engine_step_s, warm_engine
from benchmarks.method import OURS, Comparison, Spread, environment, measure_rounds, save
from benchmarks.models import TIMED_DTYPE, BenchmarkModel, embedded_model
from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer, detect_dialect
from llmos_kernel.engine.base import Engine, GenerateRequest
from llmos_kernel.grammar import CallMask, Masks
from llmos_kernel.tool_choice import USUAL_TOOLS

BATCHES = (1, 64)
NUM_CALLS = 64
NUM_REQUESTS = 200
NUM_CONTEXT = 256
NUM_STEPS = 16
LEAST_BATCHES = 8
FREE = "without masks"

METHOD = f"""
Milliseconds a step over {NUM_STEPS} steps of the embedded model in {TIMED_DTYPE}, one compute
thread, of {NUM_CALLS} sequences, alone or side by side; every sequence is in a call in each of the
steps. "Calls": the first {NUM_STEPS} tokens of the calls that the model makes to the usual tools at
requests of `core_3.jsonl`, where those are longer. "Against its will": it is made to call one of
two tools behind {NUM_CONTEXT} tokens drawn at random, so that three in ten of its best tokens are
not allowed, and none can be foreseen.
"""


@dataclass(frozen=True, slots=True)
class Work:
    """Contexts that end with the token that opens a call, and the tools that may be called."""

    title: str
    key: str
    contexts: Sequence[Sequence[int]]
    specs: Sequence[ToolSpec]


class Writer:
    """The embedded model's tokens and grammars, with an engine to use them."""

    def __init__(self, model: BenchmarkModel, engine: Engine) -> None:
        tokenizer = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
        self.renderer = Renderer(tokenizer, detect_dialect(tokenizer))
        self.engine = engine
        self._masks = Masks(self.renderer)
        assert self.renderer.call_open_id is not None
        self.call_open_id = self.renderer.call_open_id

    def open_mask(self, specs: Sequence[ToolSpec]) -> CallMask:
        mask = self._masks.mask(specs)
        assert mask is not None
        mask.accept(self.call_open_id)
        return mask

    async def is_long(self, context: Sequence[int], specs: Sequence[ToolSpec]) -> bool:
        """Whether the call that the model makes is not closed within the steps that are timed."""
        assert self.renderer.call_close_id is not None
        request = GenerateRequest(
            tuple(context), self.renderer.call_close_id, NUM_STEPS, mask=self.open_mask(specs)
        )
        async with aclosing(self.engine.generate(request)) as stream:  # pyright: ignore
            written = [token_id async for token_id in stream]
        return len(written) == NUM_STEPS and written[-1] != self.renderer.call_close_id


async def asked_calls(writer: Writer) -> Work:
    """Return the calls of requests, each behind the table of the usual tools."""
    specs = ordered_tools()[: len(USUAL_TOOLS)]
    table = writer.renderer.system_ids(SYSTEM_PROMPT, specs)
    opened = [*writer.renderer.assistant_open_ids(), writer.call_open_id]
    contexts: list[Sequence[int]] = []
    for request in requests_for_calls(NUM_REQUESTS):
        context = [*table, *writer.renderer.user_ids(request), *opened]
        if await writer.is_long(context, specs):
            contexts.append(context)
    if len(contexts) < NUM_CALLS:
        raise RuntimeError(f"only {len(contexts)} calls are long enough to be timed")
    return Work("calls", "", contexts[:NUM_CALLS], specs)


def forced_calls(writer: Writer, model: BenchmarkModel) -> Work:
    """Return calls behind nonsense, to tools whose calls take longer than the steps."""
    text = {"type": "string", "minLength": 400}
    fields = {"title": text, "count": {"type": "integer"}, "tags": {"type": "array", "items": text}}
    specs = [
        ToolSpec(name, name, {"type": "object", "properties": fields, "required": list(fields)})
        for name in ("store", "publish")
    ]
    seeds = range(NUM_CALLS)
    contexts = [[*model.random_tokens(NUM_CONTEXT, seed), writer.call_open_id] for seed in seeds]
    return Work("against its will", "_against_its_will", contexts, specs)


class Masking:
    """One work in batches of one size, with and without masks by turns."""

    def __init__(self, writer: Writer, work: Work, batch: int) -> None:
        self._writer, self._work = writer, work
        starts = range(0, len(work.contexts), batch)
        batches = [work.contexts[start : start + batch] for start in starts]
        self._batches = batches * math.ceil(LEAST_BATCHES / len(batches))

    async def measured(self, index: int) -> Mapping[str, float]:
        """Return the mean step of a round; of each batch, another variant goes first."""
        totals = {OURS: 0.0, FREE: 0.0}
        for number, contexts in enumerate(self._batches):
            for is_masked in (True, False) if number % 2 else (False, True):
                name = OURS if is_masked else FREE
                totals[name] += await self._step_s(contexts, is_masked=is_masked)
        return {name: 1000 * total / len(self._batches) for name, total in totals.items()}

    async def _step_s(self, contexts: Sequence[Sequence[int]], *, is_masked: bool) -> float:
        if not is_masked:
            return await engine_step_s(self._writer.engine, contexts, NUM_STEPS)
        masks = [self._writer.open_mask(self._work.specs) for _ in contexts]
        step_s = await engine_step_s(self._writer.engine, contexts, NUM_STEPS, masks)
        if any(mask.words() is None for mask in masks):
            raise RuntimeError("a call was closed before the last step")
        return step_s


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return the masks' share of a step."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    comparisons: list[Comparison] = []
    shares: dict[str, float] = {}
    model = embedded_model()
    writer = Writer(model, await warm_engine(model, TIMED_DTYPE))
    for work in (await asked_calls(writer), forced_calls(writer, model)):
        for batch in BATCHES:
            masking = Masking(writer, work, batch)
            rounds = await measure_rounds([masking.measured])
            comparisons.append(Comparison(f"{work.title}, batch {batch}", "ms", rounds))
            share = Spread.of([1 - each[FREE] / each[OURS] for each in rounds])
            shares[f"grammar_share_b{batch}{work.key}"] = share.median
    writer.engine.close()
    save("grammar", METHOD, comparisons, setting)
    return shares


if __name__ == "__main__":
    print(json.dumps(measure()))
