"""Families whose messages stand between `<|im_start|>` and `<|im_end|>`.

Hermes, Qwen2.5, Qwen3, Qwen3-Coder, Qwen3.5, SmolLM3, Olmo 3, LFM2. Literals from their chat
templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces
from llmos_kernel.dialects.codecs.json_object import JsonObjectCodec
from llmos_kernel.dialects.codecs.pythonic import PythonicCodec
from llmos_kernel.dialects.codecs.strict_json import dump
from llmos_kernel.dialects.codecs.xml import Tag, XmlCodec
from llmos_kernel.dialects.dialect import HERMES_CALL, Dialect, Frame, SystemWriter
from llmos_kernel.dialects.tool_table import (
    openai_function,
    properties_of,
    schema_lines,
    schema_list,
)

CHATML = ("<|im_start|>", "<|im_end|>")
THOUGHTS = ("<think>", "</think>")
RESPONSE = ("<tool_response>", "</tool_response>")
USER = Frame("<|im_start|>user\n", "<|im_end|>\n")
ASSISTANT = Frame("<|im_start|>assistant\n", "<|im_end|>\n")
USER_RESULTS = Frame("<|im_start|>user", "<|im_end|>\n")
TOOL_RESPONSE = Frame("\n<tool_response>\n", "\n</tool_response>")


def chatml_system(table: Callable[[Sequence[ToolSpec]], Pieces], joint: str) -> SystemWriter:
    """Return a writer of the prompt, `joint` and the table of tools, in one system message."""

    def write(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
        tools = [joint, *table(specs)] if specs else []
        return [Markup("<|im_start|>system\n"), prompt, *tools, Markup("<|im_end|>\n")]

    return write


def hermes_table(specs: Sequence[ToolSpec]) -> Pieces:
    return [
        Markup(
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
        ),
        schema_lines(specs),
        Markup(
            "\n</tools>\n\nFor each function call, return a json object with function name and "
            "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
            '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        ),
    ]


HERMES = Dialect(
    name="hermes",
    controls=(*CHATML, *HERMES_CALL),
    optional_controls=(*RESPONSE, *THOUGHTS),
    system=chatml_system(hermes_table, "\n\n"),
    user=USER,
    assistant=ASSISTANT,
    results=USER_RESULTS,
    result=TOOL_RESPONSE,
    call=Frame("<tool_call>\n", "\n</tool_call>"),
    before_calls="\n",
    between_calls="\n",
    codec=JsonObjectCodec(),
    stop="<|im_end|>",
)

QWEN_XML = XmlCodec(
    function=Tag("<function=", ">"),
    function_end="</function>",
    parameter=Tag("<parameter=", ">"),
    value_end="</parameter>",
    pad="\n",
    scalars="python",
)

_QWEN_CALL = (
    "<tool_call>\n<function=example_function_name>\n"
    "<parameter=example_parameter_1>\nvalue_1\n</parameter>\n<parameter=example_parameter_2>\n"
)
_QWEN_RULES = (
    "- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the "
    "function call, but NOT after\n"
    "- If there is no function call available, answer the question like normal with your current "
    "knowledge and do not tell the user about function calls\n</IMPORTANT>"
)


def _qwen_coder_table(specs: Sequence[ToolSpec]) -> Pieces:
    return [
        "# Tools\n\nYou have access to the following tools:\n\n<tools>",
        *(piece for spec in specs for piece in _qwen_coder_tool(spec)),
        "\n</tools>\n\nIf you choose to call a tool ONLY reply in the following format with NO "
        "suffix:\n\n",
        Markup(
            f"{_QWEN_CALL}value_2\n</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\n"
            "Reminder:\n- Function calls MUST follow the specified format: the tool calling block "
            "MUST begin with an opening <tool_call> tag and end with a closing </tool_call> tag.\n"
            f"{_QWEN_RULES}"
        ),
    ]


def _qwen_coder_tool(spec: ToolSpec) -> Pieces:
    pieces: Pieces = [f"\n<function>\n<name>{spec.name}</name>"]
    pieces += [f"\n<description>{spec.description.strip()}</description>\n<parameters>"]
    for name, schema in properties_of(spec).items():
        pieces += [f"\n<parameter>\n<name>{name}</name>"]
        if "type" in schema:
            pieces += [f"\n<type>{schema['type']}</type>"]
        if "description" in schema:
            pieces += [f"\n<description>{schema['description'].strip()}</description>"]
        pieces += [_other_keys(schema, ("name", "type", "description")), "\n</parameter>"]
    pieces += [_other_keys(spec.parameters, ("type", "properties"))]
    return [*pieces, "\n</parameters>\n</function>"]


def _other_keys(schema: Mapping[str, Any], known: Sequence[str]) -> str:
    rest = {key: value for key, value in schema.items() if key not in known}
    return "".join(
        f"\n<{key}>{dump(value) if isinstance(value, dict | list) else value}</{key}>"
        for key, value in rest.items()
    )


QWEN_CODER = Dialect(
    name="qwen_coder",
    template_marks=("<function=", "<parameter="),
    controls=(*CHATML, *HERMES_CALL),
    optional_controls=(*RESPONSE, *THOUGHTS),
    system=chatml_system(_qwen_coder_table, "\n\n"),
    user=USER,
    assistant=ASSISTANT,
    results=Frame("<|im_start|>user\n", "<|im_end|>\n"),
    result=Frame("<tool_response>\n", "\n</tool_response>\n"),
    call=Frame("<tool_call>\n", "\n</tool_call>"),
    before_calls="\n\n",
    between_calls="\n",
    codec=QWEN_XML,
    stop="<|im_end|>",
)


def _qwen35_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    open_, close = Markup("<|im_start|>system\n"), Markup("<|im_end|>\n")
    if not specs:
        return [open_, prompt, close]
    return [
        open_,
        "# Tools\n\nYou have access to the following functions:\n\n<tools>",
        schema_lines(specs),
        "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO "
        "suffix:\n\n",
        Markup(
            f"{_QWEN_CALL}This is the value for the second parameter\nthat can span\nmultiple "
            "lines\n</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n- Function "
            "calls MUST follow the specified format: an inner <function=...></function> block must "
            f"be nested within <tool_call></tool_call> XML tags\n{_QWEN_RULES}"
        ),
        "\n\n",
        prompt,
        close,
    ]


QWEN35 = Dialect(
    name="qwen3.5",
    template_marks=("<function=", "You have access to the following functions"),
    controls=(*CHATML, *HERMES_CALL, *THOUGHTS),
    optional_controls=RESPONSE,
    system=_qwen35_system,
    user=USER,
    assistant=Frame("<|im_start|>assistant\n<think>\n", "<|im_end|>\n"),
    past_open="<|im_start|>assistant\n",
    results=USER_RESULTS,
    result=TOOL_RESPONSE,
    call=Frame("<tool_call>\n", "\n</tool_call>"),
    before_calls="\n\n",
    between_calls="\n",
    codec=QWEN_XML,
    stop="<|im_end|>",
)


def _smollm_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    head = "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\n"
    pieces: Pieces = [Markup(f"{head}Reasoning Mode: /no_think\n\n## Custom Instructions\n\n")]
    pieces += [f"{prompt}\n\n"]
    if specs:
        lines = "".join(dump(openai_function(spec)) + "\n" for spec in specs)
        pieces += [
            "### Tools\n\nYou may call one or more functions to assist with the user query.\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n\n"
            f"<tools>\n{lines}</tools>\n\n",
            Markup(
                "For each function call, return a json object with function name and arguments "
                "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
                '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>\n\n'
            ),
        ]
    return [*pieces, Markup("<|im_end|>\n")]


SMOLLM3 = Dialect(
    name="smollm3",
    template_marks=("Custom Instructions", "reasoning_mode"),
    controls=(*CHATML, *HERMES_CALL),
    optional_controls=(*RESPONSE, *THOUGHTS),
    system=_smollm_system,
    user=USER,
    assistant=Frame("<|im_start|>assistant\n<think>\n\n</think>\n", "<|im_end|>\n"),
    result=USER,
    call=Frame("<tool_call>\n", "\n</tool_call>"),
    before_calls="\n",
    between_calls="\n",
    codec=JsonObjectCodec(),
    stop="<|im_end|>",
)


def _olmo_table(specs: Sequence[ToolSpec]) -> Pieces:
    return [Markup("<functions>"), schema_list(specs), Markup("</functions>")]


OLMO_CALL = ("<function_calls>", "</function_calls>")

OLMO3 = Dialect(
    name="olmo3",
    controls=("<|endoftext|>", *CHATML, *OLMO_CALL),
    optional_controls=("<functions>", "</functions>", *THOUGHTS),
    system=chatml_system(_olmo_table, ""),
    user=USER,
    assistant=ASSISTANT,
    result=Frame("<|im_start|>environment\n", "<|im_end|>\n"),
    call=Frame(*OLMO_CALL),
    codec=PythonicCodec(is_list=False),
    stop="<|im_end|>",
    other_stops=("<|endoftext|>",),
)


def _lfm_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    tools: Pieces = []
    if specs:
        tools = ["\nList of tools: ", Markup("<|tool_list_start|>"), schema_list(specs)]
        tools += [Markup("<|tool_list_end|>")]
    open_ = Markup("<|startoftext|><|im_start|>system\n")
    return [open_, prompt, *tools, Markup("<|im_end|>\n")]


LFM_CALL = ("<|tool_call_start|>", "<|tool_call_end|>")
LFM_RESPONSE = ("<|tool_response_start|>", "<|tool_response_end|>")

LFM2 = Dialect(
    name="lfm2",
    controls=("<|startoftext|>", *CHATML, *LFM_CALL),
    optional_controls=("<|tool_list_start|>", "<|tool_list_end|>", *LFM_RESPONSE, *THOUGHTS),
    system=_lfm_system,
    user=USER,
    assistant=ASSISTANT,
    result=Frame(
        f"<|im_start|>tool\n{LFM_RESPONSE[0]}",
        f"{LFM_RESPONSE[1]}<|im_end|>\n",
    ),
    call=Frame(*LFM_CALL),
    codec=PythonicCodec(quotes="single"),
    stop="<|im_end|>",
)
