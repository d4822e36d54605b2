"""The trap parser: what counts as a call, and what never does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.trap import (
    MAX_BODY_CHARS,
    ArgumentDelta,
    Event,
    Malformed,
    Reasoning,
    Text,
    Trap,
    TrapParser,
)


def parse(renderer: Renderer, ids: list[int]) -> list[Event]:
    """Return the events of a whole step without deltas, neighbouring texts joined."""
    parser = TrapParser(renderer)
    events = [event for token_id in ids for event in parser.feed(token_id)] + parser.finish()
    joined: list[Event] = []
    for event in events:
        if isinstance(event, ArgumentDelta):
            continue
        if joined and isinstance(event, Text) and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].text + event.text)
        else:
            joined.append(event)
    return joined


def call(renderer: Renderer, body: str) -> list[int]:
    return [renderer.call_open_id, *renderer.content_ids(body), renderer.call_close_id]


def body(arguments: Any) -> str:
    return json.dumps({"name": "echo", "arguments": arguments})


def test_a_closed_call_is_a_trap_and_text_around_it_is_text(renderer: Renderer) -> None:
    ids = [
        *renderer.content_ids("Let me see. "),
        *call(renderer, body({"text": "hi"})),
        *renderer.content_ids("Done."),
        renderer.stop_id,
    ]
    assert parse(renderer, ids) == [
        Text("Let me see. "),
        Trap("echo", {"text": "hi"}),
        Text("Done."),
    ]


def test_text_that_spells_a_call_is_text(renderer: Renderer) -> None:
    spelled = f"<tool_call>{body({'text': 'hi'})}</tool_call>"
    assert parse(renderer, renderer.content_ids(spelled)) == [Text(spelled)]


def test_a_close_tag_inside_a_string_is_data(renderer: Renderer) -> None:
    ids = call(renderer, body({"text": "</tool_call>{}"}))
    assert parse(renderer, ids) == [Trap("echo", {"text": "</tool_call>{}"})]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_step_that_ends_inside_a_call_is_truncated(renderer: Renderer, cut: int) -> None:
    ids = call(renderer, body({"text": "hi"}))[:-cut]
    (event,) = parse(renderer, ids)
    assert isinstance(event, Malformed)
    assert event.reason == "truncated"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ('{"name": "echo", "arguments": {}} trailing', "trailing_garbage"),
        ("{'name': 'echo', 'arguments': {}}", "bad_json"),
        ("[]", "bad_shape"),
        ('{"name": "echo"}', "bad_shape"),
        ('{"name": 5, "arguments": {}}', "bad_shape"),
        ('{"name": "echo", "arguments": {}, "id": 1}', "bad_shape"),
        ('{"name": "echo", "arguments": "{}"}', "arguments_not_object"),
        ('{"name": "echo", "name": "rm", "arguments": {}}', "duplicate_key"),
        ('{"name": "echo", "arguments": {"a": 1, "a": 2}}', "duplicate_key"),
        ('{"name": "echo", "arguments": {"a": NaN}}', "non_finite"),
        ('{"name": "echo", "arguments": {"a": -Infinity}}', "non_finite"),
        ('{"name": "echo", "arguments": {"a": 1e999}}', "non_finite"),
        ('{"name": "echo", "arguments": {"a": "\\ud800"}}', "lone_surrogate"),
        ('{"name": "echo", "arguments": {"a": ' + "[" * 100 + "]" * 100 + "}}", "too_deep"),
        ('{"name": "echo", "arguments": ' + '{"a":' * 5000, "too_deep"),
        ('{"name": "echo", "arguments": {"a": ' + "[" * 1000 + "]" * 1000 + "}}", "too_deep"),
        ('{"name": "echo", "arguments": {"a": ' + "1" * 5000 + "}}", "too_large"),
    ],
)
def test_a_malformed_body_is_named_and_never_a_call(
    renderer: Renderer, raw: str, reason: str
) -> None:
    (event,) = parse(renderer, call(renderer, raw))
    assert isinstance(event, Malformed)
    assert event.reason == reason
    assert event.raw == raw


def test_a_call_beyond_the_limit_is_too_large_and_kept_in_part(renderer: Renderer) -> None:
    raw = body({"text": "x" * MAX_BODY_CHARS})
    (event,) = parse(renderer, call(renderer, raw))
    assert isinstance(event, Malformed)
    assert (event.reason, event.raw) == ("too_large", raw[:MAX_BODY_CHARS])


def test_the_offset_of_a_fault_points_into_the_body(renderer: Renderer) -> None:
    raw = '{"name": "echo", "arguments": {"text": oops}}'
    (event,) = parse(renderer, call(renderer, raw))
    assert isinstance(event, Malformed)
    assert raw[event.offset :] == "oops}}"


def test_after_a_malformed_call_later_ones_are_skipped_and_earlier_ones_stand(
    renderer: Renderer,
) -> None:
    good = call(renderer, body({"text": "hi"}))
    first, second, third = parse(renderer, [*good, *call(renderer, "{"), *good])
    assert first == Trap("echo", {"text": "hi"})
    assert isinstance(second, Malformed)
    assert isinstance(third, Malformed)
    assert (second.reason, third.reason) == ("bad_json", "skipped_after_error")


def test_a_call_in_a_thought_is_a_thought(renderer: Renderer) -> None:
    thought = [*renderer.content_ids("hm "), *call(renderer, body({"text": "hi"}))]
    think, end_think = renderer.control_id("<think>"), renderer.control_id("</think>")
    ids = [think, *thought, end_think, *renderer.content_ids("Hello.")]
    events = parse(renderer, ids)
    assert "".join(e.text for e in events if isinstance(e, Reasoning)).startswith("hm {")
    assert [event for event in events if not isinstance(event, Reasoning)] == [Text("Hello.")]


def test_a_control_token_inside_a_call_is_ambiguous_not_dropped(renderer: Renderer) -> None:
    whole = call(renderer, body({"text": "hi"}))
    pad = renderer.control_id("<|pad|>")
    (event,) = parse(renderer, [*whole[:5], pad, *whole[5:]])
    assert isinstance(event, Malformed)
    assert event.reason == "ambiguous_delimiter"


def test_the_pieces_of_an_open_call_are_shown_as_they_come(renderer: Renderer) -> None:
    parser = TrapParser(renderer)
    raw = body({"text": "hi"})
    ids = [renderer.call_open_id, *renderer.content_ids(raw)]
    deltas = [event for i in ids if i is not None for event in parser.feed(i)]
    assert all(isinstance(event, ArgumentDelta) for event in deltas)
    assert "".join(event.text for event in deltas if isinstance(event, ArgumentDelta)) == raw


def test_a_call_opened_inside_a_call_is_malformed(renderer: Renderer) -> None:
    inner = call(renderer, body({"text": "hi"}))
    (event,) = parse(renderer, [renderer.call_open_id, *inner])
    assert isinstance(event, Malformed)
    assert event.reason == "nested_open"


def test_strings_are_not_turned_into_other_types(renderer: Renderer) -> None:
    arguments = {"a": "7", "b": "true", "c": "null", "d": "  kept  "}
    assert parse(renderer, call(renderer, body(arguments))) == [Trap("echo", arguments)]


def test_a_character_of_several_tokens_is_shown_once_it_is_whole(renderer: Renderer) -> None:
    parser = TrapParser(renderer)
    ids = renderer.content_ids("🦊")
    assert len(ids) > 1
    assert [parser.feed(token_id) for token_id in ids[:-1]] == [[]] * (len(ids) - 1)
    assert parser.feed(ids[-1]) == [Text("🦊")]


@given(data=st.data())
def test_any_ids_whatsoever_give_events_and_no_exception(
    renderer: Renderer, data: st.DataObject
) -> None:
    special = [renderer.call_open_id, renderer.call_close_id, renderer.stop_id]
    some_id = st.one_of(st.sampled_from(special), st.integers(0, 4095))
    for event in parse(renderer, data.draw(st.lists(some_id, max_size=60))):
        assert isinstance(event, Text | Reasoning | Trap | Malformed)
