"""How tool specifications are written into a system prompt.

Pure text in, text out; knows no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.strict_json import dump
from llmos_kernel.grounding import KEYWORD, grounded_keys


def openai_function(spec: ToolSpec) -> dict[str, Any]:
    """Return a tool as a function: name, description, parameters."""
    return {
        "name": spec.name,
        "description": spec.description,
        "parameters": parameters_of(spec),
    }


def openai_schema(spec: ToolSpec) -> dict[str, Any]:
    """Return the OpenAI function form of a tool, as most chat templates expect it."""
    return {"type": "function", "function": openai_function(spec)}


def schema_lines(specs: Sequence[ToolSpec]) -> str:
    """Write one tool a line, each behind a line break."""
    return "".join("\n" + dump(openai_schema(spec)) for spec in specs)


def schema_list(specs: Sequence[ToolSpec], *, indent: int | None = None) -> str:
    """Write the tools as one JSON array."""
    return json.dumps([openai_schema(s) for s in specs], ensure_ascii=False, indent=indent)


def parameters_of(spec: ToolSpec) -> dict[str, Any]:
    """Return a tool's schema as models are shown it: without the keyword that is the kernel's."""
    parameters: dict[str, Any] = dict(spec.parameters)
    if grounded_keys(spec):
        parameters["properties"] = {
            name: {key: value for key, value in schema.items() if key != KEYWORD}
            for name, schema in parameters["properties"].items()
        }
    return parameters


def properties_of(spec: ToolSpec) -> Mapping[str, Mapping[str, Any]]:
    return parameters_of(spec).get("properties", {})


def required_of(spec: ToolSpec) -> Sequence[str]:
    return spec.parameters.get("required", [])  # type: ignore[return-value]


def compact_table(specs: Sequence[ToolSpec]) -> str:
    """Write tools in the embedded model's short form: a line a tool, a line an argument."""
    return "\n".join(_compact_tool(spec) for spec in specs)


def _compact_tool(spec: ToolSpec) -> str:
    lines = [f"{spec.name}: {spec.description}"]
    return "\n".join([*lines, *_compact_arguments(parameters_of(spec))])


def _compact_arguments(schema: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a line an argument; the fields of an object follow it, further in."""
    required = schema.get("required", [])
    for name, about in schema.get("properties", {}).items():
        optional = "" if name in required else ", optional"
        description = f": {about['description']}" if about.get("description") else ""
        yield f"{indent}- {name} ({_type_name(about)}{optional}){description}"
        yield from _compact_arguments(about.get("items", about), f"{indent}  ")


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_type_name(schema.get('items', {}))}"
    return schema.get("type", "any")
