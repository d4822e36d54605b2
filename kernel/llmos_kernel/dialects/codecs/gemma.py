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
from llmos_kernel.dialects.codecs.lark import ANY_TEXT, Rules, characters, either, sequence
from llmos_kernel.dialects.codecs.literals import LiteralReader
from llmos_kernel.dialects.codecs.schemas import (
    Argument,
    Schema,
    arguments_of,
    branches,
    properties_of,
)
from llmos_kernel.dialects.codecs.strict_json import dump

MAX_WRITTEN_DEPTH = 8  # of a schema; what is deeper may be anything


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

    # Grammar ----------------------------------------------------------------

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        return either(
            f"{rules.text(f'call:{spec.name}')} {self._mapping(rules, arguments_of(spec), 0)}"
            for spec in specs
        )

    def _mapping(self, rules: Rules, arguments: Sequence[Argument], depth: int) -> str:
        members = [
            (f"{rules.text(f'{each.key}:')} {self._value(rules, each, depth)}", each.is_required)
            for each in sorted(arguments, key=lambda each: each.key.lower())
        ]
        return f'"{{" {sequence(rules, members, rules.text(","))} "}}"'

    def _value(self, rules: Rules, argument: Argument, depth: int) -> str:
        if argument.is_grounded:
            return self._string(rules, rules.span(str))
        root = argument.schema
        return either(self._branch(rules, b, root, depth + 1) for b in argument.branches)

    def _string(self, rules: Rules, text: str) -> str:
        quote = rules.text(mark(0))
        return f"{quote} {text} {quote}"

    def _branch(self, rules: Rules, branch: Schema, root: Schema, depth: int) -> str:
        if "enum" in branch:
            return either(rules.text(self._marked(value)) for value in branch["enum"])
        match branch.get("type"):
            case "string":
                return self._string(rules, rules.terminal(characters(branch)))
            case "boolean" | "null" | "number" | "integer":
                return rules.json(branch)
            case "array" if "items" in branch and depth < MAX_WRITTEN_DEPTH:
                return self._list(rules, branch, root, depth)
            case "object" if branch.get("properties") and depth < MAX_WRITTEN_DEPTH:
                return self._mapping(rules, properties_of(branch, root), depth)
            case "array":
                return self._any_list(rules)
            case "object":
                return '"{" "}"'
            case _:
                return self._anything(rules)

    def _list(self, rules: Rules, branch: Schema, root: Schema, depth: int) -> str:
        choices = branches(branch["items"], root)
        item = rules.rule(either(self._branch(rules, b, root, depth + 1) for b in choices))
        lower, upper = branch.get("minItems", 0), branch.get("maxItems")
        if upper == 0:
            return '"[" "]"'
        more = f"{{{max(lower - 1, 0)},{'' if upper is None else upper - 1}}}"
        items = f'{item} ("," {item}){more}'
        return f'"[" {items if lower else f"({items})?"} "]"'

    def _any_list(self, rules: Rules) -> str:
        item = self._anything(rules)
        return f'"[" ({item} ("," {item})*)? "]"'

    def _anything(self, rules: Rules) -> str:
        """Objects whose keys nothing says are left out: a key could occur twice."""

        def write(name: str) -> str:
            scalars = rules.json({"type": ["boolean", "null", "number"]})
            text = self._string(rules, rules.terminal(ANY_TEXT))
            return f'{scalars} | {text} | "[" ({name} ("," {name})*)? "]"'

        return rules.recursive("anything", write)

    def _marked(self, value: Any) -> str:
        pieces = self.pieces(value)
        return "".join(mark(0) if isinstance(piece, Markup) else piece for piece in pieces)


def _enclosed(before: str, parts: list[Pieces], after: str) -> Pieces:
    pieces: Pieces = [before]
    for index, part in enumerate(parts):
        pieces += ["," if index else "", *part]
    return [*pieces, after]
