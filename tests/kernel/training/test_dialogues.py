"""The training data: what the files say is what the dialogues hold."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import pytest
import sympy
from jsonschema import Draft202012Validator

from llmos_kernel.abi import Role
from llmos_kernel.tool_choice import USUAL_TOOLS
from llmos_kernel.training.dialogues import DialogueMaker, load_builtin_tools
from llmos_kernel.training.everyday_slots import EverydaySlots
from llmos_kernel.training.phrasings import FOLDER, Intent, is_held_out, read_intents
from llmos_kernel.training.results import read_injections
from llmos_kernel.training.slots import EARLIER_SLOTS, RESULT_SLOTS, SLOT, Slots

DATA = Path(__file__).parents[4] / "shared" / "data"
EVALUATION = Path(__file__).parents[2] / "evaluation"
SCHEMAS = {tool.name: tool.parameters for tool in load_builtin_tools()}
VALIDATORS = {name: Draft202012Validator(dict(schema)) for name, schema in SCHEMAS.items()}


def slots_in(text: str) -> set[str]:
    return set(SLOT.findall(text))


@pytest.mark.parametrize("intent", read_intents(), ids=lambda i: f"{i.file}: {i.requests[0][:40]}")
def test_an_intent_can_be_filled(intent: Intent) -> None:
    made = {*RESULT_SLOTS, *EARLIER_SLOTS, "request"}
    check_filled(intent, made)
    for reply in intent.replies:
        check_filled(reply, made.union(*map(slots_in, intent.requests)))


def check_filled(intent: Intent, made: set[str]) -> None:
    """Assert that calls and answers need no slot but those in `made` and in every request."""
    assert intent.requests
    assert intent.answers
    needed = set[str]().union(*map(slots_in, intent.answers))
    for call in intent.calls:
        arguments = {k: 7 if k == "number" else v for k, v in call.arguments.items()}
        assert VALIDATORS[call.tool].is_valid(arguments)
        needed |= call.slots
    for request in intent.requests:
        assert needed - made <= slots_in(request), request


FEWER_WAYS = {
    *("browse_click", "browse_type", "browse_back", "browse_screenshot", "find_text"),
    *("edit_file", "restore_file", "forget", "timer"),
}


def test_each_tool_is_asked_for_in_many_ways() -> None:
    requests: dict[str, set[str]] = {}
    for intent in read_intents():
        for name in {call.tool for call in intent.calls} or {"none"}:
            requests.setdefault(name, set()).update(intent.requests)
    wanted = {name: 80 if name in FEWER_WAYS else 200 for name in (*SCHEMAS, "none")}
    assert {name for name, fewest in wanted.items() if len(requests[name]) < fewest} == set()


@pytest.mark.parametrize("held_out", [False, True])
def test_injected_instructions_hold_only_slots_that_can_be_drawn(held_out: bool) -> None:
    slots = EverydaySlots(random.Random(4), ["word"], ["a sentence"])
    injections = read_injections(held_out=held_out)
    assert len(injections) >= (3 if held_out else 60)
    for slot in set().union(*map(slots_in, injections)):
        assert slots.draw(slot).exact


@pytest.mark.parametrize("slot", ["a", "n", "N", "p", "expr", "wordexpr", "poly", "function"])
def test_a_numeric_slot_has_an_exact_value_that_sympy_reads(slot: str) -> None:
    slots = Slots(random.Random(3), ["word"], ["a sentence"])
    for _ in range(60):
        value = slots.draw(slot)
        assert value.shown
        sympy.sympify(value.exact, evaluate=False)


def normal(text: str) -> str:
    """Return a request with numbers, quoted parts and file names taken out."""
    text = re.sub(r"\"[^\"]*\"|'[^']*'|\S+\.\w+\b|<\w+>|\d+(\.\d+)?", "_", text.lower())
    return " ".join(re.sub(r"[^\w ]", " ", text).split())


def test_the_evaluation_sets_share_no_phrasing_with_the_training_data() -> None:
    trained = {
        normal(line)
        for folder in (FOLDER, FOLDER.parent / "catalogue")
        for path in folder.glob("*.txt")
        for line in path.read_text().splitlines()
    }
    shared: list[str] = []
    for name in (
        "core",
        "core_2",
        "core_3",
        "core_4",
        "unseen",
        "tasks",
        "talk",
        "dialogues",
        "dialogues_2",
    ):
        for line in (EVALUATION / f"{name}.jsonl").read_text().splitlines():
            case = json.loads(line)
            first = case.get("user") or case.get("task") or case["turns"][0]["user"]
            if len(normal(first).split()) > 2 and normal(first) in trained:
                shared.append(first)
    assert shared == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the public training data are not at hand")
def test_tables_are_those_that_messages_are_offered_and_what_fits_is_called() -> None:
    num_offered, calls_others = 0, 0
    for group in itertools.islice(DialogueMaker(DATA, seed=6), 300):
        names = [tool.name for tool in group.tools]
        others = set(names) - set(USUAL_TOOLS)
        if others and set(names) > set(USUAL_TOOLS):
            num_offered += 1
            assert names == sorted(names)
            assert len(others) <= 3
            dialogue = next(group.dialogues)
            calls_others += any(c.name in others for m in dialogue.messages for c in m.calls)
    assert num_offered > 60
    assert calls_others > num_offered / 3


@pytest.mark.skipif(not DATA.is_dir(), reason="the public training data are not at hand")
def test_dialogues_are_whole_and_the_held_out_phrasings_are_kept_apart() -> None:
    groups = itertools.islice(DialogueMaker(DATA, seed=5), 300)
    for dialogue in (d for group in groups for d in itertools.islice(group.dialogues, 8)):
        schemas = {tool.name: tool.parameters for tool in dialogue.tools}
        assert dialogue.messages[0].role is Role.USER
        assert dialogue.messages[-1].role is Role.ASSISTANT
        for message in dialogue.messages:
            assert not slots_in(message.content) - {"a", "b", "c", "n"}, message
            for call in message.calls:
                assert call.name in schemas
                if call.name in SCHEMAS:
                    assert VALIDATORS[call.name].is_valid(call.arguments), call
    requests = {r for intent in read_intents() for r in intent.requests}
    share = sum(map(is_held_out, requests)) / len(requests)
    assert 0.03 < share < 0.07
