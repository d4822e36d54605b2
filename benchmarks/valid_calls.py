"""Counts valid calls among those that the embedded model writes at a high temperature.

    python -m benchmarks.valid_calls

Each call is to one of a few tools whose arguments are of every JSON type, nested and optional; it
is opened by us, since at such a temperature the model seldom would. What it writes under its mask
is read by the trap parser as any step is.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import count, islice
from typing import Any, Final

import torch
from jsonschema import Draft202012Validator
from tokenizers import Tokenizer

from benchmarks.models import TIMED_DTYPE, embedded_model
from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer, detect_dialect
from llmos_kernel.engine.base import Engine, GenerateRequest
from llmos_kernel.engine.torch.engine import TorchEngine
from llmos_kernel.grammar import Masks
from llmos_kernel.trap import Malformed, Trap, TrapParser

NUM_CALLS: Final = 1000
TEMPERATURE: Final = 1.5
MOST_TOKENS: Final = 1024
SIDE_BY_SIDE: Final = 16
TEXT: Final = {"type": "string", "maxLength": 60}
PLACE: Final = {
    "type": "object",
    "properties": {"x": {"type": "number"}, "y": {"type": "number"}, "label": TEXT},
    "required": ["x", "y"],
}
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "book_table": {
        "guests": {"type": "integer", "minimum": 1, "maximum": 20},
        "name": TEXT,
        "is_outside": {"type": "boolean"},
        "area": {"enum": ["garden", "bar", "first floor"]},
    },
    "mark_map": {
        "place": PLACE,
        "route": {"type": "array", "items": PLACE, "maxItems": 4},
        "note": {"anyOf": [TEXT, {"type": "null"}]},
    },
    "store_table": {
        "rows": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer"}, "maxItems": 4},
            "maxItems": 4,
        },
        "tags": {"type": "array", "items": TEXT, "maxItems": 3},
        "ratio": {"type": "number"},
    },
    "reset": {},
}
REQUESTS: Final = (
    "Book a table for four outside, under the name Okafor.",
    "mark 12.5, -3 on the map as the well and note that it is dry",
    "store 1 2 3 and 4 5 6 as rows, tagged old and checked",
    "reset everything",
)


def tools(rng: random.Random) -> list[ToolSpec]:
    """Return all tools in a drawn order, each with its first argument required, if it has any."""
    names = rng.sample(list(ARGUMENTS), len(ARGUMENTS))
    return [
        ToolSpec(
            name,
            name.replace("_", " ").capitalize() + ".",
            {
                "type": "object",
                "properties": ARGUMENTS[name],
                "required": list(ARGUMENTS[name])[:1],
                "additionalProperties": False,
            },
        )
        for name in names
    ]


async def outcome(engine: Engine, renderer: Renderer, masks: Masks, seed: int) -> str:
    """Let one call be written and return the tool's name, or why it is none."""
    rng = random.Random(seed)
    specs = tools(rng)
    assert renderer.call_open_id is not None
    context = [
        *renderer.system_ids(SYSTEM_PROMPT, specs),
        *renderer.user_ids(rng.choice(REQUESTS)),
        *renderer.assistant_open_ids(),
        renderer.call_open_id,
    ]
    mask = masks.mask(specs)
    assert mask is not None
    mask.accept(renderer.call_open_id)
    request = GenerateRequest(
        tuple(context), renderer.stop_id, MOST_TOKENS,
        temperature=TEMPERATURE, seed=seed, pid=seed, mask=mask,
    )  # fmt: skip
    parser = TrapParser(renderer, specs)
    events = parser.feed(renderer.call_open_id)
    async with aclosing(engine.generate(request)) as tokens:  # pyright: ignore
        async for token in tokens:
            events += parser.feed(token)
            if any(isinstance(event, Trap) for event in events):
                break
    engine.release(seed)
    events += parser.finish()
    return _told(events, {spec.name: spec for spec in specs})


def _told(events: Sequence[object], specs: Mapping[str, ToolSpec]) -> str:
    for event in events:
        match event:
            case Trap(name=name, arguments=arguments):
                fits = Draft202012Validator(specs[name].parameters).is_valid(arguments)
                return name if fits else "not valid: schema_violation"
            case Malformed(reason=reason):
                return f"not valid: {reason}"
            case _:
                pass
    return "not valid: no call"


async def _worker(
    engine: Engine, renderer: Renderer, masks: Masks, seeds: Iterator[int], found: Counter[str]
) -> None:
    for seed in seeds:
        found[await outcome(engine, renderer, masks, seed)] += 1


async def measure(num_calls: int) -> dict[str, Any]:
    """Return how many calls were written, how many are valid, and of what there were how many."""
    model = embedded_model()
    tokenizer = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
    renderer = Renderer(tokenizer, detect_dialect(tokenizer))
    engine = TorchEngine.load(model.folder, dtype=getattr(torch, TIMED_DTYPE))
    masks, found, seeds = Masks(renderer), Counter[str](), islice(count(1), num_calls)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(SIDE_BY_SIDE):
                group.create_task(_worker(engine, renderer, masks, seeds, found))
    finally:
        engine.close()
    valid = sum(number for name, number in found.items() if name in ARGUMENTS)
    return {"calls": sum(found.values()), "valid": valid, "of": dict(found)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(NUM_CALLS))))
