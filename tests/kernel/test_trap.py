"""The trap parser: what counts as a call, and what never does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.trap import Event, Malformed, Text, Trap, TrapParser


def parse(renderer: Renderer, ids: list[int]) -> list[Event]:
    """Return the events of a whole step, neighbouring texts joined."""
    parser = TrapParser(renderer)
    events = [event for token_id in ids for event in parser.feed(token_id)] + parser.finish()
    joined: list[Event] = []
    for event in events:
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
        ('{"name": "echo", "arguments": {}} trailing', "bad_json"),
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
        ('{"name": "echo", "arguments": {"a": "' + "x" * 1_000_000 + '"}}', "too_large"),
    ],
)
def test_a_malformed_body_is_named_and_never_a_call(
    renderer: Renderer, raw: str, reason: str
) -> None:
    (event,) = parse(renderer, call(renderer, raw))
    assert isinstance(event, Malformed)
    assert event.reason == reason
    assert event.raw == raw


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
        assert isinstance(event, Text | Trap | Malformed)
