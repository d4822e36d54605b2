from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos.model_host import HostedModel, ModelHost
from llmos.sdk import CallContext, Output, tool
from llmos.shell.screen import JsonLines, Screen
from llmos.testing import CallTool, RunTask, call, context, reported, run_task
from llmos_kernel.progress import Progress
from tests.llmos.model_host.conftest import GUESTS

__all__ = ["call", "context", "reported", "run_task"]


class Painter:
    """A plugin over a hosted model, which it is given for the type hint of its constructor."""

    def __init__(self, models: ModelHost) -> None:
        self._models = models

    @tool(effects=[])
    async def draw(self, checkpoint: str, context: CallContext) -> Output:
        """Draw a picture.

        Args:
            checkpoint: what draws it
        """
        model = HostedModel("the drawing model", f"{GUESTS}:Obedient", checkpoint)
        reply = await self._models.ask(model, {"do": "tell"}, report=context.report)
        return Output(f"drawn by call {reply.value['num_calls']}")


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    (tmp_path / "mb").write_text("1")
    return str(tmp_path)


def test_a_tool_class_is_lent_the_host_of_models(
    call: CallTool, reported: list[str], checkpoint: str
) -> None:
    assert call(Painter, checkpoint=checkpoint).text == "drawn by call 1"
    assert call(Painter, checkpoint=checkpoint).text == "drawn by call 2"
    assert reported == ["loading"]


def test_a_whole_task_reports_how_far_its_model_is(
    run_task: RunTask, reported: list[str], checkpoint: str
) -> None:
    task = run_task(Painter, [("draw", {"checkpoint": checkpoint})])
    assert [result.text for result in task.results] == ["drawn by call 1"]
    assert reported == ["loading"]


def test_progress_is_an_event_of_its_own_and_of_the_process_that_is_shown(capsys: Any) -> None:
    display = JsonLines()
    display.pid = 1
    display.show_progress(Progress(1, "call_0", "step 3 of 20", time=5.0))
    display.show_progress(Progress(2, "call_0", "not shown"))
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "event": "progress", "id": "call_0", "text": "step 3 of 20", "pid": 1, "time": 5.0,
    }  # fmt: skip


def test_progress_goes_to_stderr_and_cannot_drive_the_terminal(capsys: Any) -> None:
    screen = Screen()
    screen.pid = 1
    screen.show_progress(Progress(1, "call_0", "step 3\x1b[2J of 20"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip() == "… step 3\N{REPLACEMENT CHARACTER}[2J of 20"
