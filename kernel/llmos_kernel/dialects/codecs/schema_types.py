"""Which JSON types a tool's schema admits for an argument.

Reads as much of a schema as tells a string from other values; validation is `syscalls`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmos_kernel.abi import ToolSpec

NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array",
         dict: "object", type(None): "null"}  # fmt: skip
MAX_REFERENCES = 8


def admits_string(spec: ToolSpec | None, key: str) -> bool:
    """Whether the argument may be a string; so it is, too, where nothing says what it is."""
    if spec is None:
        return True
    parameters: Mapping[str, Any] = spec.parameters
    schema = parameters.get("properties", {}).get(key)
    if not isinstance(schema, Mapping):
        return True
    types = _types(schema, parameters, MAX_REFERENCES)  # pyright: ignore
    return not types or "string" in types


def _types(schema: Mapping[str, Any], root: Mapping[str, Any], references: int) -> set[str]:
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None  # pyright: ignore
        is_known = isinstance(target, Mapping) and references > 0
        return _types(target, root, references - 1) if is_known else set()  # pyright: ignore
    if "type" in schema:
        named = schema["type"]
        return {named} if isinstance(named, str) else set(named)
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    found = {NAMES[type(value)] for value in values}
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found |= _types(choice, root, references - 1) if references else set()
    return found
