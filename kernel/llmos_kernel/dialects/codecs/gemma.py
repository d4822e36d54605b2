"""Gemma's calls, `call:name{key:value}`, whose strings stand between two of one control token.

A string holds anything but that token, so it needs no escapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import (
    Call,
    Markup,
    Pieces,
    Refused,
    checked_key,
    checked_name,
    is_name,
    mark,
    refuse_marks,
)
from llmos_kernel.dialects.codecs.literals import LiteralReader
from llmos_kernel.dialects.codecs.strict_json import dump


class _GemmaReader(LiteralReader):
    def string(self) -> str | None:
        if not self.takes(mark(0)):
            return None
        end = self.text.find(mark(0), self.position)
        if end < 0:
            raise self.error("a string is not closed")
        refuse_marks(self.text, self.position, end)
        text = self.text[self.position : end]
        self.position = end + 1
        return text

    def key(self) -> str:
        quoted = self.string()
        if quoted is not None:
            return quoted
        key = self.word()
        if not is_name(key):
            raise self.error("a key is missing")
        return key


@dataclass(frozen=True, slots=True)
class GemmaCodec:
    """`quote` is the control literal on both sides of a string."""

    quote: str

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.quote,)

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        reader = _GemmaReader(body)
        if not reader.takes("call:"):
            raise Refused("bad_shape", "a call begins with 'call:'", reader.position)
        name = reader.word()
        if not is_name(name):
            raise Refused("bad_shape", "'call:' is followed by the name of a tool", reader.position)
        arguments = reader.mapping()
        if reader.peek():
            detail = "something follows the call inside its frame"
            raise Refused("trailing_garbage", detail, reader.position)
        return [(name, arguments)]

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        return [
            [f"call:{checked_name(call.name)}", *self.pieces(dict(call.arguments))]
            for call in calls
        ]

    def pieces(self, value: Any) -> Pieces:
        """Write one value; the keys of mappings are sorted, as the chat template sorts them."""
        match value:
            case str():
                return [Markup(self.quote), value, Markup(self.quote)]
            case dict():
                items = sorted(value.items(), key=lambda item: item[0].lower())  # pyright: ignore
                parts = [[f"{checked_key(k)}:", *self.pieces(v)] for k, v in items]  # pyright: ignore
                return _enclosed("{", parts, "}")
            case list():
                return _enclosed("[", [self.pieces(item) for item in value], "]")  # pyright: ignore
            case _:
                return [dump(value)]


def _enclosed(before: str, parts: list[Pieces], after: str) -> Pieces:
    pieces: Pieces = [before]
    for index, part in enumerate(parts):
        pieces += ["," if index else "", *part]
    return [*pieces, after]
