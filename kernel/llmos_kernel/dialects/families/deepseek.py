"""DeepSeek V3, V3.1 and V3.2. Literals from their chat templates and model cards."""

from __future__ import annotations

from collections.abc import Sequence

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces, mark
from llmos_kernel.dialects.codecs.name_json import NameJsonCodec
from llmos_kernel.dialects.codecs.strict_json import dump
from llmos_kernel.dialects.codecs.xml import Tag, XmlCodec
from llmos_kernel.dialects.dialect import Dialect, Frame, SystemWriter
from llmos_kernel.dialects.tool_table import openai_function, parameters_of

BEGIN, END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
TURNS = (BEGIN, END, "<｜User｜>", "<｜Assistant｜>")
SEPARATOR = "<｜tool▁sep｜>"
CALLS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
CALL = ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")
OUTPUTS = ("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>")
OUTPUT = ("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>")
DSML = "｜DSML｜"
THOUGHTS = ("<think>", "</think>")


def _system(example: str) -> SystemWriter:
    def write(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
        return [Markup(BEGIN), prompt, *(_tools(specs, example) if specs else [])]

    return write


def _tools(specs: Sequence[ToolSpec], example: str) -> Pieces:
    described = "".join(
        f"\n### {spec.name}\nDescription: {spec.description}\n\n"
        f"Parameters: {dump(parameters_of(spec))}\n"
        for spec in specs
    )
    return [
        "\n\n## Tools\nYou have access to the following tools:\n",
        described,
        Markup(
            "\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
            f"{CALLS[0]}{CALL[0]}{example}{CALL[1]}{{additional_tool_calls}}{CALLS[1]}\n\nWhere:\n"
            "- `tool_call_name` must be an exact match to one of the available tools\n"
            "- `tool_call_arguments` must be valid JSON that strictly follows the tool's "
            "Parameters Schema\n"
            "- For multiple tool calls, chain them directly without separators or spaces\n"
        ),
    ]


DEEPSEEK_V3 = Dialect(
    name="deepseek_v3",
    template_marks=("```json",),
    controls=(*TURNS, SEPARATOR, *CALLS, *CALL, *OUTPUTS, *OUTPUT),
    optional_controls=THOUGHTS,
    system=_system(f"function{SEPARATOR}tool_call_name\n```json\ntool_call_arguments\n```"),
    user=Frame("<｜User｜>"),
    assistant=Frame("<｜Assistant｜>", END),
    assistant_after_results="",
    results=Frame(*OUTPUTS),
    result=Frame(*OUTPUT),
    calls=Frame(*CALLS),
    call=Frame(*CALL),
    between_calls="\n",
    codec=NameJsonCodec(joint=SEPARATOR, kind="function", after_name="\n```json\n", after="\n```"),
    stop=END,
)

DEEPSEEK_V31 = Dialect(
    name="deepseek_v3.1",
    controls=(*TURNS, SEPARATOR, *CALLS, *CALL, *OUTPUT, *THOUGHTS),
    system=_system(f"tool_call_name{SEPARATOR}tool_call_arguments"),
    user=Frame("<｜User｜>"),
    assistant=Frame("<｜Assistant｜></think>", END),
    assistant_after_results="",
    result=Frame(*OUTPUT),
    calls=Frame(*CALLS),
    call=Frame(*CALL),
    codec=NameJsonCodec(joint=SEPARATOR),
    stop=END,
)


def _dsml_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    if not specs:
        return [Markup(BEGIN), prompt]
    lines = "".join(dump(openai_function(spec)) + "\n" for spec in specs)
    return [Markup(BEGIN), prompt, "\n\n", Markup(_DSML_TOOLS), lines, "</functions>\n"]


_INVOKE = f"<{DSML}invoke name="
_DSML_TOOLS = (
    "## Tools\n\nYou have access to a set of tools you can use to answer the user's question.\n"
    f'You can invoke functions by writing a "<{DSML}function_calls>" block like the following as '
    f'part of your reply to the user:\n<{DSML}function_calls>\n{_INVOKE}"$FUNCTION_NAME">\n'
    f'<{DSML}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{DSML}'
    f'parameter>\n...\n</{DSML}invoke>\n{_INVOKE}"$FUNCTION_NAME2">\n...\n</{DSML}invoke>\n'
    f"</{DSML}function_calls>\n\nString and scalar parameters should be specified as is without "
    'any escaping or quotes, while lists and objects should use JSON format. The "string" '
    'attribute should be set to "true" for string type parameters and "false" for other types '
    "(numbers, booleans, arrays, objects).\n\nIf the thinking_mode is enabled, then after function "
    "results you should strongly consider outputting a thinking block. Here is an example:\n\n"
    f"<{DSML}function_calls>\n...\n</{DSML}function_calls>\n\n<function_results>\n...\n"
    "</function_results>\n\n<think>...thinking about results</think>\n\nHere are the functions "
    "available in JSONSchema format:\n<functions>\n"
)

DEEPSEEK_V32 = Dialect(
    name="deepseek_v3.2",
    controls=(*TURNS, DSML, *THOUGHTS),
    system=_dsml_system,
    user=Frame("<｜User｜>"),
    assistant=Frame("<｜Assistant｜><think></think>", END),
    past_open="<｜Assistant｜></think>",
    assistant_after_results="\n\n<think></think>",
    results=Frame("\n\n<function_results>", "\n</function_results>"),
    result=Frame("\n<result>", "</result>"),
    calls=Frame("\n\n"),
    call=Frame(f"<{DSML}"),
    text_close="function_calls>",
    codec=XmlCodec(
        marks=(DSML,),
        group=Tag("function_calls>", f"</{mark(0)}function_calls>"),
        function=Tag(f'<{mark(0)}invoke name="', '">'),
        function_end=f"</{mark(0)}invoke>",
        parameter=Tag(f'<{mark(0)}parameter name="', '">'),
        value_end=f"</{mark(0)}parameter>",
        says_type=True,
        call_line="\n",
    ),
    stop=END,
)
