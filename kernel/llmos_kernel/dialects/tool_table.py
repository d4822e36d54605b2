"""How tool specifications are written into a system prompt.

Pure text in, text out; knows no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmos_kernel.abi import ToolSpec


def openai_schema(spec: ToolSpec) -> dict[str, Any]:
    """Return the OpenAI function form of a tool, as most chat templates expect it."""
    return {
        "type": "function",
        "function": {
            "name": spec.name,
            "description": spec.description,
            "parameters": dict(spec.parameters),
        },
    }


def hermes_table(specs: Sequence[ToolSpec]) -> str:
    """Write tools as Hermes, Qwen2.5 and Qwen3 were trained to read them (their chat template)."""
    lines = "".join("\n" + json.dumps(openai_schema(spec), ensure_ascii=False) for spec in specs)
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>{lines}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def compact_table(specs: Sequence[ToolSpec]) -> str:
    """Write tools in the embedded model's short form: a line a tool, a line an argument."""
    return "\n".join(_compact_tool(spec) for spec in specs)


def _compact_tool(spec: ToolSpec) -> str:
    properties: Mapping[str, Any] = spec.parameters.get("properties", {})  # type: ignore[assignment]
    required = spec.parameters.get("required", [])
    lines = [f"{spec.name}: {spec.description}"]
    for name, schema in properties.items():
        optional = "" if name in required else ", optional"  # type: ignore[operator]
        about = f": {schema['description']}" if schema.get("description") else ""
        lines.append(f"- {name} ({_type_name(schema)}{optional}){about}")
    return "\n".join(lines)


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {schema.get('items', {}).get('type', 'any')}"
    return schema.get("type", "any")
