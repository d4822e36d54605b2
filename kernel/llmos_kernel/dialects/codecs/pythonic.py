"""Calls as Python writes them, `[name(key=value), ...]`: Llama 4, LFM2, Olmo 3.

Literals only, read by hand: no expression is ever evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from llmos_kernel.abi import Json, ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import (
    Call,
    Pieces,
    Refused,
    checked_key,
    checked_name,
    is_name,
    refuse_marks,
)
from llmos_kernel.dialects.codecs.json_object import MAX_HEAD_CHARS
from llmos_kernel.dialects.codecs.lark import Rules, characters, either, sequence
from llmos_kernel.dialects.codecs.literals import LiteralReader
from llmos_kernel.dialects.codecs.schemas import Argument, arguments_of
from llmos_kernel.dialects.codecs.strict_json import dump

ESCAPES = {
    "\\": "\\", "'": "'", '"': '"', "/": "/",
    "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f",
}  # fmt: skip
HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
# What may stand between single quotes for one character.
SINGLE_QUOTED = r"([^'\\\x00-\x1f\x7f]|\\['\\\/nrtbf])"
QUOTES = ("'", '"')


class _PythonReader(LiteralReader):
    constants: ClassVar = {**LiteralReader.constants, "True": True, "False": False, "None": None}

    def string(self) -> str | None:
        quote = self.peek()
        if quote not in QUOTES:
            return None
        parts: list[str] = []
        self.position += 1
        end = backslash = -1
        while True:
            if end < self.position:
                end = self.text.find(quote, self.position)
            if end < 0:
                raise self.error("a string is not closed")
            backslash = self.text.find("\\", self.position, end)
            if backslash < 0:
                break
            parts += self.text[self.position : backslash], self._escape(backslash)
        parts.append(self.text[self.position : end])
        self.position = end + 1
        return _joined("".join(parts))

    def _escape(self, backslash: int) -> str:
        """Return what the escape at `backslash` means and move behind it."""
        kind = self.text[backslash + 1 : backslash + 2]
        self.position = backslash + 2
        if kind in ESCAPES:
            return ESCAPES[kind]
        length = HEX_ESCAPES.get(kind)
        digits = self.text[self.position : self.position + (length or 0)]
        if length is None or len(digits) < length or not all(c in _HEX for c in digits):
            raise self.error(f"'\\{kind}' is no escape")
        code = int(digits, 16)
        if code > 0x10FFFF:
            raise self.error(f"'\\{kind}{digits}' is no character")
        self.position += length
        return chr(code)

    def key(self) -> str:
        key = self.string()
        if key is None:
            raise self.error("the keys of a mapping are strings")
        return key

    def call(self) -> Call:
        start = self.position
        name = self.word()
        if not is_name(name):
            raise Refused("bad_shape", "a call begins with the name of a tool", start)
        self.require("(")
        found: dict[str, Json] = {}
        while not self.takes(")"):
            if found:
                self.require(",")
            key = self.word()
            if not is_name(key) or not self.takes("="):
                raise Refused("bad_shape", "arguments are written key=value", self.position)
            self.put(found, key)
        return name, found


_HEX = frozenset("0123456789abcdefABCDEF")


def _joined(text: str) -> str:
    """Join the surrogate pairs that JSON's escapes spell; a lone half is left for the check."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@dataclass(frozen=True, slots=True)
class PythonicCodec:
    """All calls in one body: a list, or a call a line where `is_list` is false."""

    is_list: bool = True
    quotes: Literal["single", "double"] = "double"
    marks: tuple[str, ...] = ()

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        refuse_marks(body)
        reader = _PythonReader(body)
        calls: list[Call] = []
        is_list = reader.takes("[") if self.is_list else False
        if self.is_list and not is_list:
            raise Refused("bad_shape", "calls are a list, [name(key=value), ...]")
        while not (reader.takes("]") if is_list else not reader.peek()):
            if calls and is_list:
                reader.require(",")
            calls.append(reader.call())
        if reader.peek():
            detail = "something follows the calls inside their frame"
            raise Refused("trailing_garbage", detail, reader.position)
        if not calls:
            raise Refused("bad_shape", "the list of calls is empty")
        return calls

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        written = [self._call(call) for call in calls]
        return [[f"[{', '.join(written)}]" if self.is_list else "\n".join(written)]]

    def _call(self, call: ToolCall) -> str:
        arguments = (f"{checked_key(k)}={self._value(v)}" for k, v in call.arguments.items())
        return f"{checked_name(call.name)}({', '.join(arguments)})"

    def _value(self, value: Any) -> str:
        if isinstance(value, str) and self.quotes == "single":
            inner = dump(value)[1:-1].replace('\\"', '"').replace("'", "\\'")
            return f"'{inner}'"
        if isinstance(value, bool) or value is None:
            return str(value)
        return dump(value)

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        call = rules.rule(either(self._grammar_of(rules, spec) for spec in specs))
        joint = '", "' if self.is_list else r'"\n"'
        calls = f"{call} ({joint} {call})*"
        return f'"[" {calls} "]"' if self.is_list else calls

    def _grammar_of(self, rules: Rules, spec: ToolSpec) -> str:
        members = [
            (
                f"{rules.text(f'{each.key}=')} {self._grammar_of_value(rules, each)}",
                each.is_required,
            )
            for each in arguments_of(spec)
        ]
        return f'{rules.text(f"{spec.name}(")} {sequence(rules, members, rules.text(", "))} ")"'

    def _grammar_of_value(self, rules: Rules, argument: Argument) -> str:
        if argument.is_grounded:
            quote = rules.text(self._value("")[0])
            return f"{quote} {rules.span(lambda text: self._value(text)[1:-1])} {quote}"
        return either(self._grammar_of_branch(rules, branch) for branch in argument.branches)

    def _grammar_of_branch(self, rules: Rules, branch: Mapping[str, Any]) -> str:
        if "enum" in branch:
            return either(rules.text(self._value(value)) for value in branch["enum"])
        match branch.get("type"):
            case "string" if self.quotes == "single":
                return f'"\'" {rules.terminal(characters(branch, SINGLE_QUOTED))} "\'"'
            case "boolean":
                return '("True" | "False")'
            case "null":
                return '"None"'
            case None if self.quotes == "single":
                text = self._grammar_of_branch(rules, {"type": "string"})
                return either([text, rules.json(branch)])
            case _:
                return rules.json(branch)


def opens_calls(head: str) -> bool | None:
    """Whether a message that begins with `head` is a list of calls; None while that is open."""
    head_text = head.lstrip()
    if len(head) > MAX_HEAD_CHARS or head_text[:1] not in ("", "["):
        return False
    name, is_open, _ = head_text[1:].lstrip().partition("(")
    if is_open:
        return is_name(name.rstrip())
    return None if not name or is_name(name.rstrip()) else False
