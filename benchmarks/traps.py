"""How fast the trap parser reads: microseconds a token, for each codec, at 10 kB and 1 MB a call.

`python -m benchmarks.traps` prints one JSON line. Runs no model.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from tokenizers import Tokenizer

import llmos_kernel
from llmos_kernel.abi import Message, Role, ToolCall, ToolSpec
from llmos_kernel.dialects.families import DIALECTS
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.trap import Trap, TrapParser

TOKENIZER = Path(llmos_kernel.__file__).parent / "model" / "tokenizer.json"
# One family for each codec.
FAMILIES = ("hermes", "mistral", "deepseek_v3.1", "qwen_coder", "gemma4", "lfm2", "gpt_oss")
SIZES = {"10kB": 10_000, "1MB": 1_000_000}
LINE = 'The kite was red; it cost 12 crowns, "more or less".\n'
SPEC = ToolSpec("note", "", {"type": "object", "properties": {"text": {"type": "string"}}})
MIN_DURATION_S = 0.3


def measure() -> dict[str, float]:
    """Return microseconds a token by codec and size, and for prose."""
    figures = {"prose_us_per_token": _prose()}
    for name in FAMILIES:
        renderer = _renderer(name)
        for label, size in SIZES.items():
            figures[f"{name}_{label}_us_per_token"] = _call(renderer, size)
    return figures


def _renderer(name: str) -> Renderer:
    """Return a family over the embedded model's words, with the family's control tokens."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == name)
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.add_special_tokens(list(dialect.controls))
    return Renderer(tokenizer, dialect)


def _prose() -> float:
    renderer = _renderer("hermes")
    return _us_per_token(renderer, renderer.content_ids(LINE * 1000), num_traps=0)


def _call(renderer: Renderer, size: int) -> float:
    call = ToolCall("", "note", {"text": LINE * (size // len(LINE))})
    ids = renderer.assistant_ids(Message(Role.ASSISTANT, "", (call,)))
    return _us_per_token(renderer, ids, num_traps=1)


def _us_per_token(renderer: Renderer, ids: list[int], *, num_traps: int) -> float:
    """Return the best of several runs; the first fills the table of the tokens' bytes."""
    best, spent = float("inf"), 0.0
    while spent < MIN_DURATION_S:
        start = time.perf_counter()
        parser = TrapParser(renderer, [SPEC])
        events = [event for i in ids for event in parser.feed(i)] + parser.finish()
        duration = time.perf_counter() - start
        if sum(isinstance(event, Trap) for event in events) != num_traps:
            raise RuntimeError(f"the parser found other than {num_traps} calls: {events[-1]!r}")
        best, spent = min(best, duration), spent + duration
    return round(1e6 * best / len(ids), 3)


if __name__ == "__main__":
    print(json.dumps(measure()))
