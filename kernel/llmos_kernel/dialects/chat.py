"""The dialect of endpoints: the marks of their private vocabulary, tools in the OpenAI form.

An endpoint's engine reads it back into messages; no checkpoint was trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces
from llmos_kernel.dialects.codecs.json_object import JsonObjectCodec
from llmos_kernel.dialects.dialect import Dialect, Frame
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.dialects.tool_table import schema_list
from llmos_kernel.engine.remote.vocabulary import Mark, make_tokenizer


def _system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    tools = [Markup(Mark.TOOLS.literal), schema_list(specs)] if specs else []
    return [Markup(Mark.SYSTEM.literal), prompt, *tools, Markup(Mark.END.literal)]


CHAT = Dialect(
    name="chat",
    controls=tuple(mark.literal for mark in Mark),
    system=_system,
    user=Frame(Mark.USER.literal, Mark.END.literal),
    assistant=Frame(Mark.ASSISTANT.literal, Mark.END.literal),
    result=Frame(Mark.RESULT.literal, Mark.END.literal),
    call=Frame(Mark.CALL.literal, Mark.END_CALL.literal),
    thought=Frame(Mark.THOUGHT.literal, Mark.END_THOUGHT.literal),
    codec=JsonObjectCodec(separators=(",", ":")),
    stop=Mark.END.literal,
)


def chat_renderer() -> Renderer:
    """Return the renderer of conversations with an endpoint."""
    return Renderer(make_tokenizer(), CHAT)
