"""Whatever a model would rather say: under the mask every closed call is valid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from llguidance import LLParserLimits
from tokenizers import Tokenizer

from llmos_kernel import grammar
from llmos_kernel.abi import Message, Role, ToolCall, ToolSpec
from llmos_kernel.dialects.families import DIALECTS
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.grammar import CallMask, Masks
from llmos_kernel.trap import Malformed, Trap, TrapParser

MODEL = Path(__file__).parents[2] / "kernel" / "llmos_kernel" / "model"
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
        "required": ["text", "count", "is_on"],
        "additionalProperties": False,
    },
    "choice": {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "dark green"]},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 5}]},
        },
        "required": ["colour", "either"],
        "additionalProperties": False,
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
                "required": ["x", "tags"],
                "additionalProperties": False,
            },
            "rows": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        },
        "required": ["where"],
        "additionalProperties": False,
    },
}
SPECS = [ToolSpec(name, "A tool.", schema) for name, schema in SCHEMAS.items()]


@pytest.fixture(scope="module")
def masks(renderer: Renderer) -> Masks:
    return Masks(renderer)


def fresh(masks: Masks, specs: Sequence[ToolSpec] = SPECS) -> CallMask:
    mask = masks.mask(specs)
    assert mask is not None
    return mask


def open_id(renderer: Renderer) -> int:
    assert renderer.call_open_id is not None
    return renderer.call_open_id


def close_id(renderer: Renderer) -> int:
    assert renderer.call_close_id is not None
    return renderer.call_close_id


def allowed(mask: CallMask) -> np.ndarray | None:
    words = mask.words()
    if words is None:
        return None
    return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))


def babble(
    mask: CallMask, renderer: Renderer, rng: np.random.Generator, limit: int = 400
) -> list[int]:
    """Draw a call at random from all that the mask allows."""
    said = [open_id(renderer)]
    mask.accept(open_id(renderer))
    while said[-1] != close_id(renderer) and len(said) < limit:
        choices = allowed(mask)
        assert choices is not None
        assert len(choices)
        said.append(int(rng.choice(choices)))
        mask.accept(said[-1])
    return said


def test_every_call_that_random_tokens_close_is_valid(masks: Masks, renderer: Renderer) -> None:
    rng = np.random.default_rng(1)
    closed: dict[str, int] = {}
    for _ in range(300):
        said = babble(fresh(masks), renderer, rng)
        if said[-1] == close_id(renderer):
            trap = parsed(renderer, said)
            Draft202012Validator(SCHEMAS[trap.name]).validate(dict(trap.arguments))
            closed[trap.name] = closed.get(trap.name, 0) + 1
    assert set(closed) == set(SCHEMAS)
    assert sum(closed.values()) > 100


def parsed(renderer: Renderer, said: Sequence[int]) -> Trap:
    parser = TrapParser(renderer)
    events = [event for token_id in said for event in parser.feed(token_id)] + parser.finish()
    (trap,) = [event for event in events if isinstance(event, Trap | Malformed)]
    assert isinstance(trap, Trap), trap
    return trap


def test_no_control_token_is_allowed_inside_a_call_but_the_closing_one_at_its_end(
    masks: Masks, renderer: Renderer
) -> None:
    body = '{"name":"scalars","arguments":{"text":"<tool_call>","count":7,"is_on":true}}'
    mask = fresh(masks)
    mask.accept(open_id(renderer))
    for token_id in renderer.content_ids(body):
        choices = allowed(mask)
        assert choices is not None
        assert token_id in choices
        assert not renderer.control_ids & set(choices.tolist())
        mask.accept(token_id)
    assert allowed(mask).tolist() == [close_id(renderer)]  # pyright: ignore


def test_text_is_free_before_and_after_a_call(masks: Masks, renderer: Renderer) -> None:
    mask = fresh(masks)
    for token_id in renderer.content_ids("Let me see: "):
        assert mask.words() is None
        mask.accept(token_id)
    mask.accept(open_id(renderer))
    assert mask.words() is not None
    for token_id in renderer.content_ids('{"name":"nothing","arguments":{}}'):
        mask.accept(token_id)
    mask.accept(close_id(renderer))
    assert mask.words() is None


@pytest.mark.parametrize(
    "body",
    [
        '{"name":"unknown"',
        '{"arguments"',
        '{"name":"scalars","arguments":{"colour"',
        '{"name":"choice","arguments":{"colour":"blue"',
        '{"name":"scalars","arguments":{"text":7',
    ],
)
def test_what_no_tool_takes_cannot_be_said(masks: Masks, renderer: Renderer, body: str) -> None:
    mask = fresh(masks)
    mask.accept(open_id(renderer))
    for token_id in renderer.content_ids(body):
        choices = allowed(mask)
        assert choices is not None
        if token_id not in choices:
            return
        mask.accept(token_id)
    raise AssertionError(f"{body} was allowed")


def test_a_schema_that_cannot_be_compiled_admits_any_object(renderer: Renderer) -> None:
    odd = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    mask = fresh(Masks(renderer), [ToolSpec("odd", "A tool.", odd)])
    mask.accept(open_id(renderer))
    body = json.dumps({"name": "odd", "arguments": {"b": [1]}}, separators=(",", ":"))
    for token_id in renderer.content_ids(body):
        choices = allowed(mask)
        assert choices is not None
        assert token_id in choices
        mask.accept(token_id)


def family(name: str) -> Renderer:
    """Return a family over the embedded model's words, with the family's control tokens."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    dialect = next(dialect for dialect in DIALECTS if dialect.name == name)
    tokenizer.add_special_tokens(list(dialect.controls))
    return Renderer(tokenizer, dialect)


@pytest.mark.parametrize("name", ["llama3", "llama4", "phi4"])
def test_a_family_whose_calls_no_control_token_opens_goes_without_a_mask(name: str) -> None:
    assert Masks(family(name)).mask(SPECS) is None


def test_what_frames_a_call_beside_its_control_tokens_is_part_of_the_grammar() -> None:
    renderer = family("hermes")
    mask = Masks(renderer).mask(SPECS)
    assert mask is not None
    call = ToolCall("1", "scalars", {"text": "a", "count": 1, "is_on": True})
    for token_id in renderer.assistant_ids(Message(Role.ASSISTANT, calls=(call,)))[:-1]:
        choices = allowed(mask)
        assert choices is None or token_id in choices
        mask.accept(token_id)
    assert mask.words() is None


def test_a_call_is_masked_as_the_first_was_however_those_before_it_ended(
    renderer: Renderer,
) -> None:
    masks = Masks(renderer)
    whole = renderer.content_ids('{"name":"nothing","arguments":{}}')
    for said in (whole, whole, whole[:3], [*whole, whole[0]], whole):
        mask = fresh(masks)
        for token_id in [open_id(renderer), *said, close_id(renderer)]:
            mask.accept(token_id)
    mask = fresh(masks)
    mask.accept(open_id(renderer))
    for token_id in whole:
        choices = allowed(mask)
        assert choices is not None
        assert token_id in choices
        mask.accept(token_id)


def test_a_lexer_that_has_learned_too_much_is_made_anew_in_the_middle_of_a_call(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "LIMITS", LLParserLimits(max_lexer_states=300))
    masks, rng, closed = Masks(renderer), np.random.default_rng(3), 0
    for _ in range(60):
        said = babble(fresh(masks), renderer, rng, limit=60)
        if said[-1] == renderer.call_close_id:
            Draft202012Validator(SCHEMAS[parsed(renderer, said).name]).validate(
                dict(parsed(renderer, said).arguments)
            )
            closed += 1
    assert closed > 10


def test_a_grammar_that_is_too_large_leaves_calls_free(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "LIMITS", LLParserLimits(max_grammar_size=10))
    mask = fresh(Masks(renderer))
    mask.accept(open_id(renderer))
    assert mask.words() is None
    assert mask.allows(renderer.content_ids("x")[0])


@pytest.mark.parametrize(("begun", "wanted"), [("", "7.e+"), ("-7", "e79"), ("0.", "0")])
def test_a_number_is_finite_even_where_the_model_only_ever_wants_more_digits(
    masks: Masks, renderer: Renderer, begun: str, wanted: str
) -> None:
    mask = fresh(masks)
    said = [open_id(renderer)]
    said += renderer.content_ids(f'{{"name":"nested","arguments":{{"where":{{"x":{begun}')
    for token_id in said:
        mask.accept(token_id)
    wanted_ids = [renderer.content_ids(character)[0] for character in wanted]
    num_before = len(said)
    while (choices := allowed(mask)) is not None:
        assert all(mask.allows(each) == (each in choices) for each in wanted_ids)
        chosen = [each for each in wanted_ids if each in choices]
        if not chosen:
            break
        said.append(chosen[0])
        mask.accept(chosen[0])
        assert len(said) - num_before < 320
    for token_id in [*renderer.content_ids(',"tags":[]}}}'), close_id(renderer)]:
        assert mask.allows(token_id)
        said.append(token_id)
        mask.accept(token_id)
    Draft202012Validator(SCHEMAS["nested"]).validate(dict(parsed(renderer, said).arguments))


def test_a_text_of_digits_is_not_cut_off_as_a_number_is(masks: Masks, renderer: Renderer) -> None:
    mask = fresh(masks)
    mask.accept(open_id(renderer))
    digit = renderer.content_ids("7")[0]
    text = '{"name":"scalars","arguments":{"text":"'
    for token_id in [*renderer.content_ids(text), *[digit] * 1_000]:
        assert mask.allows(token_id)
        mask.accept(token_id)
    choices = allowed(mask)
    assert choices is not None
    assert digit in choices
