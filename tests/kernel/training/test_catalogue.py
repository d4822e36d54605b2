"""Dialogues with tools never seen: each call is what its table and its request say."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmos_kernel.abi import Message, Role, ToolSpec
from llmos_kernel.training.catalogue import Catalogue
from llmos_kernel.training.dialogues import DialogueMaker
from llmos_kernel.training.functions import SLOT, Function, read_functions
from llmos_kernel.training.kinds import Values, read_pools
from llmos_kernel.training.replies import NO_TOOL_REPLIES
from llmos_kernel.training.slots import Slots
from llmos_kernel.training.tables import Tool

DATA = Path(__file__).parents[4] / "shared" / "data"
EVALUATION = Path(__file__).parents[2] / "evaluation"
FUNCTIONS = read_functions()
WORDS = "table river quick seventy marble over Oslo thin believe green".split()
REFORMED = {"isodate", "clock"}


def schema(name: str, about: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"name": name, "description": about, "parameters": parameters}


def text(about: str) -> dict[str, Any]:
    return {"type": "string", "description": about}


SCHEMAS = [
    ToolSpec(**schema(f"getReef{number}", about, **{key: text(f"The {key} (e.g., red, blue)")}))
    for number, (about, key) in enumerate(
        itertools.product(
            ["Retrieve the depth of a reef", "Measure the salt of a lagoon", "Count fish"],
            ["reef_name", "date", "colour", "zone"],
        )
    )
]
FIND = schema(
    "find_inn",
    "Find an inn in a town",
    town=text("Town of the inn"),
    night=text("Date of the stay"),
    has_pool={"type": "string", "description": "Has a pool", "enum": ["True", "False"]},
)
RECORDED = [
    {
        "tools": [FIND],
        "messages": [
            {"role": "user", "content": "An inn in Lower Marsham with a pool, next Friday please"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "name": "find_inn",
                        "arguments": {
                            "town": "Lower Marsham",
                            "night": "2019-03-08",
                            "has_pool": "True",
                        },
                    }
                ],
            },
            {"role": "tool", "content": '[{"town": "Lower Marsham", "price": "30"}]'},
            {"role": "assistant", "content": "There is one in Lower Marsham for 30."},
            {"role": "user", "content": "Another one, elsewhere."},
            {
                "role": "assistant",
                "tool_calls": [{"name": "find_inn", "arguments": {"town": "Upper Marsham"}}],
            },
            {"role": "tool", "content": "[]"},
            {"role": "assistant", "content": "There is none."},
        ],
    }
]


def catalogue(seed: int, *, held_out: bool = False) -> Catalogue:
    rng = random.Random(seed)
    slots = Slots(rng, WORDS, ["a short note", "we met at the old mill"])
    talk = ["sing me something", "are clouds heavy"]
    rows = RECORDED if not held_out else []
    return Catalogue(rng, slots, SCHEMAS, talk, rows, held_out=held_out)


def dialogues(
    source: Catalogue, tables: int, each: int
) -> Iterator[tuple[list[Tool], list[Message]]]:
    for _ in range(tables):
        tools = source.table()
        for _ in range(each):
            yield tools, source.dialogue_under(tools)


def at(arguments: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        arguments = arguments.get(key, {})
    return arguments


def shows(said: str, value: Any) -> bool:
    """Whether a text may show a value; objects, numbers and truth can be said in many words."""
    return value in said if isinstance(value, str) else True


def test_every_call_is_of_a_tool_in_the_table_and_fits_its_schema() -> None:
    num_dialogues = num_calls = 0
    for tools, messages in dialogues(catalogue(1), tables=1000, each=10):
        num_dialogues += 1
        specs = {tool.spec.name: tool.spec for tool in tools}
        for call in (call for message in messages for call in message.calls):
            validator = Draft202012Validator(dict(specs[call.name].parameters))
            assert validator.is_valid(call.arguments), call
            num_calls += 1
    assert num_dialogues == 10_000
    assert num_calls > 10_000


def test_what_a_call_holds_was_said_before_it() -> None:
    for tools, messages in dialogues(catalogue(2), tables=300, each=5):
        by_name = {tool.spec.name: tool for tool in tools}
        said = ""
        for message in messages:
            for call in message.calls:
                tool = by_name[call.name]
                for parameter in tool.function.parameters:
                    value = at(call.arguments, tool.paths[parameter.name])
                    is_copied = parameter.kind.is_text and parameter.kind.name not in REFORMED
                    if is_copied and value:
                        assert value in said, call
            said += f"\n{message.content}"


def test_a_missing_argument_is_asked_for_and_taken_from_the_reply() -> None:
    num_asked = 0
    for tools, messages in dialogues(catalogue(3), tables=400, each=3):
        specs = {tool.spec.name: tool.spec for tool in tools}
        for request, question, reply, called in zip(
            *(messages[i:] for i in range(4)), strict=False
        ):
            roles = [message.role for message in (request, question, reply)]
            if roles != [Role.USER, Role.ASSISTANT, Role.USER] or len(called.calls) != 1:
                continue
            if question.calls or question.content in NO_TOOL_REPLIES:
                continue
            (call,) = called.calls
            required: Any = specs[call.name].parameters["required"]
            assert any(shows(reply.content, call.arguments[name]) for name in required), call
            num_asked += 1
    assert num_asked > 20


def test_the_same_seed_gives_the_same_dialogues() -> None:
    first, second = (list(dialogues(catalogue(4), tables=40, each=3)) for _ in range(2))
    assert [messages for _, messages in first] == [messages for _, messages in second]
    other = list(dialogues(catalogue(5), tables=40, each=3))
    assert [messages for _, messages in first] != [messages for _, messages in other]


def test_tables_hold_one_to_eight_tools_under_names_of_their_own() -> None:
    source = catalogue(6)
    tables = [source.table() for _ in range(600)]
    assert {len(table) for table in tables} == set(range(1, 9))
    for table in tables:
        assert len({tool.spec.name for tool in table}) == len(table)
    shown = {tool.spec.name for table in tables for tool in table}
    written = {function.name for function in FUNCTIONS}
    assert len(shown - written) > len(shown & written)


def test_some_requests_fit_no_tool_and_some_need_several_calls() -> None:
    drawn = [messages for _, messages in dialogues(catalogue(7), tables=300, each=4)]
    refused = sum(any(m.content in NO_TOOL_REPLIES for m in messages) for messages in drawn)
    parallel = sum(any(len(m.calls) > 1 for m in messages) for messages in drawn)
    assert 0.1 < refused / len(drawn) < 0.4
    assert 0.05 < parallel / len(drawn) < 0.3


@pytest.mark.parametrize("held_out", [False, True])
def test_validation_and_training_share_no_function(held_out: bool) -> None:
    source = catalogue(8, held_out=held_out)
    used = [tool.function for _ in range(100) for tool in source.table()]
    assert {function.is_held_out for function in used} == {held_out}


def test_a_recorded_dialogue_is_renamed_and_ends_before_what_nobody_said() -> None:
    source = catalogue(9)
    names, towns = set[str](), set[str]()
    for _ in range(60):
        service = source.service()
        tool = next(tool for tool in service.tools if tool.function.name == "find_inn")
        user, asked, _, answer = source.service_dialogue(service)
        (call,) = asked.calls
        town = at(call.arguments, tool.paths["town"])
        assert town in user.content
        assert town in answer.content
        assert at(call.arguments, tool.paths["night"]) == "next Friday"
        assert at(call.arguments, tool.paths["has_pool"]) is True
        names.add(call.name)
        towns.add(town)
    assert len(names) > 5
    assert len(towns) > 5


@pytest.mark.skipif(not DATA.is_dir(), reason="the public training data are not at hand")
def test_calls_drawn_with_the_public_data_fit_their_schemas() -> None:
    num_calls = 0
    for group in itertools.islice(DialogueMaker(DATA, seed=9), 250):
        validators = {
            tool.name: Draft202012Validator(dict(tool.parameters)) for tool in group.tools
        }
        for dialogue in itertools.islice(group.dialogues, 5):
            for call in (call for message in dialogue.messages for call in message.calls):
                assert validators[call.name].is_valid(call.arguments), call
                num_calls += 1
    assert num_calls > 500


# The files ----------------------------------------------------------------


def test_the_catalogue_has_functions_of_many_domains() -> None:
    assert len(FUNCTIONS) >= 150
    assert len({function.domain for function in FUNCTIONS}) >= 40
    assert len({function.name for function in FUNCTIONS}) == len(FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_a_function_can_be_asked_for_in_each_of_its_ways(function: Function) -> None:
    rng = random.Random(1)
    values = Values(rng, Slots(rng, WORDS, ["a note"]), read_pools())
    names = {parameter.name for parameter in function.parameters}
    assert all(values.knows(parameter.kind) for parameter in function.parameters)
    assert len(function.patterns) >= 4
    for pattern in function.patterns:
        always = set(SLOT.findall(re.sub(r"\[[^]]*\]", "", pattern.text))) | pattern.fixed.keys()
        assert set(SLOT.findall(pattern.text)) | pattern.fixed.keys() <= names, pattern
        assert function.required <= always, pattern


def test_a_line_that_is_not_in_the_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "functions_odd.txt").write_text(
        "# x\n\nrun: Run.\nspeed quick 3: how fast\n- run\n"
    )
    with pytest.raises(ValueError, match=r"functions_odd\.txt:4: 'quick 3' is not a kind"):
        read_functions(tmp_path)


def normal(request: str) -> str:
    """Return a request with numbers, quoted parts, file names and slots taken out."""
    request = re.sub(r"\"[^\"]*\"|'[^']*'|\S+\.\w+\b|<[\w.]+>|\d+(\.\d+)?", "_", request.lower())
    return " ".join(re.sub(r"[^\w ]", " ", request).split())


def ways(pattern: str) -> Iterator[str]:
    """Yield a pattern's texts with each of its choices, kept and left out."""
    parts = re.split(r"(\{[^{}]*\}|\[[^\[\]]*\])", pattern)
    choices = [
        part[1:-1].split("|")
        if part[:1] == "{"
        else ["", part[1:-1]]
        if part[:1] == "["
        else [part]
        for part in parts
    ]
    yield from ("".join(chosen) for chosen in itertools.product(*choices))


def test_the_evaluation_sets_share_no_way_of_asking_with_the_catalogue() -> None:
    patterns = [pattern.text for function in FUNCTIONS for pattern in function.patterns]
    trained = {normal(way) for pattern in patterns for way in ways(pattern)}
    shared: list[str] = []
    for path in EVALUATION.glob("*.jsonl"):
        for case in map(json.loads, path.read_text().splitlines()):
            first = case.get("user") or case.get("task") or case["turns"][0]["user"]
            if len(normal(first).split()) > 2 and normal(first) in trained:
                shared.append(first)
    assert shared == []


def test_the_evaluation_set_of_unseen_tools_has_no_function_of_the_catalogue() -> None:
    known = {function.name.replace("_", "") for function in FUNCTIONS}
    cases = map(json.loads, (EVALUATION / "unseen.jsonl").read_text().splitlines())
    names = {tool["name"] for case in cases for tool in case["tools"]}
    assert {name for name in names if re.sub(r"[\W_]", "", name).lower() in known} == set()
