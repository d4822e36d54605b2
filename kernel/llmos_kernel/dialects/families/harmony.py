"""gpt-oss. Literals from its chat template; the date is left out, a context's head is stable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces
from llmos_kernel.dialects.codecs.harmony import CHANNEL, CONSTRAIN, MESSAGE, START, HarmonyCodec
from llmos_kernel.dialects.codecs.strict_json import dump
from llmos_kernel.dialects.dialect import Dialect, Frame
from llmos_kernel.dialects.tool_table import properties_of, required_of

ENDS = ("<|end|>", "<|return|>", "<|call|>")


def _system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    calls = "\nCalls to these tools must go to the commentary channel: 'functions'."
    pieces: Pieces = [
        Markup(f"{START}system{MESSAGE}"),
        "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n\n"
        "Reasoning: medium\n\n# Valid channels: analysis, commentary, final. Channel must be "
        f"included for every message.{calls if specs else ''}",
        Markup(f"<|end|>{START}developer{MESSAGE}"),
        f"# Instructions\n\n{prompt}\n\n",
    ]
    if specs:
        types = "".join(map(_type_of_tool, specs))
        pieces += [
            f"# Tools\n\n## functions\n\nnamespace functions {{\n\n{types}}} // namespace functions"
        ]
    return [*pieces, Markup("<|end|>")]


def _type_of_tool(spec: ToolSpec) -> str:
    head = f"// {spec.description}\ntype {spec.name} = "
    properties, required = properties_of(spec), required_of(spec)
    if not properties:
        return f"{head}() => any;\n\n"
    lines: list[str] = []
    for name, schema in properties.items():
        about = f"// {schema['description']}\n" if schema.get("description") else ""
        optional = "" if name in required else "?"
        default = f", // default: {_default(schema)}" if "default" in schema else ","
        lines.append(f"{about}{name}{optional}: {_type_name(schema)}{default}\n")
    return f"{head}(_: {{\n{''.join(lines)}}}) => any;\n\n"


def _default(schema: Mapping[str, Any]) -> str:
    return schema["default"] if schema.get("enum") else dump(schema["default"])


def _type_name(schema: Mapping[str, Any]) -> str:
    """Return the TypeScript type of a schema."""
    match schema.get("type"):
        case "string" if schema.get("enum"):
            return " | ".join(f'"{value}"' for value in schema["enum"])
        case "string" | "boolean" as name:
            return name
        case "number" | "integer":
            return "number"
        case "array":
            return f"{_type_name(schema['items'])}[]" if schema.get("items") else "any[]"
        case "object" if schema.get("properties"):
            required = schema.get("required", ())
            fields = (
                f"{name}{'' if name in required else '?'}: {_type_name(inner)}"
                for name, inner in schema["properties"].items()
            )
            return f"{{\n{', '.join(fields)}}}"
        case "object":
            return "object"
        case _:
            return "any"


GPT_OSS = Dialect(
    name="gpt_oss",
    controls=(START, CHANNEL, MESSAGE, *ENDS),
    optional_controls=(CONSTRAIN,),
    system=_system,
    user=Frame(f"{START}user{MESSAGE}", "<|end|>"),
    assistant=Frame(f"{START}assistant"),
    result=Frame(f"{START}functions.$name to=assistant{CHANNEL}commentary{MESSAGE}", "<|end|>"),
    is_result_json=True,
    answer=Frame(f"{CHANNEL}final{MESSAGE}"),
    preamble=Frame(f"{CHANNEL}analysis{MESSAGE}", "<|end|>"),
    before_calls=f"{START}assistant",
    between_calls=f"{START}assistant",
    call=Frame("", "<|call|>"),
    calls_stop=True,
    codec=HarmonyCodec(),
    stop="<|return|>",
    other_stops=("<|call|>",),
    past_stop="<|end|>",
    has_headers=True,
)
