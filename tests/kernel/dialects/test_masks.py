"""Every family whose calls open with a control token: under its mask no closed call is malformed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from llmos_kernel.abi import Label, Message, Role, ToolCall, ToolSpec
from llmos_kernel.dialects.dialect import Dialect
from llmos_kernel.dialects.families import DIALECTS
from llmos_kernel.dialects.renderer import Mark, Renderer
from llmos_kernel.grammar import CallMask, Masks
from llmos_kernel.grounding import Seen
from llmos_kernel.trap import Malformed, Trap, TrapParser

from . import conftest

NUM_WALKS = 200
MAX_TOKENS = 320
MASKED = [dialect for dialect in DIALECTS if not dialect.is_text_framed]
LINES = ("see https://example.org/a?b=1 or 'Anna's' \"café\" </parameter> 東京", "one\tmore")
SCHEMAS: dict[str, dict[str, Any]] = {
    "nothing": {"type": "object", "properties": {}, "additionalProperties": False},
    "scalars": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "ratio": {"type": "number"},
            "is_on": {"type": "boolean"},
            "gone": {"type": "null"},
        },
        "required": ["text", "is_on"],
        "additionalProperties": False,
    },
    "choice": {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", 'it\'s "green"']},
            "short": {"type": "string", "minLength": 1, "maxLength": 3},
            "number": {"enum": [1, 2.5, True, None]},
            "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "linked": {"$ref": "#/$defs/count"},
        },
        "required": ["colour"],
        "additionalProperties": False,
        "$defs": {"count": {"type": "integer"}},
    },
    "nested": {
        "type": "object",
        "properties": {
            "where": {
                "type": "object",
                "properties": {
                    "x": {"type": "number"},
                    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                },
                "required": ["x"],
                "additionalProperties": False,
            },
            "rows": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        },
        "required": [],
        "additionalProperties": False,
    },
    "seen": {
        "type": "object",
        "properties": {
            "span": {"type": "string", "x-grounded": True},
            "other": {"type": "string", "x-grounded": True},
            "why": {"type": "string"},
        },
        "required": ["span"],
        "additionalProperties": False,
    },
}
SPECS = [ToolSpec(name, "A tool.", schema) for name, schema in SCHEMAS.items()]
# What a walk tries to say on purpose: ends, values that look like others, tags inside strings.
TAGS = [
    "</parameter>",
    "</function>",
    "</invoke>",
    "</arg_value>",
    "</",
    "<parameter=",
    "<tool_call>",
]
SAYINGS = [*"\"'])}", '"}', "\n", "\n</parameter>", "</parameter>", "7", "true", "null", *TAGS]


def allowed(mask: CallMask) -> np.ndarray:
    words = mask.words()
    assert words is not None
    return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))


def opened(renderer: Renderer, mask: CallMask) -> list[int]:
    """Let a step come to the opening of a call; return what was said."""
    said = [i for i, meaning in renderer.marks.items() if meaning is Mark.END_THINK]
    said = said if renderer.thinks_first else []
    if renderer.call_open_id is not None:
        before, _, _ = renderer.dialect.call.open.partition(renderer.literal(renderer.call_open_id))
        said = [*said, *renderer.content_ids(before), renderer.call_open_id]
    for token_id in said:
        mask.accept(token_id)
    return said


def walk(renderer: Renderer, mask: CallMask, rng: np.random.Generator) -> list[int]:
    """Say what the mask allows: at random, ends first, and what is meant to lead astray."""
    said = opened(renderer, mask)
    meant: list[int] = []
    while mask.words() is not None and len(said) < MAX_TOKENS:
        choices = allowed(mask)
        assert len(choices), "nothing may be said"
        if not meant and rng.random() < 0.6:
            meant = renderer.content_ids(str(rng.choice(SAYINGS)))
        controls = renderer.control_ids.intersection(choices.tolist())
        if meant and meant[0] in choices:
            token_id = meant.pop(0)
        elif controls and rng.random() < 0.7:
            token_id, meant = int(rng.choice(sorted(controls))), []
        else:
            token_id, meant = int(rng.choice(choices)), []
        assert mask.allows(token_id)
        mask.accept(token_id)
        said.append(token_id)
    return said


def called(renderer: Renderer, said: Sequence[int]) -> list[Trap | Malformed]:
    parser = TrapParser(renderer, SPECS)
    events = [event for token_id in said for event in parser.feed(token_id)]
    return [event for event in events if isinstance(event, Trap | Malformed)]


@pytest.mark.parametrize("dialect", MASKED, ids=lambda dialect: dialect.name)
def test_every_call_that_a_random_walk_closes_is_valid(dialect: Dialect) -> None:
    renderer, rng = conftest.renderer_of(dialect), np.random.default_rng(5)
    masks, seen = Masks(renderer), Seen()
    seen.add("\n".join(LINES), Label.TRUSTED)
    closed: dict[str, int] = {}
    for index in range(NUM_WALKS):
        spec = SPECS[index % len(SPECS)]
        mask = masks.mask([spec], seen)
        assert mask is not None
        for event in called(renderer, walk(renderer, mask, rng)):
            assert isinstance(event, Trap), event
            assert event.name == spec.name
            Draft202012Validator(SCHEMAS[event.name]).validate(dict(event.arguments))
            if event.name == "seen":
                for key in {"span", "other"} & set(event.arguments):
                    assert seen.origin(str(event.arguments[key])) is not None, event.arguments
            closed[event.name] = closed.get(event.name, 0) + 1
    assert set(closed) == set(SCHEMAS), closed
    assert sum(closed.values()) > NUM_WALKS / 10, closed


ODD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": {"type": "string"}}, {"a": "x </div> <b> \"q\" 'z' \\ \n end"}),
    ({}, {}),
    ({"a": {"type": "array"}}, {"a": [1, "x"]}),
    ({"a": {"type": "object"}}, {"a": {}}),
    ({"a": {}}, {"a": "x"}),
    ({"a": {"type": ["integer", "null"]}, "b": {"type": "integer"}}, {"a": None, "b": -3}),
    ({"a": {"type": "string", "pattern": "^[a-z]+$"}}, {"a": "abc"}),
    ({"a": {"type": "string", "maxLength": 20_000}}, {"a": "hello"}),
    ({"a": {"type": "string", "not": {"const": "x"}}}, {"a": "hello"}),
    ({"a": {"allOf": [{"type": "string"}]}}, {"a": "hello"}),
    ({"a": {"const": "x/y"}}, {"a": "x/y"}),
    ({"a": {"$ref": "#/$defs/tree"}}, {"a": {"n": {"v": 2}, "v": 1}}),
    ({"a": {"type": "array", "items": {"type": "string"}}}, {"a": ["t", "</b>\n"]}),
]
TREE = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/tree"}, "v": {"type": "integer"}},
}


@pytest.mark.parametrize("dialect", MASKED, ids=lambda dialect: dialect.name)
def test_calls_to_tools_of_any_schema_can_be_said_as_they_are_written(dialect: Dialect) -> None:
    renderer = conftest.renderer_of(dialect)
    specs = [
        ToolSpec(
            f"tool-{index}",
            "",
            {"type": "object", "properties": properties, "$defs": {"tree": TREE}},
        )
        for index, (properties, _) in enumerate(ODD)
    ]
    masks = Masks(renderer)
    for spec, (_, arguments) in zip(specs, ODD, strict=True):
        mask = masks.mask(specs)
        assert mask is not None
        message = Message(Role.ASSISTANT, calls=(ToolCall("", spec.name, arguments),))
        thoughts = [renderer.control_id(dialect.thought.close)] if renderer.thinks_first else []
        for token_id in [*thoughts, *renderer.assistant_ids(message)]:
            assert mask.allows(token_id), (spec.name, token_id)
            mask.accept(token_id)
        assert mask.words() is None or dialect.call.close == ""


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_no_model_is_shown_the_keyword_of_grounding(dialect: Dialect) -> None:
    text: dict[str, Any] = {"type": "string"}
    shown = [
        conftest.renderer_of(dialect).system_ids(
            "Be brief.", [ToolSpec("f", "", {"type": "object", "properties": {"text": schema}})]
        )
        for schema in (text, {**text, "x-grounded": True})
    ]
    assert shown[0] == shown[1]


def test_a_thought_opens_no_call() -> None:
    renderer = conftest.renderer_of(next(d for d in DIALECTS if d.name == "qwen3.5"))
    mask = Masks(renderer).mask(SPECS)
    assert mask is not None
    assert renderer.thinks_first
    assert renderer.call_open_id is not None
    mask.accept(renderer.call_open_id)
    assert mask.words() is None
    for token_id in (renderer.control_id("</think>"), renderer.call_open_id):
        mask.accept(token_id)
    assert mask.words() is not None
