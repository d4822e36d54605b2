"""Calls as one JSON array of objects: Mistral's first form, Granite 3, Phi.

Knows nothing of what frames a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import Call, Pieces, Refused, refuse_marks
from llmos_kernel.dialects.codecs.json_object import MAX_HEAD_CHARS, opens_with
from llmos_kernel.dialects.codecs.lark import Rules, either, json_call
from llmos_kernel.dialects.codecs.strict_json import as_call, dump, read_whole, skip_blanks

PHI_WORD = "functools"
CALL_ID = r'", \"id\": \"" /[a-zA-Z0-9]{9}/ "\""'
ALSO = frozenset({"id", "type"})


@dataclass(frozen=True, slots=True)
class JsonArrayCodec:
    """`word` stands before the array. With `has_id` each call carries its place as an id."""

    word: str = ""
    has_id: bool = False
    marks: tuple[str, ...] = ()

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        refuse_marks(body)
        start = skip_blanks(body, 0)
        if not body.startswith(self.word, start):
            raise Refused("bad_shape", f"calls begin with {self.word!r}", start)
        values = read_whole(body, start + len(self.word))
        if not isinstance(values, list) or not values:
            raise Refused("bad_shape", "calls are a list of objects, not empty", start)
        return [as_call(v, start, arguments_key="arguments", also=ALSO) for v in values]

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        objects = [self._object(call, index) for index, call in enumerate(calls)]
        return [[self.word + dump(objects)]]

    def _object(self, call: ToolCall, index: int) -> dict[str, object]:
        fields: dict[str, object] = {"name": call.name, "arguments": dict(call.arguments)}
        return fields | {"id": call_id(index)} if self.has_id else fields

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        id_ = f"({CALL_ID})?" if self.has_id else ""
        call = rules.rule(either(f'{json_call(rules, spec)} {id_} "}}"' for spec in specs))
        opening = rules.text(f"{self.word}[")
        return (
            f'" "? {opening} {call} (", " {call})* "]"'  # SentencePiece's first words have blanks
        )


def call_id(index: int) -> str:
    """Return the nine characters by which Mistral's results name the call they answer."""
    return f"{index:09}"


def opens_functools(head: str) -> bool | None:
    """Whether a message that begins with `head` is a list of calls; None while that is open."""
    return opens_with(f"{PHI_WORD}[", head.lstrip(), is_too_long=len(head) > MAX_HEAD_CHARS)
