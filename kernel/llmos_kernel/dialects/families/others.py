"""Families with framing of their own: Granite, Phi, Kimi, GLM, MiniMax, Seed-OSS.

Literals from their chat templates and model cards.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces, mark
from llmos_kernel.dialects.codecs.json_array import PHI_WORD, JsonArrayCodec, opens_functools
from llmos_kernel.dialects.codecs.json_object import JsonObjectCodec
from llmos_kernel.dialects.codecs.name_json import NameJsonCodec
from llmos_kernel.dialects.codecs.strict_json import dump
from llmos_kernel.dialects.codecs.xml import Tag, XmlCodec
from llmos_kernel.dialects.dialect import HERMES_CALL, Dialect, Frame, SystemWriter
from llmos_kernel.dialects.tool_table import (
    openai_function,
    properties_of,
    required_of,
    schema_lines,
    schema_list,
)

THOUGHTS = ("<think>", "</think>")
RESPONSE = ("<tool_response>", "</tool_response>")

# Granite ----------------------------------------------------------------------

GRANITE = ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>")


def _role(name: str) -> str:
    return f"<|start_of_role|>{name}<|end_of_role|>"


def _granite_frame(name: str) -> Frame:
    return Frame(_role(name), "<|end_of_text|>\n")


def _granite3_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    pieces: Pieces = [Markup(_role("system")), prompt, Markup("<|end_of_text|>\n")]
    if specs:
        pieces += [Markup(_role("available_tools")), schema_list(specs, indent=4)]
        pieces += [Markup("<|end_of_text|>\n")]
    return pieces


GRANITE3 = Dialect(
    name="granite3",
    controls=(*GRANITE, "<|tool_call|>"),
    system=_granite3_system,
    user=_granite_frame("user"),
    assistant=_granite_frame("assistant"),
    result=_granite_frame("tool"),
    call=Frame("<|tool_call|>"),
    codec=JsonArrayCodec(),
    stop="<|end_of_text|>",
)


def _granite4_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    tools: Pieces = []
    if specs:
        tools = [
            "\n\nYou are a helpful assistant with access to the following tools. You may call one "
            "or more tools to assist with the user query.\n\nYou are provided with function "
            "signatures within <tools></tools> XML tags:\n<tools>",
            schema_lines(specs),
            Markup(
                "\n</tools>\n\nFor each tool call, return a json object with function name and "
                "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
                '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>. If a '
                "tool does not exist in the provided list of tools, notify the user that you do "
                "not have the ability to fulfill the request."
            ),
        ]
    return [Markup(_role("system")), prompt, *tools, Markup("<|end_of_text|>\n")]


GRANITE4 = Dialect(
    name="granite4",
    controls=(*GRANITE, *HERMES_CALL),
    optional_controls=(*RESPONSE, *THOUGHTS),
    system=_granite4_system,
    user=_granite_frame("user"),
    assistant=_granite_frame("assistant"),
    results=_granite_frame("user"),
    result=Frame("\n<tool_response>\n", "\n</tool_response>"),
    call=Frame("<tool_call>\n", "\n</tool_call>"),
    before_calls="\n",
    between_calls="\n",
    codec=JsonObjectCodec(),
    stop="<|end_of_text|>",
)

# Phi --------------------------------------------------------------------------

PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|/tool|>", "<|end|>")
PHI_CALL = ("<|tool_call|>", "<|/tool_call|>")


def _phi_system(format_: Markup) -> SystemWriter:
    def write(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
        pieces: Pieces = [Markup("<|system|>"), prompt]
        for spec in specs:
            pieces += [Markup("<|tool|>"), dump(openai_function(spec)), Markup("<|/tool|>")]
        if specs:
            pieces += ["You are a helpful assistant with some tools.\nTo use a tool, respond in "]
            pieces += ["this format: ", format_]
        return [*pieces, Markup("<|end|>")]

    return write


PHI4_MINI = Dialect(
    name="phi4_mini",
    controls=(*PHI, *PHI_CALL, "<|tool_response|>"),
    system=_phi_system(
        Markup(f'{PHI_CALL[0]}{{"name": "foo", "arguments": {{"a": 1}}}}{PHI_CALL[1]}')
    ),
    user=Frame("<|user|>", "<|end|>"),
    assistant=Frame("<|assistant|>", "<|end|>"),
    result=Frame("<|tool_response|>", "<|end|>"),
    is_result_json=True,
    call=Frame(*PHI_CALL),
    codec=JsonObjectCodec(),
    stop="<|end|>",
)

PHI4 = Dialect(
    name="phi4",
    template_marks=(PHI_WORD,),
    controls=PHI,
    optional_controls=("<|tool_response|>",),
    system=_phi_system(Markup(f'{PHI_WORD}[{{"name": "foo", "arguments": {{"a": 1}}}}]')),
    user=Frame("<|user|>", "<|end|>"),
    assistant=Frame("<|assistant|>", "<|end|>"),
    result=Frame("<|tool_response|>", "<|end|>"),
    is_result_json=True,
    call=Frame(),
    codec=JsonArrayCodec(word=PHI_WORD),
    stop="<|end|>",
    opens=opens_functools,
)

# Kimi -------------------------------------------------------------------------

KIMI = ("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>")
KIMI_CALLS = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
KIMI_CALL = ("<|tool_call_begin|>", "<|tool_call_end|>")
KIMI_JOINT = "<|tool_call_argument_begin|>"


def _kimi_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    tools: Pieces = []
    if specs:
        tools = [Markup("<|im_system|>tool_declare<|im_middle|>"), schema_list(specs)]
        tools += [Markup("<|im_end|>")]
    return [*tools, Markup("<|im_system|>system<|im_middle|>"), prompt, Markup("<|im_end|>")]


KIMI_K2 = Dialect(
    name="kimi_k2",
    controls=(*KIMI, *KIMI_CALLS, *KIMI_CALL, KIMI_JOINT),
    optional_controls=THOUGHTS,
    system=_kimi_system,
    user=Frame("<|im_user|>user<|im_middle|>", "<|im_end|>"),
    assistant=Frame("<|im_assistant|>assistant<|im_middle|>", "<|im_end|>"),
    result=Frame(
        "<|im_system|>tool<|im_middle|>## Return of functions.$name:$index\n", "<|im_end|>"
    ),
    calls=Frame(*KIMI_CALLS),
    call=Frame(*KIMI_CALL),
    codec=NameJsonCodec(joint=KIMI_JOINT, before="functions.", has_place=True),
    stop="<|im_end|>",
)

# GLM --------------------------------------------------------------------------

GLM_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
GLM_ARGUMENTS = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")


def _glm_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    pieces: Pieces = [Markup("[gMASK]<sop>")]
    if specs:
        lines = "".join(f"{dump(tool)}\n" for tool in _schemas(specs))
        pieces += [
            Markup(
                "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user "
                "query.\n\nYou are provided with function signatures within <tools></tools> XML "
                "tags:\n<tools>\n"
            ),
            lines,
            Markup(
                "</tools>\n\nFor each function call, output the function name and arguments within "
                "the following XML format:\n<tool_call>{function-name}\n"
                "<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</arg_value>\n"
                "<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n"
                "...\n</tool_call>"
            ),
        ]
    return [*pieces, Markup("<|system|>\n"), prompt]


def _schemas(specs: Sequence[ToolSpec]) -> list[dict[str, object]]:
    return [{"type": "function", "function": openai_function(spec)} for spec in specs]


GLM45 = Dialect(
    name="glm4.5",
    controls=("[gMASK]", "<sop>", "<|endoftext|>", *GLM_ROLES, *HERMES_CALL, *GLM_ARGUMENTS),
    optional_controls=(*RESPONSE, *THOUGHTS),
    system=_glm_system,
    user=Frame("<|user|>\n"),
    assistant=Frame("<|assistant|>"),
    past_open="<|assistant|>\n<think></think>",
    results=Frame("<|observation|>"),
    result=Frame("\n<tool_response>\n", "\n</tool_response>"),
    answer=Frame("\n"),
    preamble=Frame("\n"),
    call=Frame("\n<tool_call>", "</tool_call>"),
    calls_stop=True,
    past_stop="",
    codec=XmlCodec(
        marks=GLM_ARGUMENTS,
        function=Tag("", ""),
        function_end="",
        parameter=Tag(mark(0), mark(1)),
        value_start=mark(2),
        value_end=mark(3),
    ),
    stop="<|endoftext|>",
    other_stops=("<|user|>", "<|observation|>"),
)

# MiniMax ----------------------------------------------------------------------

MINIMAX_CALL = ("<minimax:tool_call>", "</minimax:tool_call>")


def _minimax_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    pieces: Pieces = [Markup("]~!b[]~b]system\n"), prompt]
    if specs:
        lines = "".join(f"<tool>{dump(openai_function(spec))}</tool>\n" for spec in specs)
        pieces += [
            "\n\n# Tools\nYou may call one or more tools to assist with the user query.\nHere are "
            "the tools available in JSONSchema format:\n\n<tools>\n",
            f"{lines}</tools>\n\n",
            Markup(
                "When making tool calls, use XML format to invoke tools and pass parameters:\n\n"
                f'{MINIMAX_CALL[0]}\n<invoke name="tool-name-1">\n'
                '<parameter name="param-key-1">param-value-1</parameter>\n'
                '<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n'
                f"{MINIMAX_CALL[1]}"
            ),
        ]
    return [*pieces, Markup("[e~[\n")]


MINIMAX_M2 = Dialect(
    name="minimax_m2",
    controls=("]~!b[", "]~b]", "[e~[", *MINIMAX_CALL, *THOUGHTS),
    system=_minimax_system,
    user=Frame("]~b]user\n", "[e~[\n"),
    assistant=Frame("]~b]ai\n<think>\n", "[e~[\n"),
    past_open="]~b]ai\n",
    results=Frame("]~b]tool", "[e~[\n"),
    result=Frame("\n<response>", "</response>"),
    call=Frame(f"\n{MINIMAX_CALL[0]}", MINIMAX_CALL[1]),
    codec=XmlCodec(
        function=Tag('<invoke name="', '">'),
        function_end="</invoke>",
        parameter=Tag('<parameter name="', '">'),
        value_end="</parameter>",
        call_line="\n",
    ),
    stop="[e~[",
)

# Seed-OSS ---------------------------------------------------------------------

SEED = ("<seed:bos>", "<seed:eos>")
SEED_CALL = ("<seed:tool_call>", "</seed:tool_call>")
SEED_THOUGHTS = ("<seed:think>", "</seed:think>")
SEED_TYPES = {
    "string": "str",
    "number": "int",
    "integer": "int",
    "boolean": "bool",
    "array": "list",
}


def _seed_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    pieces: Pieces = [Markup("<seed:bos>system\n"), prompt, *map(_seed_function, specs)]
    if specs:
        pieces += [
            "\n工具调用请遵循如下格式:\n",
            Markup(
                f"{SEED_CALL[0]}\n<function=example_function_name>\n"
                "<parameter=example_parameter_1>value_1</parameter>\n"
                "<parameter=example_parameter_2>This is the value for the second parameter\n"
                f"that can span\nmultiple lines</parameter>\n</function>\n{SEED_CALL[1]}\n"
            ),
        ]
    return [*pieces, Markup("<seed:eos>")]


def _seed_function(spec: ToolSpec) -> str:
    properties, required = properties_of(spec), required_of(spec)
    types = {name: SEED_TYPES.get(s.get("type", ""), "Any") for name, s in properties.items()}
    head = ",".join(f"{name}: {type_}" for name, type_ in types.items())
    lines = [
        f'\n\nFunction:\ndef {spec.name}({head}):\n    """\n    {spec.description.strip()}\n\n'
    ]
    if types:
        lines.append("    Args:")
    for name, schema in properties.items():
        need = "[必填]" if name in required else "[选填]"
        about = schema.get("description", "")
        lines.append(f"\n    - {name} ({types[name]}) {need}: {about}")
    return "".join([*lines, '\n\n    """'])


SEED_OSS = Dialect(
    name="seed_oss",
    controls=(*SEED, *SEED_CALL),
    optional_controls=SEED_THOUGHTS,
    system=_seed_system,
    user=Frame("<seed:bos>user\n", "<seed:eos>"),
    assistant=Frame("<seed:bos>assistant\n", "<seed:eos>"),
    result=Frame("<seed:bos>tool\n", "<seed:eos>"),
    call=Frame(f"{SEED_CALL[0]}\n", f"\n{SEED_CALL[1]}"),
    before_calls="\n\n",
    between_calls="\n",
    codec=XmlCodec(
        function=Tag("<function=", ">"),
        function_end="</function>",
        parameter=Tag("<parameter=", ">"),
        value_end="</parameter>",
        scalars="python",
    ),
    stop="<seed:eos>",
    thought=Frame(*SEED_THOUGHTS),
)
