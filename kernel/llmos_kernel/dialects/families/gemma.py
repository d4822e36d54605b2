"""FunctionGemma and Gemma 4: a call and its result stand within one turn of the model.

Literals from Google's chat templates and its page on FunctionGemma's format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces, checked_key
from llmos_kernel.dialects.codecs.gemma import GemmaCodec
from llmos_kernel.dialects.dialect import Dialect, Frame
from llmos_kernel.dialects.tool_table import properties_of, required_of


@dataclass(frozen=True, slots=True)
class Declarations:
    """How tools are declared: in the notation of calls, types in capitals."""

    frame: Frame
    codec: GemmaCodec

    def pieces(self, specs: Sequence[ToolSpec]) -> Pieces:
        return [piece for spec in specs for piece in self._declaration(spec)]

    def _declaration(self, spec: ToolSpec) -> Pieces:
        pieces = [Markup(self.frame.open), f"declaration:{spec.name}{{description:"]
        pieces += [*self.codec.pieces(spec.description), ",parameters:{"]
        if properties := properties_of(spec):
            pieces += ["properties:", *self._properties(properties), ","]
        if required := required_of(spec):
            pieces += ["required:", *self.codec.pieces(list(required)), ","]
        return [*pieces, "type:", *self.codec.pieces("OBJECT"), "}}", Markup(self.frame.close)]

    def _properties(self, properties: Mapping[str, Mapping[str, Any]]) -> Pieces:
        pieces: Pieces = ["{"]
        for index, key in enumerate(sorted(properties, key=str.lower)):
            pieces += ["," if index else "", f"{checked_key(key)}:"]
            pieces += self._schema(properties[key])
        return [*pieces, "}"]

    def _schema(self, schema: Mapping[str, Any]) -> Pieces:
        kind = str(schema.get("type", "")).upper()
        pieces: Pieces = ["{"]
        if schema.get("description"):
            pieces += ["description:", *self.codec.pieces(schema["description"]), ","]
        if kind == "STRING" and schema.get("enum"):
            pieces += ["enum:", *self.codec.pieces(schema["enum"]), ","]
        if kind == "ARRAY" and schema.get("items"):
            pieces += ["items:", *self._items(schema["items"]), ","]
        if kind == "OBJECT" and schema.get("properties"):
            pieces += ["properties:", *self._properties(schema["properties"]), ","]
            if schema.get("required"):
                pieces += ["required:", *self.codec.pieces(schema["required"]), ","]
        return [*pieces, "type:", *self.codec.pieces(kind), "}"]

    def _items(self, schema: Mapping[str, Any]) -> Pieces:
        pieces: Pieces = ["{"]
        for index, key in enumerate(sorted(schema, key=str.lower)):
            pieces += ["," if index else "", f"{checked_key(key)}:"]
            if key == "properties":
                pieces += self._properties(schema[key])
            else:
                value = schema[key]
                pieces += self.codec.pieces(str(value).upper() if key == "type" else value)
        return [*pieces, "}"]


_FUNCTION = GemmaCodec("<escape>")
_FUNCTION_TOOLS = Declarations(
    Frame("<start_function_declaration>", "<end_function_declaration>"), _FUNCTION
)


def _function_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    tools = _FUNCTION_TOOLS.pieces(specs)
    return [Markup("<bos><start_of_turn>developer\n"), prompt, *tools, Markup("<end_of_turn>\n")]


FUNCTIONGEMMA = Dialect(
    name="functiongemma",
    controls=(
        "<bos>", "<start_of_turn>", "<end_of_turn>", "<escape>",
        "<start_function_declaration>", "<end_function_declaration>",
        "<start_function_call>", "<end_function_call>",
        "<start_function_response>", "<end_function_response>",
    ),
    system=_function_system,
    user=Frame("<start_of_turn>user\n", "<end_of_turn>\n"),
    assistant=Frame("<start_of_turn>model\n", "<end_of_turn>\n"),
    assistant_after_results="",
    result=Frame(
        "<start_function_response>response:$name{value:<escape>",
        "<escape>}<end_function_response>",
    ),
    call=Frame("<start_function_call>", "<end_function_call>"),
    calls_stop=True,
    codec=_FUNCTION,
    stop="<end_of_turn>",
    other_stops=("<start_function_response>",),
)  # fmt: skip

_GEMMA4 = GemmaCodec('<|"|>')
_GEMMA4_TOOLS = Declarations(Frame("<|tool>", "<tool|>"), _GEMMA4)


def _gemma4_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    tools = _GEMMA4_TOOLS.pieces(specs)
    return [Markup("<bos><|turn>system\n"), prompt, *tools, Markup("<turn|>\n")]


GEMMA4 = Dialect(
    name="gemma4",
    controls=(
        "<bos>", "<|turn>", "<turn|>", '<|"|>', "<|tool>", "<tool|>",
        "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
    ),
    optional_controls=("<|channel>", "<channel|>"),
    system=_gemma4_system,
    user=Frame("<|turn>user\n", "<turn|>\n"),
    assistant=Frame("<|turn>model\n", "<turn|>\n"),
    assistant_after_results="",
    result=Frame('<|tool_response>response:$name{value:<|"|>', '<|"|>}<tool_response|>'),
    call=Frame("<|tool_call>", "<tool_call|>"),
    calls_stop=True,
    codec=_GEMMA4,
    stop="<turn|>",
    other_stops=("<|tool_response>",),
    thought=Frame("<|channel>", "<channel|>"),
)  # fmt: skip
