"""How sure the model is of its calls is read, recorded, and decides what needs a yes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos_kernel.abi import Effect, ToolCall, ToolSpec
from llmos_kernel.confidence import Calibration, confidence_of, scaled
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.errors import ModelError
from llmos_kernel.policy import approve_all, deny_all
from llmos_kernel.recovery import rebuild
from llmos_kernel.replay import replay

Make = Callable[..., Any]
PLAIN = Calibration()


def likely(shares: dict[int, float]) -> Callable[[int], float]:
    """Return how likely tokens are: these so much, all others surely."""
    return lambda token_id: math.log(shares.get(token_id, 1.0))


async def answer(system: Any, task: str = "the task", **options: Any) -> str:
    process = system.kernel.spawn(task, **options)
    return await asyncio.wait_for(system.kernel.wait(process.pid), 10)


# What a call's tokens say ---------------------------------------------------------


def read(pieces: list[tuple[str, float]], name: str, arguments: Any) -> Any:
    said = [text.encode() for text, _ in pieces]
    return confidence_of(name, arguments, said, [math.log(p) for _, p in pieces], PLAIN)


def test_each_argument_is_as_sure_as_its_least_probable_token() -> None:
    pieces = [
        ('<call>{"name":"', 0.9), ("send", 0.8), ('","arguments":{"', 1.0),
        ("to", 1.0), ('":"', 1.0), ("An", 0.7), ("na", 0.9), ('","', 1.0),
        ("text", 1.0), ('":"', 1.0), ("to all", 0.6), ('"}}', 0.95),
    ]  # fmt: skip
    found = read(pieces, "send", {"to": "Anna", "text": "to all"})
    assert found.tool == pytest.approx(0.9 * 0.8, abs=1e-3)
    assert found.arguments["to"] == pytest.approx(0.7, abs=1e-3)
    assert found.arguments["text"] == pytest.approx(0.6, abs=1e-3)
    assert found.call == pytest.approx(0.72 * 0.6, abs=1e-3)


def test_a_value_that_holds_the_next_key_does_not_end_its_argument() -> None:
    pieces = [("f", 1.0), ("(a='", 1.0), ("b", 0.5), (" c', ", 1.0), ("b=", 1.0), ("1)", 0.8)]
    found = read(pieces, "f", {"a": "b c", "b": 1})
    assert found.arguments["a"] == pytest.approx(0.5, abs=1e-3)
    assert found.arguments["b"] == pytest.approx(0.8, abs=1e-3)


def test_a_call_without_arguments_is_as_sure_as_its_tool_and_its_end() -> None:
    found = read([("now", 0.9), ("{}", 0.5)], "now", {})
    assert found.call == pytest.approx(0.45, abs=1e-3)
    assert found.arguments == {}


def test_a_name_that_was_not_said_gives_no_confidence() -> None:
    assert read([("now", 0.9)], "later", {}) is None


@pytest.mark.parametrize(("share", "temperature"), [(0.9, 2.0), (0.2, 3.0), (0.6, 0.5)])
def test_a_temperature_divides_the_log_odds(share: float, temperature: float) -> None:
    probability = scaled(math.log(share), temperature)
    odds = math.log(share / (1 - share))
    assert math.log(probability / (1 - probability)) == pytest.approx(odds / temperature)


@pytest.mark.parametrize("log_probability", [0.0, -1e9])
def test_what_is_beyond_doubt_stays_a_probability(log_probability: float) -> None:
    assert 0 <= scaled(log_probability, 2.0) < 1


def test_what_was_fitted_is_read_beside_the_checkpoint(tmp_path: Path) -> None:
    assert Calibration.beside(tmp_path) is None
    Calibration(0.8, 1.6).save(tmp_path)
    assert Calibration.beside(tmp_path) == Calibration(0.8, 1.6)
    (tmp_path / "calibration.json").write_text('{"tool": 0.8, "arguments": 1.6, "opening": 0.7}')
    assert Calibration.beside(tmp_path) == Calibration(0.8, 1.6, 0.7)


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", '{"tool": "a", "arguments": 1}', '{"tool": 0, "arguments": 1}',
        '{"tool": 1, "arguments": 1, "opening": 7}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(ModelError, match=r"calibration\.json.*fit it again"):
        Calibration.beside(tmp_path)


# In the kernel --------------------------------------------------------------------


@pytest.fixture
def doubtful(make_system: Make, says: Make, calls: Make, renderer: Renderer) -> Make:
    """Return a maker of a system whose model is 60 % sure of one call, and says "End."."""
    assert renderer.call_open_id is not None
    shares = {renderer.call_open_id: 0.6}

    def make(*tools: Any, shares: dict[int, float] = shares, **options: Any) -> Any:
        options.setdefault("calibration", PLAIN)
        name = tools[0].spec.name
        replies = [calls((name, {"text": "a"})), says("End.")]
        return make_system(replies, *tools, log_probability=likely(shares), **options)

    return make


async def test_a_calls_confidence_is_in_its_event(doubtful: Make, make_tool: Make) -> None:
    system = doubtful(make_tool())
    await answer(system)
    (call,) = system.bodies("tool_call")
    assert call["confidence"]["tool"] == pytest.approx(0.6, abs=1e-3)
    assert call["confidence"]["call"] == pytest.approx(0.6, abs=1e-3)
    assert call["confidence"]["arguments"]["text"] > 0.999


async def test_each_of_two_calls_of_a_step_has_its_own(
    make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    (second,) = renderer.content_ids("b")
    replies = [calls(("echo", {"text": "a"}), ("echo", {"text": "b"})), says("End.")]
    system = make_system(
        replies, make_tool(), log_probability=likely({second: 0.3}), calibration=PLAIN
    )
    await answer(system)
    found = [body["confidence"]["arguments"]["text"] for body in system.bodies("tool_call")]
    assert found[0] > 0.999
    assert found[1] == pytest.approx(0.3, abs=1e-3)


class Asker:
    """Answers as told, and keeps what it was asked."""

    def __init__(self, *, says_yes: bool) -> None:
        self.asked: list[ToolCall] = []
        self._says_yes = says_yes

    async def __call__(self, call: ToolCall, spec: ToolSpec) -> bool:
        self.asked.append(call)
        return self._says_yes


@pytest.mark.parametrize("says_yes", [True, False])
async def test_a_call_below_the_threshold_is_asked_for(
    says_yes: bool, doubtful: Make, make_tool: Make
) -> None:
    tool, asker = make_tool(), Asker(says_yes=says_yes)
    system = doubtful(tool, approve=asker, ask_below=0.7)
    await answer(system)
    assert [call.confidence for call in asker.asked] == [pytest.approx(0.6, abs=1e-3)]
    assert len(tool.calls) == says_yes
    assert system.bodies("tool_result")[0]["status"] == ("ok" if says_yes else "denied")


async def test_a_call_above_the_threshold_is_not_asked_for(doubtful: Make, make_tool: Make) -> None:
    tool = make_tool()
    await answer(doubtful(tool, approve=deny_all, ask_below=0.5))
    assert len(tool.calls) == 1


async def test_a_doubtful_call_that_needs_a_yes_anyway_is_asked_for_once(
    doubtful: Make, make_tool: Make
) -> None:
    tool, asker = make_tool(effects=frozenset({Effect.NETWORK})), Asker(says_yes=True)
    await answer(doubtful(tool, approve=asker, ask_below=0.7))
    assert len(asker.asked) == len(tool.calls) == 1


async def test_where_nobody_attends_a_doubtful_call_is_not_made_and_one_line_names_it(
    doubtful: Make, make_tool: Make
) -> None:
    tool = make_tool()
    system = doubtful(tool, approve=approve_all, ask_below=0.7)
    await answer(system, is_attended=False)
    assert tool.calls == []
    (result,) = system.bodies("tool_result")
    assert result["text"] == (
        'error: not run, since nobody confirmed it and it is only 60% sure: echo(text="a")'
    )


async def test_an_engine_that_cannot_say_is_never_asked_about(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    tool = make_tool()
    system = make_system(
        [calls(("echo", {"text": "a"})), says("End.")],
        tool,
        approve=deny_all,
        calibration=PLAIN,
        ask_below=1.0,
    )
    await answer(system)
    assert len(tool.calls) == 1
    assert "confidence" not in system.bodies("tool_call")[0]
    assert "log_probabilities" not in system.bodies("step")[0]


async def test_without_calibration_the_engine_is_not_asked(doubtful: Make, make_tool: Make) -> None:
    system = doubtful(make_tool(), calibration=None)
    await answer(system)
    assert [request.log_probabilities for request in system.engine.requests] == [None, None]
    assert "confidence" not in system.bodies("tool_call")[0]


@pytest.mark.parametrize("says_yes", [True, False])
async def test_a_life_with_a_doubtful_call_replays(
    says_yes: bool, doubtful: Make, make_tool: Make, renderer: Renderer
) -> None:
    system = doubtful(make_tool(), approve=Asker(says_yes=says_yes), ask_below=0.7)
    await answer(system)
    recorded = [(e.kind, e.body) for e in system.journal.events(1)]
    async with asyncio.timeout(20):
        again = [(e.kind, e.body) async for e in replay(system.journal, 1, renderer)]
    assert again == recorded


async def test_a_rebuilt_process_doubts_the_call_that_the_lost_one_doubted(
    doubtful: Make, make_tool: Make, renderer: Renderer
) -> None:
    system = doubtful(make_tool(), ask_below=0.7)
    await answer(system)
    events = list(system.journal.events(1))
    cut = next(event.seq for event in events if event.kind == "tool_call")
    rebuilt = rebuild(events[:cut], 1, renderer, system.journal.blob)
    (call,) = rebuilt.conversation.calls
    assert call.confidence is not None
    assert call.confidence.body() == events[cut].body["confidence"]
    assert rebuilt.birth.ask_below == 0.7


# Words instead of a call ----------------------------------------------------------


@pytest.fixture
def hesitant(make_system: Make, says: Make, calls: Make, renderer: Renderer) -> Make:
    """Return a maker of a system that opens a call with 0.6, and would rather say "No."."""
    assert renderer.call_open_id is not None
    shares = {renderer.call_open_id: 0.6}

    def make(tool: Any, opening: float, *replies: Any, takes_masks: bool = True) -> Any:
        wanted = calls((tool.spec.name, {"text": "a"}))
        calibration = Calibration(opening=opening)
        system = make_system(
            [wanted, *replies], tool, log_probability=likely(shares), calibration=calibration
        )
        system.engine.takes_masks = takes_masks
        return system

    return make


async def test_where_it_is_unsure_that_a_call_is_wanted_the_model_answers_in_words(
    hesitant: Make, make_tool: Make, says: Make, renderer: Renderer
) -> None:
    tool = make_tool()
    system = hesitant(tool, 0.7, says("No."))
    assert await answer(system) == "No."
    assert tool.calls == []
    first, second = system.engine.requests
    assert first.tokens == second.tokens
    assert not second.mask.allows(renderer.call_open_id)
    word, bit = divmod(renderer.call_open_id, 32)
    assert not second.mask.words()[word] >> bit & 1
    assert not second.mask.allows(renderer.stop_id)  # an answer says something
    second.mask.accept(renderer.ids("No.")[0])
    assert second.mask.allows(renderer.stop_id)
    assert not second.mask.allows(renderer.call_open_id)
    (step,) = system.bodies("step")
    assert len(step["log_probabilities"]) == len(step["tokens"])
    rebuilt = rebuild(system.events, 1, renderer, system.journal.blob)
    assert rebuilt.conversation.context[: len(first.tokens)] == list(first.tokens)
    assert rebuilt.conversation.answer == "No."


@pytest.mark.parametrize(("opening", "takes_masks"), [(0.5, True), (0.7, False), (0.0, True)])
async def test_a_call_that_is_sure_enough_or_cannot_be_ruled_out_is_made(
    hesitant: Make, make_tool: Make, says: Make, opening: float, takes_masks: bool
) -> None:
    tool = make_tool()
    system = hesitant(tool, opening, says("Done."), takes_masks=takes_masks)
    assert await answer(system) == "Done."
    assert len(tool.calls) == 1


async def test_a_call_after_a_result_is_not_judged(
    make_system: Make, make_tool: Make, says: Make, calls: Make, renderer: Renderer
) -> None:
    openings = iter([0.9, 0.6])
    tool = make_tool()
    replies = [calls(("echo", {"text": "a"})), calls(("echo", {"text": "b"})), says("Done.")]
    system = make_system(
        replies, tool, calibration=Calibration(opening=0.7),
        log_probability=lambda i: math.log(next(openings) if i == renderer.call_open_id else 1.0),
    )  # fmt: skip
    system.engine.takes_masks = True
    assert await answer(system) == "Done."
    assert len(tool.calls) == 2
