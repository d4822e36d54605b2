"""Calls as JSON objects, `{"name": ..., "arguments": {...}}`: Hermes, Qwen, Granite 4, Llama 3.

Knows nothing of what frames a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import Call, Pieces, refuse_marks
from llmos_kernel.dialects.codecs.lark import Rules, either, json_call
from llmos_kernel.dialects.codecs.strict_json import (
    as_call,
    dump,
    read_value,
    refuse_rest,
    skip_blanks,
)

MAX_HEAD_CHARS = 200


@dataclass(frozen=True, slots=True)
class JsonObjectCodec:
    """One object a body, or several where `between` says what stands between two."""

    arguments_key: str = "arguments"
    separators: tuple[str, str] = (", ", ": ")
    between: str = ""
    marks: tuple[str, ...] = ()

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        refuse_marks(body)
        calls: list[Call] = []
        start = 0
        while True:
            value, end = read_value(body, start)
            call = as_call(value, start, arguments_key=self.arguments_key, also=frozenset())
            calls.append(call)
            start = skip_blanks(body, end)
            if not self.between or not body.startswith(self.between, start):
                refuse_rest(body, start)
                return calls
            start += len(self.between)

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        objects = [
            dump({"name": call.name, self.arguments_key: dict(call.arguments)}, self.separators)
            for call in calls
        ]
        return [[f"{self.between} ".join(objects)]] if self.between else [[o] for o in objects]

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        return either(
            f'{json_call(rules, spec, self.separators, self.arguments_key)} "}}"' for spec in specs
        )


def opens_object(head: str) -> bool | None:
    """Whether a message that begins with `head` is a call; None while that is open."""
    seen = "".join(head.split())
    return opens_with('{"name":', seen, is_too_long=len(head) > MAX_HEAD_CHARS)


def opens_with(expected: str, seen: str, *, is_too_long: bool) -> bool | None:
    if seen.startswith(expected):
        return True
    return None if expected.startswith(seen) and not is_too_long else False
