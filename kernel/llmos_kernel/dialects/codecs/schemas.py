"""What a tool's schema says of its arguments: their types, which must be, what of it can be masked.

Reads as much of a schema as grammars and codecs need; validation is `syscalls`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from llmos_kernel.abi import ToolSpec
from llmos_kernel.grounding import is_grounded

Schema = Mapping[str, Any]

DEFINITIONS = ("$defs", "definitions")
MAX_REFERENCES = 8
LARGEST = 10**18


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool. `schema` brings along the definitions that it may refer to."""

    key: str
    schema: Schema
    is_required: bool
    is_grounded: bool

    @property
    def branches(self) -> list[Schema]:
        return branches(self.schema, self.schema)


def arguments_of(spec: ToolSpec) -> list[Argument]:
    """Return the declared arguments of a tool, in their order."""
    return properties_of(spec.parameters, spec.parameters)


def properties_of(schema: Schema, root: Schema) -> list[Argument]:
    """Return the declared properties of an object whose references lead into `root`."""
    shared = {key: root[key] for key in DEFINITIONS if key in root}
    required = schema.get("required", ())
    properties = cast("Mapping[str, Schema]", schema.get("properties", {}))
    return [
        Argument(key, {**shared, **each}, key in required, is_grounded(each))
        for key, each in properties.items()
    ]


def branches(schema: Schema, root: Schema, references: int = MAX_REFERENCES) -> list[Schema]:
    """Return the plain schemas that a schema chooses among, each of one type, an `enum`, or any."""
    if references == 0:
        return [{}]
    if "$ref" in schema:
        return branches(_target(str(schema["$ref"]), root), root, references - 1)
    if "enum" in schema or "const" in schema:
        return [{"enum": schema.get("enum", [schema.get("const")])}]
    kind = schema.get("type")
    if isinstance(kind, list):
        return [{**schema, "type": name} for name in cast("list[str]", kind)]
    choices: list[Schema] = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if kind is None and choices:
        return [b for choice in choices for b in branches(choice, root, references - 1)]
    return [schema]


def _target(reference: str, root: Schema) -> Schema:
    target: Any = root
    for part in reference.removeprefix("#/").split("/"):
        target = target.get(part) if isinstance(target, Mapping) else None  # pyright: ignore
    return cast("Schema", target) if isinstance(target, Mapping) else {}


def admits_string(spec: ToolSpec | None, key: str) -> bool:
    """Whether the argument may be a string; so it is, too, where nothing says what it is."""
    found = spec and next((a for a in arguments_of(spec) if a.key == key), None)
    return not found or any(map(is_text, found.branches))


def is_text(branch: Schema) -> bool:
    """Whether a plain schema admits a string."""
    if "enum" in branch:
        return any(isinstance(value, str) for value in branch["enum"])
    return branch.get("type", "string") == "string"


def narrowed(schema: Any, text_pattern: str = "") -> Any:
    """Return a schema that admits less: no undeclared key, no exponent, no number past LARGEST.

    Left out is what a strict parser refuses: keys that occur twice, numbers no float can hold.
    Strings without a pattern of their own have `text_pattern`, if there is one.
    """
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = dict(schema)  # pyright: ignore
    for key in ("properties", *DEFINITIONS):
        if isinstance(parts := found.get(key), dict):
            found[key] = {k: narrowed(part, text_pattern) for k, part in parts.items()}  # pyright: ignore
    for key in ("anyOf", "oneOf", "prefixItems"):
        if isinstance(parts := found.get(key), list):
            found[key] = [narrowed(part, text_pattern) for part in parts]  # pyright: ignore
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = narrowed(found[key], text_pattern)
    if found.get("type") in ("number", "integer"):
        found = {"minimum": -LARGEST, "maximum": LARGEST, **found}
    if text_pattern and "string" in found.get("type", ()):
        found.setdefault("pattern", text_pattern)
    if found.get("properties"):
        found.setdefault("additionalProperties", False)
    return found
