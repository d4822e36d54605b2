"""What sets one model family apart: the literals that frame its messages and calls.

A dialect is data. It knows neither token ids nor a tokenizer; `renderer` resolves its literals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmos_kernel.abi import Role, ToolCall, ToolSpec
from llmos_kernel.dialects.tool_table import compact_table, hermes_table

SYSTEM_PROMPT = "You are llmos. Use a tool when one fits, else answer."


@dataclass(frozen=True, slots=True)
class Frame:
    """The literals before and after a message's content; control tokens are written as text."""

    open: str
    close: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one model family writes a conversation.

    `controls` are the literals that must be single tokens of a checkpoint; `stop` is the one with
    which the model ends its step. `results` frames the group of consecutive tool results, each of
    which has the frame of the tool role; `call` frames a call's JSON object.
    """

    name: str
    controls: tuple[str, ...]
    frames: dict[Role, Frame]
    results: Frame
    call: Frame
    stop: str
    json_separators: tuple[str, str]
    tool_table: Callable[[Sequence[ToolSpec]], str]

    @property
    def call_open(self) -> str:
        return self.call.open.strip()

    @property
    def call_close(self) -> str:
        return self.call.close.strip()

    def call_body(self, call: ToolCall) -> str:
        """Return the JSON object that stands between a call's control tokens."""
        body = {"name": call.name, "arguments": dict(call.arguments)}
        return json.dumps(body, ensure_ascii=False, separators=self.json_separators)

    def system_text(self, system_prompt: str, specs: Sequence[ToolSpec]) -> str:
        """Return the system message: the prompt, then the tool table where there are tools."""
        return f"{system_prompt}\n\n{self.tool_table(specs)}" if specs else system_prompt


HERMES_CALL = ("<tool_call>", "</tool_call>")

EMBEDDED = Dialect(
    name="embedded",
    controls=("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", *HERMES_CALL),
    frames={
        Role.SYSTEM: Frame("<|system|>", "<|end|>"),
        Role.USER: Frame("<|user|>", "<|end|>"),
        Role.ASSISTANT: Frame("<|assistant|>", "<|end|>"),
        Role.TOOL: Frame("<|tool|>", "<|end|>"),
    },
    results=Frame("", ""),
    call=Frame("<tool_call>", "</tool_call>"),
    stop="<|end|>",
    json_separators=(",", ":"),
    tool_table=compact_table,
)

HERMES = Dialect(
    name="hermes",
    controls=("<|im_start|>", "<|im_end|>", *HERMES_CALL),
    frames={
        Role.SYSTEM: Frame("<|im_start|>system\n", "<|im_end|>\n"),
        Role.USER: Frame("<|im_start|>user\n", "<|im_end|>\n"),
        Role.ASSISTANT: Frame("<|im_start|>assistant\n", "<|im_end|>\n"),
        Role.TOOL: Frame("\n<tool_response>\n", "\n</tool_response>"),
    },
    results=Frame("<|im_start|>user", "<|im_end|>\n"),
    call=Frame("<tool_call>\n", "\n</tool_call>"),
    stop="<|im_end|>",
    json_separators=(", ", ": "),
    tool_table=hermes_table,
)

DIALECTS = (EMBEDDED, HERMES)
