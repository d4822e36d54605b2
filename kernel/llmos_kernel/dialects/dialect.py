"""What sets one model family apart: how its conversation is framed and its calls are written.

A dialect is data. It knows neither token ids nor a tokenizer; `renderer` resolves its literals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import Codec, Markup, Pieces
from llmos_kernel.dialects.codecs.json_object import JsonObjectCodec
from llmos_kernel.dialects.tool_table import compact_table

SYSTEM_PROMPT = "You are llmos. Use a tool when one fits, else answer."

SystemWriter: TypeAlias = Callable[[str, Sequence[ToolSpec]], Pieces]


@dataclass(frozen=True, slots=True)
class Frame:
    """The literals before and after something; control tokens are written as text.

    In the frame of a tool result `$name` and `$index` are the name and the place of its call.
    """

    open: str = ""
    close: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one model family writes a conversation.

    Tokens. `controls` must be single control tokens of a checkpoint; `optional_controls` are
    control tokens where a checkpoint has them. `stop` ends a step and is written after a past
    one; `other_stops` end a step too. `past_stop`, where it is not None, is written after a past
    answer in place of `stop`; `calls_stop` says that nothing is written after a past step's calls.

    Messages. `system` writes everything up to the first user message. `results` frames a group of
    consecutive results, `result` each of them, as JSON strings with `is_result_json`. A step that
    follows results opens with `assistant_after_results` where that is not None, and a past step in
    a conversation with `past_open`. `answer` and `preamble` frame the text of a past step without
    and with calls.

    Calls. `calls` frames a step's calls, `call` each body that `codec` writes; the control token in
    `call.open` opens a call, the one in `call.close` closes it. With an empty `call.close` the next
    call or the stop closes it. `before_calls` follows text, `between_calls` stands between bodies.
    `text_close` is the text that, after a control token, closes a call; the character before that
    token, at the opening too, belongs to the frame. `has_headers` marks Harmony's messages.

    `opens`: the family has no control token for calls. It is `is_text_framed`: a whole message
    whose head `opens` accepts is a call, so a model that repeats data can be made to call; policy
    must trust it less.

    `template_marks` are strings that the chat template of the family holds, all of them.
    """

    name: str
    controls: tuple[str, ...]
    system: SystemWriter
    user: Frame
    assistant: Frame
    result: Frame
    call: Frame
    codec: Codec
    stop: str
    template_marks: tuple[str, ...] = ()
    optional_controls: tuple[str, ...] = ()
    other_stops: tuple[str, ...] = ()
    past_stop: str | None = None
    calls_stop: bool = False
    results: Frame = Frame()
    is_result_json: bool = False
    assistant_after_results: str | None = None
    past_open: str | None = None
    answer: Frame = Frame()
    preamble: Frame = Frame()
    calls: Frame = Frame()
    before_calls: str = ""
    between_calls: str = ""
    text_close: str = ""
    thought: Frame = Frame("<think>", "</think>")
    has_headers: bool = False
    opens: Callable[[str], bool | None] | None = None

    @property
    def is_text_framed(self) -> bool:
        return self.opens is not None

    def call_body(self, call: ToolCall) -> str:
        """Return the text that stands between a call's control tokens."""
        return "".join(self.codec.write([call])[0])


HERMES_CALL = ("<tool_call>", "</tool_call>")


def _embedded_system(prompt: str, specs: Sequence[ToolSpec]) -> Pieces:
    text = f"{prompt}\n\n{compact_table(specs)}" if specs else prompt
    return [Markup("<|system|>"), text, Markup("<|end|>")]


EMBEDDED = Dialect(
    name="embedded",
    controls=("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", *HERMES_CALL),
    optional_controls=("<think>", "</think>"),
    system=_embedded_system,
    user=Frame("<|user|>", "<|end|>"),
    assistant=Frame("<|assistant|>", "<|end|>"),
    result=Frame("<|tool|>", "<|end|>"),
    call=Frame(*HERMES_CALL),
    codec=JsonObjectCodec(separators=(",", ":")),
    stop="<|end|>",
)
