"""Fixtures of the kernel's tests: the embedded tokenizer, and a kernel over the fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from llmos_kernel.abi import CallContext, JsonObject, Output, ToolCall, ToolSpec
from llmos_kernel.dialects.dialect import EMBEDDED
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import FakeEngine, Script
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import Approver, approve_all
from llmos_kernel.syscalls import OwnedDriver, SyscallTable

MODEL = Path(__file__).parents[2] / "kernel" / "llmos_kernel" / "model"


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer(Tokenizer.from_file(str(MODEL / "tokenizer.json")), EMBEDDED)


@dataclass
class ScriptedTool:
    """A driver whose calls run `behave`; `calls` keeps the arguments it was given."""

    spec: ToolSpec
    behave: Callable[[JsonObject], Any]
    calls: list[JsonObject] = field(default_factory=list)
    is_closed: bool = False

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        self.calls.append(arguments)
        value = self.behave(arguments)
        return Output(await value if hasattr(value, "__await__") else value)

    async def close(self) -> None:
        self.is_closed = True


def tool_spec(name: str = "echo", **options: Any) -> ToolSpec:
    schema = {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
    options.setdefault("effects", frozenset())
    return ToolSpec(name, "Say it back.", schema, **options)


@pytest.fixture
def make_tool() -> Callable[..., ScriptedTool]:
    """Return a maker of tools that say their argument back, or do what they are given to do."""

    def make(behave: Callable[[JsonObject], Any] | None = None, **options: Any) -> ScriptedTool:
        return ScriptedTool(tool_spec(**options), behave or (lambda a: f"echo {a['text']}"))

    return make


@dataclass
class System:
    """A kernel over the fake engine, with what it did."""

    kernel: Kernel
    engine: FakeEngine
    journal: Journal
    events: list[JournalEvent]
    texts: list[str]

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [event.body for event in self.events if event.kind == kind]

    def states(self, pid: int) -> list[str]:
        return [e.body["state"] for e in self.events if e.pid == pid and e.kind == "state"]

    async def until(self, is_reached: Callable[[], bool]) -> None:
        """Let the event loop run until something is so, for a bounded time."""
        async with asyncio.timeout(10):
            while not is_reached():  # noqa: ASYNC110 - what is so may be no one's event
                await asyncio.sleep(0)


@pytest.fixture
def make_system(renderer: Renderer, tmp_path: Path) -> Callable[..., System]:
    """Return a maker: replies of the model in (text, calls, raw ids), a system out."""

    def make(
        replies: Sequence[Script],
        *tools: ScriptedTool,
        approve: Approver = approve_all,
        context_length: int = 4096,
        by_pid: Mapping[int, Sequence[Script]] | None = None,
        log_probability: Callable[[int], float] | None = None,
        **options: Any,
    ) -> System:
        engine = FakeEngine(
            replies,
            by_pid=by_pid,
            context_length=context_length,
            log_probability=log_probability,
        )
        journal = Journal(tmp_path / "journal.db")
        events: list[JournalEvent] = []
        texts: list[str] = []
        kernel = Kernel(
            engine,
            renderer,
            SyscallTable(OwnedDriver(tool, "the test") for tool in tools),
            journal,
            workspace=tmp_path,
            model="fake",
            approve=approve,
            on_event=events.append,
            on_text=lambda pid, text: texts.append(text),
            **options,
        )
        return System(kernel, engine, journal, events, texts)

    return make


@pytest.fixture
def says(renderer: Renderer) -> Callable[[str], list[int]]:
    """Return a maker of replies that are text."""
    return lambda text: [*renderer.content_ids(text), renderer.stop_id]


@pytest.fixture
def calls(renderer: Renderer) -> Callable[..., list[int]]:
    """Return a maker of replies that are calls: (name, arguments) pairs, or raw bodies."""

    def make(*bodies: tuple[str, JsonObject] | str) -> list[int]:
        ids: list[int] = []
        for body in bodies:
            text = body if isinstance(body, str) else EMBEDDED.call_body(ToolCall("", *body))
            ids += [renderer.call_open_id, *renderer.content_ids(text), renderer.call_close_id]
        return [*ids, renderer.stop_id]

    return make
