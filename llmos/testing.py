"""Fixtures for pytest that call a plugin's tools as the kernel does: `pytest -p llmos.testing`.

The kernel is real, its model is scripted; nothing of the user's own state or settings is used. The
fixtures are for tests that are no coroutines: they run an event loop of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from tokenizers import Tokenizer

from llmos.boot import model_folder
from llmos.config import EMBEDDED_MODEL
from llmos.model_host import ModelHost
from llmos.sdk import CallContext, tools_of
from llmos.single_call import run_call
from llmos_kernel.abi import Driver, JsonObject, ToolCall, ToolResult
from llmos_kernel.dialects.dialect import EMBEDDED
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import approve_all
from llmos_kernel.recovery import read_result
from llmos_kernel.syscalls import OwnedDriver, SyscallTable

CONTEXT_LENGTH = 1 << 20


@dataclass(frozen=True, slots=True)
class TaskRun:
    """What became of a task: the answer, and the result of each call."""

    answer: str
    results: tuple[ToolResult, ...]


class CallTool(Protocol):
    """Calls a tool; of a class with several, the one that is named."""

    def __call__(self, plugin: Any, name: str | None = None, /, **arguments: Any) -> ToolResult: ...


class RunTask(Protocol):
    """Runs a task whose model makes the calls (name, arguments), then says the answer."""

    def __call__(
        self, plugin: Any, calls: Sequence[tuple[str, JsonObject]], *, answer: str = "Done."
    ) -> TaskRun: ...


@pytest.fixture
def reported() -> list[str]:
    """Give the list of what tools report of how far they are."""
    return []


@pytest.fixture
def context(tmp_path: Path, reported: list[str]) -> CallContext:
    """Give a context with an empty workspace."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return CallContext(1, workspace, report=reported.append)


@pytest.fixture
def call(context: CallContext) -> Generator[CallTool]:
    """Give a function that calls a tool: its arguments are checked, its limits hold.

    An error is a result too, with its status, as the model gets it. What a class holds lasts until
    the test ends.
    """
    opened: dict[int, dict[str, Driver]] = {}
    models = ModelHost()
    with asyncio.Runner() as runner:

        def call_tool(plugin: Any, name: str | None = None, /, **arguments: Any) -> ToolResult:
            if id(plugin) not in opened:
                found = tools_of(plugin, [models])
                opened[id(plugin)] = {driver.spec.name: driver for driver in found}
            drivers = opened[id(plugin)]
            driver = next(iter(drivers.values())) if name is None else drivers[name]
            return runner.run(run_call(driver, arguments, context))

        yield call_tool
        for drivers in opened.values():
            for driver in drivers.values():
                runner.run(driver.close())
        runner.run(models.close())


@pytest.fixture
def run_task(context: CallContext, reported: list[str]) -> RunTask:
    """Give a function that runs a whole task in a kernel whose model says what it is told to."""

    def run(
        plugin: Any, calls: Sequence[tuple[str, JsonObject]], *, answer: str = "Done."
    ) -> TaskRun:
        return asyncio.run(_task(plugin, calls, answer, context.workspace, reported))

    return run


async def _task(
    plugin: Any,
    calls: Sequence[tuple[str, JsonObject]],
    answer: str,
    workspace: Path,
    reported: list[str],
) -> TaskRun:
    renderer = _embedded_renderer()
    events: list[JournalEvent] = []
    models = ModelHost()
    drivers = tools_of(plugin, [models])
    kernel = Kernel(
        FakeEngine(_script(renderer, calls, answer), context_length=CONTEXT_LENGTH),
        renderer,
        SyscallTable(OwnedDriver(driver, "the plugin under test") for driver in drivers),
        Journal(workspace.parent / "journal.db"),
        workspace=workspace,
        model="scripted",
        approve=approve_all,
        on_event=events.append,
        on_progress=lambda progress: reported.append(progress.text),
    )
    try:
        said = await kernel.turn(kernel.start("test"), "test")
    finally:
        await kernel.close()
        await models.close()
    results = (read_result(event.body) for event in events if event.kind == "tool_result")
    return TaskRun(said, tuple(results))


def _embedded_renderer() -> Renderer:
    return Renderer(
        Tokenizer.from_file(str(model_folder(EMBEDDED_MODEL) / "tokenizer.json")), EMBEDDED
    )


def _script(
    renderer: Renderer, calls: Sequence[tuple[str, JsonObject]], answer: str
) -> list[list[int]]:
    """Return what the model says: one call a step, then the answer."""
    begin, end = map(renderer.control_id, (EMBEDDED.call.open, EMBEDDED.call.close))
    bodies = [renderer.content_ids(EMBEDDED.call_body(ToolCall("", *call))) for call in calls]
    steps = [*([begin, *body, end] for body in bodies), renderer.content_ids(answer)]
    return [[*step, renderer.stop_id] for step in steps]
