"""A step that the process's own model doubts is made by a larger one."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import llmos_kernel
from llmos_kernel.abi import Effect, Message, Role, ToolCall, ToolSpec
from llmos_kernel.confidence import Calibration
from llmos_kernel.dialects.chat import chat_renderer
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import FakeEngine, Gate, Script
from llmos_kernel.errors import ModelError
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.larger import LazyModel
from llmos_kernel.policy import deny_all
from llmos_kernel.process import Budget, Process, Signal
from llmos_kernel.recovery import NotRecoverable, rebuild, system_blob
from llmos_kernel.replay import replay

Make = Callable[..., Any]
SCRIPT = Path(__file__).with_name("handing_over_kernel.py")
MODEL = Path(llmos_kernel.__file__).parent / "model"
LARGE = chat_renderer()


def said(text: str = "", *calls: tuple[str, dict[str, Any]]) -> list[int]:
    """Return a step of the larger model, in its own dialect."""
    made = tuple(ToolCall("", name, arguments) for name, arguments in calls)
    return LARGE.assistant_ids(Message(Role.ASSISTANT, text, made))


@dataclass
class Large:
    """A larger model over the fake engine; `problems` are what its loads die of, in turn."""

    engine: FakeEngine
    problems: list[Exception] = field(default_factory=list[Exception])
    num_loads: int = 0
    max_step_tokens: int = 200

    def load(self) -> tuple[Renderer, FakeEngine]:
        self.num_loads += 1
        if self.problems:
            raise self.problems.pop(0)
        return LARGE, self.engine

    def model(self, **options: Any) -> LazyModel:
        return LazyModel("large", self.load, max_step_tokens=self.max_step_tokens, **options)


def large(*replies: Script, **options: Any) -> Large:
    return Large(FakeEngine(replies, **options))


class Asker:
    """Says yes, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ToolCall] = []

    async def __call__(self, call: ToolCall, spec: ToolSpec) -> bool:
        self.asked.append(call)
        return True


@dataclass
class Scene:
    """A system whose model doubts calls of echo("doubted") and none else."""

    system: Any
    asker: Asker
    tools: Sequence[Any]

    @property
    def kernel(self) -> Any:
        return self.system.kernel

    async def answer(self, task: str = "the task", **options: Any) -> tuple[Process, str]:
        process = self.kernel.spawn(task, **options)
        return process, await asyncio.wait_for(self.kernel.wait(process.pid), 10)


@pytest.fixture
def scene(make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer) -> Make:
    """Return a maker of scenes: the model's replies default to a doubted call and "End."."""
    word = renderer.content_ids("doubted")[-1]

    def make(bigger: Large, *replies: Script, tools: Sequence[Any] = (), **options: Any) -> Scene:
        asker = options.pop("approve", Asker())
        ids_per_token = options.pop("ids_per_token", 1)
        made = [make_tool(), make_tool(name="other"), *tools]

        def log_probability(token_id: int) -> float:
            return math.log(0.3 if token_id == word else 1.0)

        system = make_system(
            replies or [calls(("echo", {"text": "doubted"})), says("End.")],
            *made,
            approve=asker,
            log_probability=log_probability,
            calibration=Calibration(),
            ask_below=0.5,
            larger=bigger.model(ids_per_token=ids_per_token),
            **options,
        )
        return Scene(system, asker, made)

    return make


OTHER = ("other", {"text": "surely"})


async def assert_replays(scene: Scene, renderer: Renderer, pid: int = 1) -> None:
    journal = scene.system.journal
    recorded = [(e.seq, e.kind, e.body) for e in journal.events(pid)]
    async with asyncio.timeout(20):
        again = [(e.seq, e.kind, e.body) async for e in replay(journal, pid, renderer)]
    assert again == recorded


def assert_rebuilds(scene: Scene, process: Process, renderer: Renderer) -> None:
    """Rebuild a process from every beginning of its journal, and compare the whole one."""
    journal = scene.system.journal
    events = list(journal.events(process.pid))
    talk = process.conversation
    for end, event in enumerate(events, 1):
        talk = rebuild(events[:end], process.pid, renderer, journal.blob).conversation
        if event.kind == "hand_over" and event.body["reason"] != "signal":
            assert process.context[: len(talk.context)] == talk.context
    assert talk.context == process.context
    assert talk.messages == process.conversation.messages
    assert (talk.num_tokens, talk.num_calls) == (process.num_tokens, process.conversation.num_calls)


# A step that is taken over --------------------------------------------------------------------


async def test_a_doubted_step_is_made_by_the_larger_model_and_the_smaller_one_goes_on(
    scene: Make, renderer: Renderer
) -> None:
    bigger = large(said("", OTHER))
    s = scene(bigger)
    process, answer = await s.answer()
    echo, other = s.tools
    assert (answer, echo.calls, other.calls) == ("End.", [], [{"text": "surely"}])
    assert s.asker.asked == []
    assert bigger.engine.released == [process.pid]
    (body,) = s.system.bodies("hand_over")
    assert body.pop("doubted")[0]["confidence"]["call"] == pytest.approx(0.3, abs=1e-3)
    assert body == {
        "model": "large",
        "reason": "stop",
        "text": "",
        "calls": [{"name": "other", "arguments": {"text": "surely"}}],
        "num_tokens": len(said("", OTHER)),
    }
    (call,) = s.system.bodies("tool_call")
    assert call == {"id": "1.2", "name": "other", "arguments": {"text": "surely"}}
    kinds = [event.kind for event in s.system.events]
    assert kinds.index("hand_over") < kinds.index("tool_call")
    small = s.system.engine.requests[-1].tokens
    messages = [
        Message(Role.USER, "the task"),
        Message(Role.ASSISTANT, "", (ToolCall("", *OTHER),)),
        Message(Role.TOOL, "echo surely"),
    ]
    specs = [tool.spec for tool in s.tools]
    assert list(small) == renderer.conversation_ids(messages, specs, system_prompt=SYSTEM_PROMPT)
    assert_rebuilds(s, process, renderer)
    await assert_replays(s, renderer)


async def test_the_larger_model_is_given_the_conversation_in_its_own_dialect(
    scene: Make, calls: Make, says: Make, renderer: Renderer
) -> None:
    bigger = large(said("", OTHER))
    first = [*renderer.content_ids("Well. "), *calls(OTHER)]
    s = scene(bigger, first, calls("{bad"), says("One."), calls(("echo", {"text": "doubted"})),
              says("Two."))  # fmt: skip
    process = s.kernel.start("shell")
    await s.kernel.turn(process, "one?")
    await s.kernel.turn(process, "two?")
    (request,) = bigger.engine.requests
    messages = [
        Message(Role.USER, "one?"),
        Message(Role.ASSISTANT, "Well. ", (ToolCall("", *OTHER),)),
        Message(Role.TOOL, "echo surely"),
        Message(Role.ASSISTANT, "One."),
        Message(Role.USER, "two?"),
    ]
    specs = [tool.spec for tool in s.tools]
    assert request.tokens == LARGE.conversation_ids(messages, specs, system_prompt=SYSTEM_PROMPT)
    assert_rebuilds(s, process, renderer)
    await assert_replays(s, renderer)


async def test_the_larger_model_may_answer_itself(scene: Make, renderer: Renderer) -> None:
    s = scene(large(said("Which one do you mean?")))
    process, answer = await s.answer()
    assert answer == "Which one do you mean?"
    assert s.system.texts[-1] == answer
    assert [tool.calls for tool in s.tools] == [[], []]
    assert len(s.system.engine.requests) == 1
    assert_rebuilds(s, process, renderer)
    await assert_replays(s, renderer)


async def test_its_call_needs_a_yes_for_its_effects_and_for_no_doubt(
    scene: Make, make_tool: Make
) -> None:
    send = make_tool(name="send", effects=frozenset({Effect.NETWORK}))
    s = scene(large(said("", ("send", {"text": "x"}), OTHER)), tools=[send])
    await s.answer()
    assert [(call.name, call.confidence) for call in s.asker.asked] == [("send", None)]
    assert [len(tool.calls) for tool in s.tools] == [0, 1, 1]


async def test_where_nobody_attends_a_doubted_step_is_handed_over_all_the_same(
    scene: Make,
) -> None:
    s = scene(large(said("", OTHER)))
    await s.answer(is_attended=False)
    assert len(s.tools[1].calls) == 1


async def test_each_next_step_is_judged_anew_and_the_model_is_loaded_once(
    scene: Make, calls: Make, says: Make
) -> None:
    doubted = calls(("echo", {"text": "doubted"}))
    bigger = large(said("", OTHER), said("", ("other", {"text": "again"})))
    s = scene(bigger, doubted, calls(("echo", {"text": "clear"})), doubted, says("End."))
    await s.answer()
    assert [tool.calls for tool in s.tools] == [
        [{"text": "clear"}],
        [{"text": "surely"}, {"text": "again"}],
    ]
    assert bigger.num_loads == 1


async def test_a_model_that_nobody_needs_is_not_loaded(scene: Make, says: Make) -> None:
    bigger = large()
    s = scene(bigger, says("End."))
    await s.answer()
    await s.kernel.close()
    assert bigger.num_loads == 0


async def test_a_dry_run_tells_the_call_that_would_be_made(scene: Make) -> None:
    s = scene(large(said("", OTHER)), is_dry_run=True)
    await s.answer()
    assert [body["name"] for body in s.system.bodies("tool_call")] == ["other"]
    assert [tool.calls for tool in s.tools] == [[], []]


class MaskedEngine(FakeEngine):
    takes_masks = True


async def test_an_engine_that_takes_masks_is_held_to_the_granted_tools(
    scene: Make, renderer: Renderer, calls: Make
) -> None:
    bigger = Large(MaskedEngine([calls(OTHER)]))
    bigger.load = lambda: (renderer, bigger.engine)  # type: ignore[method-assign]
    s = scene(bigger)
    await s.answer(tools=frozenset({"echo", "other"}))
    mask = bigger.engine.requests[0].mask
    assert mask is not None
    for token_id in calls("{")[:2]:
        mask.accept(token_id)
    assert not mask.allows(renderer.stop_id)


# One that is not ----------------------------------------------------------------------------


def _ids_of_text(body: str) -> list[int]:
    """Return a step whose call has a body of one's own."""
    assert LARGE.call_open_id is not None
    assert LARGE.call_close_id is not None
    content = LARGE.content_ids(body)
    return [LARGE.call_open_id, *content, LARGE.call_close_id, LARGE.stop_id]


FAILURES: dict[str, tuple[Large, str]] = {
    "cannot be loaded": (Large(FakeEngine(), [ModelError("it is not there")]), "it is not there"),
    "dies": (Large(FakeEngine(), [RuntimeError("out of\nmemory")]), "out of memory"),
    "has no room": (large(said("", OTHER), context_length=50), "does not fit its context of 50"),
    "malformed": (large(_ids_of_text("{bad")), r"malformed call \(bad_json\)"),
    "unknown tool": (large(said("", ("no", {}))), "no tool 'no'; the tools are echo, other"),
    "schema": (large(said("", ("other", {"text": 5}))), "other: text: 5 is not of type 'string'"),
    "cut off": (large(LARGE.content_ids("word " * 50)), "cut off after 200 tokens"),
    "silent": (large(said("")), "it said nothing"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_where_it_fails_one_line_tells_and_the_user_is_asked(
    name: str, scene: Make, renderer: Renderer
) -> None:
    bigger, problem = FAILURES[name]
    s = scene(bigger)
    process, answer = await s.answer()
    (body,) = s.system.bodies("hand_over")
    assert body["reason"] == "error"
    assert len(body["error"].splitlines()) == 1
    with pytest.raises(ModelError, match=problem):
        raise ModelError(body["error"])
    assert [call.arguments for call in s.asker.asked] == [{"text": "doubted"}]
    assert s.asker.asked[0].confidence == pytest.approx(0.3, abs=1e-3)
    assert (answer, len(s.tools[0].calls), s.tools[1].calls) == ("End.", 1, [])
    assert_rebuilds(s, process, renderer)
    await assert_replays(s, renderer)


async def test_one_that_could_not_be_reached_is_tried_again_at_the_next_doubt(
    scene: Make, calls: Make, says: Make
) -> None:
    doubted = calls(("echo", {"text": "doubted"}))
    bigger = large(said("", OTHER))
    bigger.problems = [ModelError("down")]
    s = scene(bigger, doubted, doubted, says("End."), approve=deny_all)
    await s.answer()
    assert [body["reason"] for body in s.system.bodies("hand_over")] == ["error", "stop"]
    assert [len(tool.calls) for tool in s.tools] == [0, 1]


# Limits and signals ---------------------------------------------------------------------------


async def test_what_the_larger_model_says_is_counted(scene: Make) -> None:
    reply = said("", OTHER)
    s = scene(large(reply), ids_per_token=4)
    process, _ = await s.answer()
    steps = sum(len(body["tokens"]) for body in s.system.bodies("step"))
    assert process.num_tokens == steps + -(-len(reply) // 4)


@pytest.mark.parametrize("num_left", [0, 3])
async def test_a_hand_over_ends_with_the_budget_of_tokens(
    num_left: int, scene: Make, calls: Make, renderer: Renderer
) -> None:
    doubted = calls(("echo", {"text": "doubted"}))
    bigger = large(said("", OTHER))
    s = scene(bigger)
    with pytest.raises(Exception, match="max_tokens"):
        await s.answer(budget=Budget(max_tokens=len(doubted) + num_left))
    assert [request.max_new_tokens for request in bigger.engine.requests] == [3] * (num_left > 0)
    assert [tool.calls for tool in s.tools] == [[], []]
    await assert_replays(s, renderer)


async def test_a_hand_over_ends_with_the_budget_of_time(scene: Make) -> None:
    gate = Gate()
    s = scene(large([gate]))
    with pytest.raises(Exception, match="max_seconds"):
        await s.answer(budget=Budget(max_seconds=0.2))
    assert gate.reached.is_set()
    assert [tool.calls for tool in s.tools] == [[], []]


async def test_a_stopped_hand_over_is_made_again_and_counts(
    scene: Make, renderer: Renderer
) -> None:
    gate, reply = Gate(), said("", OTHER)
    bigger = large([*reply[:5], gate, *reply[5:]], reply)
    s = scene(bigger)
    process = s.kernel.spawn("t")
    await asyncio.wait_for(gate.reached.wait(), 10)
    s.kernel.renice(process.pid, 5)
    s.kernel.signal(process.pid, Signal.STOP)
    await s.system.until(lambda: process.state == "STOPPED")
    assert bigger.engine.nices == {process.pid: 5}
    assert s.system.bodies("hand_over")[0]["reason"] == "signal"
    s.kernel.signal(process.pid, Signal.CONTINUE)
    assert await asyncio.wait_for(s.kernel.wait(process.pid), 10) == "End."
    steps = sum(len(body["tokens"]) for body in s.system.bodies("step"))
    assert process.num_tokens == steps + 5 + len(reply)
    assert len(s.tools[1].calls) == 1
    assert_rebuilds(s, process, renderer)
    await assert_replays(s, renderer)


@pytest.mark.parametrize("num_said", [0, 5])
async def test_a_process_is_killed_during_its_hand_over(
    num_said: int, scene: Make, renderer: Renderer
) -> None:
    gate = Gate()
    s = scene(large([*said("", OTHER)[:num_said], gate]))
    process = s.kernel.spawn("t")
    await asyncio.wait_for(gate.reached.wait(), 10)
    s.kernel.signal(process.pid, Signal.KILL)
    await s.system.until(lambda: process.pid not in s.kernel.processes)
    assert [body["num_tokens"] for body in s.system.bodies("hand_over")] == [num_said]
    assert [tool.calls for tool in s.tools] == [[], []]
    await assert_replays(s, renderer)


async def test_after_an_interrupted_hand_over_another_turn_can_follow(
    scene: Make, calls: Make, says: Make, renderer: Renderer
) -> None:
    gate = Gate()
    s = scene(large([gate]), calls(("echo", {"text": "doubted"})), says("Good."))
    process = s.kernel.start("shell")
    turn = asyncio.create_task(s.kernel.turn(process, "one?"))
    await asyncio.wait_for(gate.reached.wait(), 10)
    s.kernel.signal(process.pid, Signal.INTERRUPT)
    with pytest.raises(Exception, match="interrupted"):
        await asyncio.wait_for(turn, 10)
    assert await asyncio.wait_for(s.kernel.turn(process, "two?"), 10) == "Good."
    assert s.tools[0].calls == []
    assert_rebuilds(s, process, renderer)


async def test_a_kernel_that_closes_while_the_model_is_loaded_waits_for_it_and_closes_it(
    scene: Make,
) -> None:
    bigger = large(said("", OTHER))
    s = scene(bigger)
    s.kernel.spawn("t")
    await s.system.until(lambda: bigger.num_loads == 1)
    is_closed: list[bool] = []
    bigger.engine.close = lambda: is_closed.append(True)
    await asyncio.wait_for(s.kernel.close(), 10)
    assert is_closed == [True]


# The journal ----------------------------------------------------------------------------------


async def test_a_fork_hands_over_again_before_the_event_and_not_after_it(
    scene: Make, calls: Make, says: Make
) -> None:
    bigger = large(said("", OTHER), said("", ("other", {"text": "fork"})))
    s = scene(bigger, calls(("echo", {"text": "doubted"})), says("1"), says("2"), says("3"))
    await s.answer()
    events = list(s.system.journal.events(1))
    at = next(event.seq for event in events if event.kind == "hand_over")
    for cut in (at - 1, at):
        fork = s.kernel.fork(1, at=cut)
        await asyncio.wait_for(s.kernel.wait(fork.pid), 10)
    assert [call["text"] for call in s.tools[1].calls] == ["surely", "fork", "surely"]
    assert len(bigger.engine.requests) == 2


async def test_an_event_in_the_wrong_place_is_refused(scene: Make, renderer: Renderer) -> None:
    s = scene(large(said("", OTHER)))
    await s.answer()
    events = list(s.system.journal.events(1))
    at = next(i for i, event in enumerate(events) if event.kind == "hand_over")
    events[at], events[at + 1] = events[at + 1], events[at]
    with pytest.raises(NotRecoverable):
        rebuild(events, 1, renderer, s.system.journal.blob)


async def test_a_step_is_replaced_where_it_stands_though_other_tools_were_told_before(
    scene: Make, renderer: Renderer
) -> None:
    s = scene(large(said("", OTHER)))
    await s.answer()
    journal = s.system.journal
    events = list(journal.events(1))
    at = next(event.seq for event in events if event.kind == "hand_over")
    specs = [tool.spec for tool in s.tools]
    body = {"tools": ["other"], "system": journal.store_blob(system_blob(SYSTEM_PROMPT, specs[1:]))}
    told = [*events[:at], JournalEvent(1, at, 0.0, "tools", body), replace(events[at], seq=at + 1)]
    before, after = (
        rebuild(each, 1, renderer, journal.blob).conversation for each in (events[: at + 1], told)
    )
    old, new = (renderer.system_ids(SYSTEM_PROMPT, each) for each in (specs, specs[1:]))
    assert after.context == [*new, *before.context[len(old) :]]


async def test_where_the_journal_cannot_take_it_the_step_is_handed_over_again(scene: Make) -> None:
    gate, reply = Gate(), said("", OTHER)
    s = scene(large([gate, *reply], reply))
    process = s.kernel.spawn("t")
    await asyncio.wait_for(gate.reached.wait(), 10)
    connection = s.system.journal._connection
    connection.execute("PRAGMA query_only = 1")
    gate.opened.set()
    await s.system.until(lambda: process.failure is not None)
    assert s.tools[1].calls == []
    connection.execute("PRAGMA query_only = 0")
    s.kernel.signal(process.pid, Signal.CONTINUE)
    assert await asyncio.wait_for(s.kernel.wait(process.pid), 10) == "End."
    assert len(s.tools[1].calls) == 1


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kill a kernel at each append around a hand-over, and resume it."""
    root = tmp_path_factory.mktemp("crashes")
    command = [sys.executable, str(SCRIPT), str(root), str(MODEL / "tokenizer.json")]
    subprocess.run(command, check=True, timeout=200)
    return root


def events_in(folder: Path) -> list[JournalEvent]:
    with closing(Journal(folder / "journal.db")) as journal:
        return list(journal.events(1))


def test_a_kernel_was_killed_right_before_and_after_the_hand_over(crashes: Path) -> None:
    for when, num_known in (("before", 0), ("after", 1)):
        at = next(e.seq for e in events_in(crashes / "whole") if e.kind == "hand_over")
        left = [event.kind for event in events_in(crashes / f"{at}-{when}.crashed")]
        assert left.count("hand_over") == num_known
        assert (left[-1] == "hand_over") == bool(num_known)


def test_wherever_it_was_killed_the_step_is_handed_over_and_its_effect_happens_once(
    crashes: Path, renderer: Renderer
) -> None:
    folders = [Path(str(crashed).removesuffix(".crashed")) for crashed in crashes.glob("*.crashed")]
    assert len(folders) == 8
    (whole,) = _contexts([crashes / "whole"], renderer)
    for folder, context in zip(folders, _contexts(folders, renderer), strict=True):
        events = events_in(folder)
        assert [e.body["reason"] for e in events if e.kind == "hand_over"] == ["stop"], folder
        assert (folder / "effects").read_text() == "effect surely\n", folder
        assert context == whole, folder
        copies = [(e.kind, e.body) for e in events_in(Path(f"{folder}.copy"))]
        assert [(e.kind, e.body) for e in events] == copies, folder


def _contexts(folders: Sequence[Path], renderer: Renderer) -> Iterator[list[int]]:
    for folder in folders:
        with closing(Journal(folder / "journal.db")) as journal:
            events = list(journal.events(1))
            yield rebuild(events, 1, renderer, journal.blob).conversation.context
