"""Whole tasks with the real embedded model, the real tools and nothing in between.

The sentences share no phrasing with the training data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos import LLMOS
from llmos_kernel.journal import JournalEvent

EVALUATION = Path(__file__).parents[1] / "evaluation"


def read_cases(name: str) -> list[Any]:
    """Return a file's cases; what the shipped model cannot do yet is expected to fail."""
    cases = [json.loads(line) for line in (EVALUATION / name).read_text().splitlines()]
    beyond = pytest.mark.xfail(reason="beyond the embedded model so far", strict=False)
    return [
        pytest.param(case, id=case["task"], marks=beyond if "is_beyond_the_model" in case else ())
        for case in cases
    ]


async def events_of(task: str) -> tuple[str, list[JournalEvent]]:
    async with LLMOS() as system:
        process = await system.spawn(task)
        events = [event async for event in process.events()]
        return await process.wait(), events


@pytest.mark.parametrize("case", read_cases("tasks.jsonl"))
async def test_the_embedded_model_does_the_task(home: Path, case: dict[str, Any]) -> None:
    workspace = home / "workspace"
    for name, content in case.get("files", {}).items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(content)
    answer, events = await events_of(case["task"])
    calls = [event.body for event in events if event.kind == "tool_call"]
    results = [event.body for event in events if event.kind == "tool_result"]
    assert [call["name"] for call in calls] == [case["tool"]]
    assert [result["status"] for result in results] == ["ok"]
    assert case.get("result_contains", "") in results[0]["text"]
    for name, content in case.get("file_after", {}).items():
        assert (workspace / name).read_text().strip() == content
    assert case["answer_contains"] in answer


@pytest.mark.parametrize("case", read_cases("talk.jsonl"))
async def test_small_talk_is_answered_without_a_tool(home: Path, case: dict[str, Any]) -> None:
    answer, events = await events_of(case["task"])
    assert not [event for event in events if event.kind == "tool_call"]
    assert answer
