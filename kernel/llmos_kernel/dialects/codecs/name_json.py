"""A call as a name, a mark and a JSON object of arguments: DeepSeek, Kimi, Mistral's second form.

Knows nothing of what frames a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import (
    Call,
    Markup,
    Pieces,
    Refused,
    checked_name,
    is_name,
    mark,
    refuse_marks,
)
from llmos_kernel.dialects.codecs.json_array import call_id
from llmos_kernel.dialects.codecs.lark import Rules, either, json_arguments
from llmos_kernel.dialects.codecs.strict_json import dump, read_arguments


@dataclass(frozen=True, slots=True)
class NameJsonCodec:
    """`before`, the name, `joint`, the arguments, `after`; `joint` is a control literal.

    With `has_place` the name is followed by a colon and the call's place in its step; `id_mark` is
    a control literal after which an id may stand. Where there is a `kind`, `joint` stands between
    it and the name, and the text `after_name` between the name and the arguments.
    """

    joint: str
    before: str = ""
    kind: str = ""
    after_name: str = ""
    after: str = ""
    has_place: bool = False
    id_mark: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        return (self.joint, self.id_mark) if self.id_mark else (self.joint,)

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        lead = f"{self.kind}{mark(0)}" if self.kind else ""
        if not body.startswith(lead):
            raise Refused("bad_shape", f"a call begins with {self.kind!r}")
        divider = self.after_name if self.kind else mark(0)
        head, divided, rest = body[len(lead) :].partition(divider)
        if not divided:
            raise Refused("bad_shape", "a call is a name and its arguments", len(body))
        start = len(lead) + len(head) + len(divided)
        tail = rest.rstrip()
        if not tail.endswith(self.after):
            raise Refused("bad_shape", f"a call ends with {self.after!r}", len(body))
        refuse_marks(body, start)
        end = start + len(tail) - len(self.after)
        return [(self._name(head), read_arguments(body[:end], start))]

    def _name(self, head: str) -> str:
        name = head.split(mark(1), maxsplit=1)[0].strip() if self.id_mark else head.strip()
        name = name.removeprefix(self.before)
        if self.has_place:
            name, _, place = name.rpartition(":")
            if not place.isdecimal():
                raise Refused("bad_shape", "a call's name is followed by ':' and its place")
        if not is_name(name):
            raise Refused("bad_shape", "a call begins with the name of a tool")
        return name

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        return [self._body(call, index) for index, call in enumerate(calls)]

    def _body(self, call: ToolCall, index: int) -> Pieces:
        place = f":{index}" if self.has_place else ""
        name: Pieces = [self.before + checked_name(call.name) + place]
        if self.id_mark:
            name += [Markup(self.id_mark), call_id(index)]
        arguments = dump(dict(call.arguments)) + self.after
        if self.kind:
            return [self.kind, Markup(self.joint), *name, self.after_name + arguments]
        return [*name, Markup(self.joint), self.after_name + arguments]

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        return either(self._grammar_of(rules, spec) for spec in specs)

    def _grammar_of(self, rules: Rules, spec: ToolSpec) -> str:
        lead = f"{self.kind}{mark(0)}" if self.kind else ""
        parts = [rules.text(f"{lead}{self.before}{spec.name}")]
        if self.has_place:
            parts.append('":" /[0-9]{1,3}/')
        if self.id_mark:
            parts.append(f"({rules.text(mark(1))} /[a-zA-Z0-9]{{9}}/)?")
        parts.append(rules.text(self.after_name if self.kind else mark(0)))
        return " ".join([*parts, json_arguments(rules, spec), rules.text(self.after)])
