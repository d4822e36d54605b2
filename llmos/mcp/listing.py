"""What a server offers: its tools as specifications, checked, and kept from one start to the next.

Covered: names and schemas that would harm the kernel or mislead the model are refused, such as
references that lead out of a schema. Not covered: what a description persuades a model of. Knows
no protocol.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, TypeAdapter, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from llmos.mcp.config import Server
from llmos_kernel.abi import ToolSpec

LONGEST_NAME = 64
LONGEST_DESCRIPTION = 2000
LONGEST_SCHEMA = 50_000
MOST_TOOLS = 1000

Lookup: TypeAlias = Callable[[str], Any]


class ListedTool(BaseModel):
    """A tool as its server lists it; nothing of it is trusted."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class SchemaRefused(Exception):
    """A schema that the kernel does not take; the message says why."""


class ListingCache:
    """The tool lists of servers, a file for each; a damaged one counts as none.

    It is called by a hash of the server's name and one of how it is reached.
    """

    _form = TypeAdapter(list[ListedTool])

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, server: Server) -> list[ListedTool] | None:
        """Return what the server offered when it was last started, if it is reached as then."""
        try:
            return self._form.validate_json(self._path(server).read_bytes())
        except (OSError, ValidationError):
            return None

    def store(self, server: Server, tools: list[ListedTool]) -> None:
        """Keep a list in place of the server's former ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(server)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_bytes(self._form.dump_json(tools))
        temporary.replace(path)
        for other in self._folder.glob(f"{_hash(server.name)}.*.json"):
            if other != path:
                other.unlink(missing_ok=True)

    def _path(self, server: Server) -> Path:
        return self._folder / f"{_hash(server.name)}.{server.digest[:16]}.json"


def safe_name(name: str) -> str:
    """Return a name of letters, digits, `_` and `-` only."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def tool_name(server: str, tool: str) -> str:
    """Return `mcp__server__tool`, cut to what every model's protocol takes, with a hash then."""
    name = f"mcp__{safe_name(server)}__{safe_name(tool)}"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{_hash(f'{server}/{tool}')[:8]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def spec_of(server: Server, tool: ListedTool) -> ToolSpec:
    """Return the specification of a server's tool.

    Raises:
        SchemaRefused: its arguments cannot be checked.
    """
    return ToolSpec(
        tool_name(server.name, tool.name),
        _one_line(tool.description) or f"The tool {_one_line(tool.name)}.",
        checked_schema(tool.parameters),
        server.effects,
        timeout_s=server.timeout_s,
    )


def grammar_problem(spec: ToolSpec) -> str | None:
    """Return why decoding cannot be masked by a schema; its calls are still checked."""
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(json.dumps(dict(spec.parameters)))
    problem = LLMatcher.validate_grammar(grammar, None)
    return None if not problem or problem.startswith("WARNING") else problem


def checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its descriptions on one line each.

    Raises:
        SchemaRefused: it is not one of an object, too large, or refers to what is not in it.
    """
    whole: dict[str, Any] = {"type": "object", "properties": {}} | schema
    if whole["type"] != "object":
        raise SchemaRefused(f"its schema is of type {whole['type']!r}, not of an object")
    try:
        if len(json.dumps(whole)) > LONGEST_SCHEMA:
            raise SchemaRefused(f"its schema is longer than {LONGEST_SCHEMA} characters")
        Draft202012Validator.check_schema(whole)
        _check_references(whole)
        _check_arguments(whole["properties"])
        return cast(dict[str, Any], _tidied(whole))
    except SchemaError as error:
        raise SchemaRefused(f"its schema is not valid: {error.message}") from error
    except Unresolvable as error:
        raise SchemaRefused(f"its schema refers to what is not in it: {error}") from error
    except RecursionError as error:
        raise SchemaRefused("its schema is nested too deeply") from error


def _check_references(schema: dict[str, Any]) -> None:
    """Check that what a schema refers to is in it: a reference out of it would be fetched."""
    resolver = Registry[Any]().resolver_with_root(DRAFT202012.create_resource(schema))
    seen: set[int] = set()

    def lookup(reference: str) -> Any:
        return resolver.lookup(reference).contents

    for part in _objects(schema):
        for key in ("$dynamicRef", "$recursiveRef", "$id"):
            if isinstance(part.get(key), str) and (key != "$id" or part is not schema):
                raise SchemaRefused(f"its schema has {key!r}")
        reference = part.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise SchemaRefused(f"its schema refers to {reference!r}, which is outside of it")
        _check_ends(part, lookup, seen, ())


def _check_ends(
    schema: dict[str, Any], lookup: Lookup, seen: set[int], above: tuple[int, ...]
) -> None:
    """Check that judging a value by a schema does not come back to it with the same value."""
    if id(schema) in above:
        raise SchemaRefused("its schema refers to itself without an end")
    if id(schema) in seen:
        return
    for part in _of_same_value(schema, lookup):
        _check_ends(part, lookup, seen, (*above, id(schema)))
    seen.add(id(schema))


def _of_same_value(schema: dict[str, Any], lookup: Lookup) -> Iterator[dict[str, Any]]:
    parts: list[Any] = [schema.get(key) for key in ("not", "if", "then", "else")]
    for key in ("allOf", "anyOf", "oneOf"):
        parts += schema[key] if isinstance(schema.get(key), list) else []
    if isinstance(reference := schema.get("$ref"), str):
        parts.append(lookup(reference))
    yield from (part for part in parts if isinstance(part, dict))


def _check_arguments(properties: dict[str, Any]) -> None:
    for name, schema in properties.items():
        if not name.isprintable():
            raise SchemaRefused(f"the argument {name!r} has a name that cannot be printed")
        if not isinstance(schema, dict) or isinstance(cast(Any, schema).get("items"), bool):
            raise SchemaRefused(f"the argument {name!r} has no schema that can be described")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield cast(dict[str, Any], value)
        for part in cast(dict[str, Any], value).values():
            yield from _objects(part)
    elif isinstance(value, list):
        for part in cast(list[Any], value):
            yield from _objects(part)


def _tidied(value: Any) -> Any:
    """Put descriptions on one line: the table of tools that a model reads has a line for each."""
    if isinstance(value, list):
        return [_tidied(part) for part in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    return {
        key: _one_line(part) if key == "description" and isinstance(part, str) else _tidied(part)
        for key, part in cast(dict[str, Any], value).items()
    }


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_DESCRIPTION else f"{line[:LONGEST_DESCRIPTION]} ..."
