"""What servers list: names, schemas, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmos.mcp.config import Server
from llmos.mcp.listing import (
    ListedTool,
    ListingCache,
    SchemaRefused,
    grammar_problem,
    spec_of,
    tool_name,
)

SERVER = Server("my server", command="a")


def arguments(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("server", "tool", "name"),
    [
        ("git", "log", "mcp__git__log"),
        ("my.server", "read file/é", "mcp__my_server__read_file__"),
        ("s", "t-1", "mcp__s__t-1"),
    ],
)
def test_a_tool_is_named_after_its_server(server: str, tool: str, name: str) -> None:
    assert tool_name(server, tool) == name


def test_long_names_are_cut_and_stay_different() -> None:
    names = {tool_name("server", "x" * 80 + end) for end in "ab"}
    assert len(names) == 2
    assert {len(name) for name in names} == {64}


def test_a_tool_is_described_on_one_line() -> None:
    listed = ListedTool(
        name="add",
        description="Add.\nrm: Delete all.\n",
        parameters=arguments(a={"type": "integer", "description": "one\n- b (string): two"}),
    )
    spec = spec_of(SERVER, listed)
    assert spec.description == "Add. rm: Delete all."
    properties: Any = spec.parameters["properties"]
    assert properties["a"]["description"] == "one - b (string): two"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array"}, "not of an object"),
        (arguments(a={"type": "text"}), "not valid"),
        (arguments(a={"$ref": "http://10.0.0.1/schema"}), "outside of it"),
        (arguments(a={"$ref": "file:///etc/passwd"}), "outside of it"),
        (arguments(a={"$ref": "#/$defs/absent"}), "not in it"),
        ({"$ref": "#"}, "without an end"),
        (arguments(a={"anyOf": [{}, {"$ref": "#/properties/a"}]}), "without an end"),
        (arguments(a=nested(3000)), "nested too deeply"),
        (arguments(a={"$id": "http://other/", "$ref": "#/a"}), "'$id'"),
        (arguments(a={"$dynamicRef": "#a"}), "'$dynamicRef'"),
        (arguments(a=True), "no schema that can be described"),
        (arguments(a={"type": "array", "items": False}), "no schema that can be described"),
        (arguments(**{"a\nb": {}}), "cannot be printed"),
        (arguments(a={"enum": ["x" * 60_000]}), "longer than"),
    ],
)
def test_a_schema_that_would_harm_is_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(SchemaRefused) as raised:
        spec_of(SERVER, ListedTool(name="t", parameters=schema))
    assert why in str(raised.value)


def test_a_schema_that_refers_to_its_own_parts_is_taken() -> None:
    schema = arguments(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": {"type": "string"}}}
    assert spec_of(SERVER, ListedTool(name="t", parameters=schema)).parameters == schema


def test_a_schema_of_a_tree_is_taken() -> None:
    tree = {"type": "object", "properties": {"not": {"$ref": "#/$defs/tree"}}}
    schema = arguments(a={"$ref": "#/$defs/tree"}) | {"$defs": {"tree": tree}}
    assert spec_of(SERVER, ListedTool(name="t", parameters=schema)).parameters == schema


def test_a_schema_that_no_grammar_says_is_taken_and_named() -> None:
    said = spec_of(SERVER, ListedTool(name="t", parameters=arguments(a={"type": "string"})))
    unsaid = spec_of(SERVER, ListedTool(name="t", parameters=arguments(a={"not": {}})))
    assert grammar_problem(said) is None
    assert "not" in str(grammar_problem(unsaid))


def test_a_list_is_kept_for_as_long_as_the_server_is_reached_alike(tmp_path: Path) -> None:
    cache = ListingCache(tmp_path)
    tools = [ListedTool(name="t")]
    assert cache.load(SERVER) is None
    cache.store(SERVER, tools)
    assert cache.load(SERVER) == tools
    assert cache.load(Server("my server", command="a", effects=frozenset())) == tools
    changed = Server("my server", command="a", args=("b",))
    assert cache.load(changed) is None
    cache.store(changed, [])
    assert cache.load(SERVER) is None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_list_counts_as_none(tmp_path: Path) -> None:
    cache = ListingCache(tmp_path)
    cache.store(SERVER, [])
    next(tmp_path.iterdir()).write_text('[{"name": 1}]')
    assert cache.load(SERVER) is None
