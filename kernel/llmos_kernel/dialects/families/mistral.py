"""Mistral: the array of calls, and the later form with a name before each call's arguments.

Literals from its chat templates. The tools stand before the first user message, not the last:
a context only grows.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces
from llmos_kernel.dialects.codecs.json_array import JsonArrayCodec
from llmos_kernel.dialects.codecs.name_json import NameJsonCodec
from llmos_kernel.dialects.dialect import Dialect, Frame
from llmos_kernel.dialects.tool_table import schema_list

TURNS = ("<s>", "</s>", "[INST]", "[/INST]")
TOOLS = ("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]")
RESULTS = ("[TOOL_RESULTS]", "[/TOOL_RESULTS]")
SYSTEM = ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
THINK = ("[THINK]", "[/THINK]")


def _tools(specs: Sequence[ToolSpec]) -> Pieces:
    if not specs:
        return []
    return [Markup("[AVAILABLE_TOOLS]"), schema_list(specs), Markup("[/AVAILABLE_TOOLS]")]


def _system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    before, after = Markup("<s>[SYSTEM_PROMPT]"), Markup("[/SYSTEM_PROMPT]")
    return [before, prompt, after, *_tools(specs)]


def _system_as_turn(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    """Before `[SYSTEM_PROMPT]` there was none: the prompt is a first turn with an empty answer."""
    return [Markup("<s>"), *_tools(specs), Markup("[INST]"), prompt, Markup("[/INST]</s>")]


MISTRAL = Dialect(
    name="mistral",
    controls=(*TURNS, *TOOLS, *RESULTS),
    system=_system_as_turn,
    user=Frame("[INST]", "[/INST]"),
    assistant=Frame("", "</s>"),
    result=Frame('[TOOL_RESULTS]{"content": ', ', "call_id": "$id"}[/TOOL_RESULTS]'),
    is_result_json=True,
    call=Frame("[TOOL_CALLS]"),
    codec=JsonArrayCodec(has_id=True),
    stop="</s>",
)

MISTRAL_CALL_ID = Dialect(
    name="mistral_call_id",
    controls=(*TURNS, *TOOLS, *RESULTS, *SYSTEM, "[ARGS]", "[CALL_ID]", "[TOOL_CONTENT]"),
    template_marks=("[CALL_ID]", "[ARGS]"),
    system=_system,
    user=Frame("[INST]", "[/INST]"),
    assistant=Frame("", "</s>"),
    result=Frame("[TOOL_RESULTS]$id[TOOL_CONTENT]", "[/TOOL_RESULTS]"),
    call=Frame("[TOOL_CALLS]"),
    codec=NameJsonCodec(joint="[ARGS]", id_mark="[CALL_ID]"),
    stop="</s>",
)

MISTRAL_ARGS = Dialect(
    name="mistral_args",
    controls=(*TURNS, *TOOLS, *RESULTS, *SYSTEM, "[ARGS]"),
    optional_controls=THINK,
    system=_system,
    user=Frame("[INST]", "[/INST]"),
    assistant=Frame("", "</s>"),
    result=Frame("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    call=Frame("[TOOL_CALLS]"),
    codec=NameJsonCodec(joint="[ARGS]"),
    stop="</s>",
    thought=Frame(*THINK),
)
