"""A conversation's tools follow its messages, and its journal tells which they were."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import llmos_kernel
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.errors import ConfigError
from llmos_kernel.journal import JournalEvent
from llmos_kernel.process import SpawnOptions
from llmos_kernel.recovery import RecoveredProcess, rebuild
from llmos_kernel.replay import replay
from llmos_kernel.tool_choice import ToolChoice, ranked

Make = Callable[..., Any]
TWO_OF_FOUR = ToolChoice(frozenset({"sums"}), most=2)
TOKENIZER = Path(llmos_kernel.__file__).parent / "model" / "tokenizer.json"
# Begins or resumes a conversation, says what its model would read, and dies.
KILLED = """
import asyncio, json, os, signal, sys
from pathlib import Path
from tokenizers import Tokenizer
import crashing_kernel as scenario
from llmos_kernel.tool_choice import ToolChoice

folder, tokenizer, what = sys.argv[1:]
renderer = scenario.Renderer(Tokenizer.from_file(tokenizer), scenario.EMBEDDED)
choice = ToolChoice(frozenset({"look"}), most=2)
kernel, _, engine = scenario.make_kernel(Path(folder), renderer, tool_choice=choice)

def generate(request):
    tools = sorted(kernel.processes[request.pid].tools)
    print(json.dumps({"tools": tools, "tokens": request.tokens}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    if what == "begin":
        await kernel.turn(kernel.start("shell"), "once more, again")
    else:
        await kernel.wait(kernel.resume(1).pid)

engine.generate = generate
asyncio.run(main())
"""


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


async def test_a_tool_called_in_the_turn_before_stays_on_offer_beside_those_that_fit(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    choice = ToolChoice(frozenset({"sums"}), most=3)
    replies = [calls(("tides", {"text": "Oslo"})), says("High."), says("Sent."), says("Dark.")]
    offered: list[frozenset[str] | None] = []
    tools = four_tools(make_tool)
    system = make_system(replies, *tools, tool_choice=choice)
    process = system.kernel.start("shell")
    for message in ("the tides of Oslo", "lamps and letters", "lamps and letters"):
        await system.kernel.turn(process, message)
        offered.append(process.tools)
    best = ranked([tool.spec for tool in tools], "lamps and letters")[0]
    assert offered == [{"sums", "tides"}, {"sums", "tides", best}, {"sums", "lamps", "letters"}]
    await system.kernel.close()


async def test_the_mask_admits_calls_of_what_is_offered_now(
    make_system: Make, says: Make, calls: Make, make_tool: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "takes_masks", True)
    system = make_system(
        [says("One."), says("Two.")], *four_tools(make_tool), tool_choice=TWO_OF_FOUR
    )
    process = system.kernel.start("shell")

    def is_admitted(mask: Any, name: str) -> bool:
        for token_id in calls((name, {"text": "x"})):
            if not mask.allows(token_id):
                return False
            mask.accept(token_id)
        return True

    for message, name in (("when are the tides?", "tides"), ("now some letters", "letters")):
        await system.kernel.turn(process, message)
        mask = system.engine.requests[-1].mask
        assert is_admitted(mask, name)
    assert not is_admitted(system.engine.requests[-1].mask, "tides")
    await system.kernel.close()


async def test_a_child_is_offered_no_more_than_its_parent_is(
    make_system: Make, says: Make, make_tool: Make
) -> None:
    by_pid = {1: [says("One.")], 2: [says("Two.")]}
    system = make_system([], *four_tools(make_tool), by_pid=by_pid, tool_choice=TWO_OF_FOUR)
    parent = system.kernel.start("shell")
    await system.kernel.turn(parent, "when are the tides?")
    child = system.kernel.start("some letters", parent=parent.pid)
    await system.kernel.turn(child, "some letters, please")
    assert child.tools == parent.tools == {"sums", "tides"}
    with pytest.raises(ConfigError, match="letters"):
        system.kernel.start("c", parent=parent.pid, tools=frozenset({"letters"}))
    await system.kernel.close()


async def test_a_fork_of_a_conversation_keeps_the_tools_of_its_place_and_replays(
    make_system: Make, says: Make, make_tool: Make, renderer: Renderer
) -> None:
    replies = [says("High."), says("Sent."), says("Higher.")]
    system = make_system(replies, *four_tools(make_tool), tool_choice=TWO_OF_FOUR)
    process = system.kernel.start("shell")
    for message in ("when are the tides?", "now some letters"):
        await system.kernel.turn(process, message)
    users = [e.seq for e in system.journal.events(process.pid) if e.kind == "user"]
    fork = system.kernel.fork(process.pid, at=users[0])
    assert fork.tools == {"sums", "tides"}
    assert await asyncio.wait_for(system.kernel.wait(fork.pid), 10) == "Higher."
    events = list(system.journal.events(fork.pid))
    again = [(e.kind, e.body) async for e in replay(system.journal, fork.pid, renderer)]
    assert again == [(e.kind, e.body) for e in events]
    await system.kernel.close()


# A crash between a message and the step that it asks for ------------------------------


def test_a_process_killed_before_it_speaks_goes_on_with_the_tools_of_its_message(
    tmp_path: Path,
) -> None:
    def until_killed(what: str) -> dict[str, Any]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(TOKENIZER), what]
        ended = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, timeout=60, check=False
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
        return json.loads(ended.stdout)

    begun, resumed = until_killed("begin"), until_killed("resume")
    assert begun["tools"] == ["again", "look"]
    assert resumed == begun
