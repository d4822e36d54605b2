"""Llama 3.x and 4: calls without a control token, so a whole message is a call or none of it.

Literals from Meta's chat template and model cards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces
from llmos_kernel.dialects.codecs.json_object import JsonObjectCodec, opens_object
from llmos_kernel.dialects.codecs.pythonic import PythonicCodec, opens_calls
from llmos_kernel.dialects.dialect import Dialect, Frame
from llmos_kernel.dialects.tool_table import openai_function, openai_schema

BEGIN = "<|begin_of_text|>"


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


def _llama3_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    pieces: Pieces = [Markup(BEGIN + _header("system")), "Environment: ipython\n" if specs else ""]
    pieces += ["Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"]
    if specs:
        pieces += [
            "You have access to the following functions. To call a function, please respond with "
            'JSON for a function call.Respond in the format {"name": function name, "parameters": '
            "dictionary of argument name and its value}.Do not use variables.\n\n"
        ]
    for spec in specs:
        pieces += [json.dumps(openai_schema(spec), ensure_ascii=False, indent=4), "\n\n"]
    return [*pieces, prompt, Markup("<|eot_id|>")]


LLAMA3 = Dialect(
    name="llama3",
    controls=(BEGIN, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    system=_llama3_system,
    user=Frame(_header("user"), "<|eot_id|>"),
    assistant=Frame(_header("assistant"), "<|eot_id|>"),
    result=Frame(_header("ipython"), "<|eot_id|>"),
    is_result_json=True,
    call=Frame(),
    codec=JsonObjectCodec(arguments_key="parameters", between=";"),
    stop="<|eot_id|>",
    other_stops=("<|eom_id|>",),
    opens=opens_object,
)


def _header4(role: str) -> str:
    return f"<|header_start|>{role}<|header_end|>\n\n"


def _llama4_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    tools: Pieces = []
    if specs:
        functions = [openai_function(spec) for spec in specs]
        tools = [
            "\n\nYou are an expert in composing functions. You are given a question and a set of "
            "possible functions.\nBased on the question, you will need to make one or more "
            "function/tool calls to achieve the purpose.\nIf none of the function can be used, "
            "point it out. If the given question lacks the parameters required by the function,\n"
            "also point it out. You should only return the function call in tools call "
            "sections.\n\nIf you decide to invoke any of the function(s), you MUST put it in the "
            "format of [func_name1(params_name1=params_value1, params_name2=params_value2...), "
            "func_name2(params)]\nYou SHOULD NOT include any other text in the response.\n\nHere "
            "is a list of functions in JSON format that you can invoke.\n\n",
            json.dumps(functions, ensure_ascii=False, indent=4),
            "\n",
        ]
    return [Markup(BEGIN + _header4("system")), prompt, *tools, Markup("<|eot|>")]


LLAMA4 = Dialect(
    name="llama4",
    controls=(BEGIN, "<|header_start|>", "<|header_end|>", "<|eot|>", "<|eom|>"),
    optional_controls=("<|python_start|>", "<|python_end|>"),
    system=_llama4_system,
    user=Frame(_header4("user"), "<|eot|>"),
    assistant=Frame(_header4("assistant"), "<|eot|>"),
    result=Frame(_header4("ipython"), "<|eot|>"),
    is_result_json=True,
    call=Frame(),
    codec=PythonicCodec(),
    stop="<|eot|>",
    other_stops=("<|eom|>",),
    opens=opens_calls,
)
