"""A kernel that kills itself around a hand-over: another scenario for `crashing_kernel`.

python handing_over_kernel.py FOLDER TOKENIZER
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from crashing_kernel import ANSWER, FileTool, GreedyEngine, main

from llmos_kernel.abi import Effect, Message, Role, ToolCall
from llmos_kernel.confidence import Calibration
from llmos_kernel.dialects.chat import chat_renderer
from llmos_kernel.dialects.dialect import EMBEDDED
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.journal import Journal
from llmos_kernel.kernel import Kernel
from llmos_kernel.larger import LazyModel
from llmos_kernel.policy import approve_all
from llmos_kernel.syscalls import OwnedDriver, SyscallTable

PLACES = range(5, 9)  # from the step that is doubted to the call in its place


class DoubtingEngine(GreedyEngine):
    """Doubts one token, and is sure of all others."""

    def __init__(self, renderer: Renderer, scripts: list[list[int]], doubted: int) -> None:
        super().__init__(renderer, scripts)
        self._doubted = doubted

    async def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        async for token_id in super().generate(request):
            assert request.log_probabilities is not None
            share = 0.3 if token_id == self._doubted else 1.0
            request.log_probabilities.append(math.log(share))
            yield token_id


def make_kernel(folder: Path, renderer: Renderer) -> tuple[Kernel, Journal, FakeEngine]:
    """Return a kernel whose model doubts its call, and answers."""
    effect = FileTool("effect", folder, effects=frozenset({Effect.FILES}))
    message = Message(Role.ASSISTANT, "", (ToolCall("", "effect", {"text": "surely"}),))
    large = chat_renderer()
    larger = FakeEngine(itertools.repeat(large.assistant_ids(message)))
    journal = Journal(folder / "journal.db")
    engine = DoubtingEngine(
        renderer,
        [
            _call(renderer, "doubted"),
            [*renderer.content_ids(ANSWER), renderer.stop_id],
        ],
        renderer.content_ids("doubted")[-1],
    )
    kernel = Kernel(
        engine,
        renderer,
        SyscallTable([OwnedDriver(effect, "the test")]),
        journal,
        workspace=folder,
        model="greedy",
        approve=approve_all,
        calibration=Calibration(),
        ask_below=0.5,
        larger=LazyModel("large", lambda: (large, larger), max_step_tokens=200),
    )
    return kernel, journal, engine


def _call(renderer: Renderer, text: str) -> list[int]:
    body = EMBEDDED.call_body(ToolCall("", "effect", {"text": text}))
    assert renderer.call_open_id is not None
    assert renderer.call_close_id is not None
    content = renderer.content_ids(body)
    return [renderer.call_open_id, *content, renderer.call_close_id, renderer.stop_id]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], (), make_kernel, PLACES)
