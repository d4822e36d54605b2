"""A conversation's tools follow its messages, and its journal tells which they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.journal import JournalEvent
from llmos_kernel.process import SpawnOptions
from llmos_kernel.recovery import RecoveredProcess, rebuild
from llmos_kernel.replay import replay
from llmos_kernel.tool_choice import ToolChoice

Make = Callable[..., Any]
TWO_OF_FOUR = ToolChoice(frozenset({"sums"}), most=2)


def four_tools(make_tool: Make) -> list[Any]:
    return [make_tool(name=name) for name in ("lamps", "letters", "sums", "tides")]


def rebuilt(system: Any, events: list[JournalEvent], renderer: Renderer) -> RecoveredProcess:
    return rebuild(events, events[0].pid, renderer, system.journal.blob)


async def test_each_message_is_offered_the_tools_that_fit_it_and_may_call_no_other(
    make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    tools = four_tools(make_tool)
    replies = [
        says("Hello."),
        calls(("tides", {"text": "Bergen"})),
        says("High at noon."),
        calls(("tides", {"text": "Oslo"})),
        says("No."),
    ]
    system = make_system(replies, *tools, tool_choice=TWO_OF_FOUR)
    process = system.kernel.start("shell")
    offered: list[frozenset[str] | None] = []
    for message in ("hi", "the tides of Bergen", "now some letters"):
        await system.kernel.turn(process, message)
        offered.append(process.tools)
    assert offered == [{"sums"}, {"sums", "tides"}, {"letters", "sums"}]
    assert tools[3].calls == [{"text": "Bergen"}]
    shown = [renderer.text(request.tokens) for request in system.engine.requests]
    assert ["tides" in text.partition("hi")[0] for text in shown] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert all("the tides of Bergen" in text and "High" in text for text in shown[3:])
    await system.kernel.close()


async def test_a_message_without_a_word_of_another_tool_leaves_tools_and_prefix_as_they_are(
    make_system: Make, says: Make, make_tool: Make
) -> None:
    system = make_system(
        [says("One."), says("Two.")], *four_tools(make_tool), tool_choice=TWO_OF_FOUR
    )
    process = system.kernel.start("shell")
    await system.kernel.turn(process, "when are the tides?")
    before = list(process.context)
    await system.kernel.turn(process, "thank you")
    assert process.context[: len(before)] == before
    assert len(system.bodies("tools")) == 1
    await system.kernel.close()


async def test_tools_that_a_caller_named_do_not_change(
    make_system: Make, says: Make, make_tool: Make
) -> None:
    system = make_system([says("One.")], *four_tools(make_tool), tool_choice=TWO_OF_FOUR)
    named: SpawnOptions = {"tools": frozenset({"lamps"})}
    process = system.kernel.start("shell", **named)
    await system.kernel.turn(process, "when are the tides?")
    assert process.tools == {"lamps"}
    assert system.bodies("tools") == []
    await system.kernel.close()


async def test_a_conversation_whose_tools_changed_is_rebuilt_and_replayed(
    make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    replies = [calls(("tides", {"text": "Bergen"})), says("High."), says("Sent."), says("Dark.")]
    system = make_system(replies, *four_tools(make_tool), tool_choice=TWO_OF_FOUR)
    process = system.kernel.start("shell")
    contexts: list[list[int]] = []
    for message in ("the tides of Bergen", "now some letters", "and the lamps"):
        await system.kernel.turn(process, message)
        contexts.append(list(process.context))
    events = list(system.journal.events(process.pid))
    answers = [event.seq for event in events if event.kind == "answer"]
    for seq, context in zip(answers, contexts, strict=True):
        assert rebuilt(system, events[: seq + 1], renderer).conversation.context == context
    changes = [event.seq for event in events if event.kind == "tools"]
    between = rebuilt(system, events[: changes[1] + 1], renderer)
    assert between.tools == {"letters", "sums"}
    assert "letters" in renderer.text(between.conversation.context)
    again = [(e.kind, e.body) async for e in replay(system.journal, process.pid, renderer)]
    assert again == [(e.kind, e.body) for e in events]
    await system.kernel.close()
