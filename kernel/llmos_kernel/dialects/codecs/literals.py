"""Reads the literals of a small notation strictly and in one pass; never evaluates anything.

The two notations, Python's and Gemma's, differ in strings, keys and constants; lists, mappings
and numbers are read here. Knows no calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmos_kernel.abi import Json
from llmos_kernel.dialects.codecs.codec import MAX_DEPTH, Refused, check_value
from llmos_kernel.dialects.codecs.strict_json import read_whole, skip_blanks

NUMBER_CHARS = frozenset("+-.0123456789eE")
NON_FINITE = frozenset({"nan", "NaN", "inf", "Infinity"})


class LiteralReader:
    """A position in a text, and what is read from there on."""

    constants: ClassVar[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None}

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._depth = 0

    # Notation ---------------------------------------------------------------

    def string(self) -> str | None:
        """Read a string, or return None where none begins."""
        raise NotImplementedError

    def key(self) -> str:
        """Read the key of a mapping, up to but not over its colon."""
        raise NotImplementedError

    # Steps ------------------------------------------------------------------

    def peek(self) -> str:
        """Skip blanks and return the next character, empty at the end."""
        self.position = skip_blanks(self.text, self.position)
        return self.text[self.position : self.position + 1]

    def takes(self, expected: str) -> bool:
        """Skip blanks, and `expected` if it is what follows."""
        self.peek()
        is_next = self.text.startswith(expected, self.position)
        self.position += len(expected) if is_next else 0
        return is_next

    def require(self, expected: str) -> None:
        if not self.takes(expected):
            raise self.error(f"{expected!r} is missing")

    def error(self, detail: str) -> Refused:
        return Refused("bad_json", f"the call cannot be read: {detail}", self.position)

    def word(self) -> str:
        """Read letters, digits and `_`, `.`, `-`; empty where there are none."""
        self.peek()
        start = self.position
        while self.position < len(self.text) and _is_word_char(self.text[self.position]):
            self.position += 1
        return self.text[start : self.position]

    # Values -----------------------------------------------------------------

    def value(self) -> Json:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            detail = f"a call is nested {MAX_DEPTH} levels deep at most"
            raise Refused("too_deep", detail, self.position)
        value = self._value()
        self._depth -= 1
        return value

    def _value(self) -> Json:
        if (string := self.string()) is not None:
            check_value(string)
            return string
        match self.peek():
            case "[":
                return self._list()
            case "{":
                return self.mapping()
            case char if char in NUMBER_CHARS and char not in "eE" and char:
                return self._number()
            case _:
                return self._constant()

    def _list(self) -> list[Json]:
        self.require("[")
        values: list[Json] = []
        while not self.takes("]"):
            if values:
                self.require(",")
            values.append(self.value())
        return values

    def mapping(self) -> dict[str, Json]:
        self.require("{")
        found: dict[str, Json] = {}
        is_first = True
        while not self.takes("}"):
            if not is_first:
                self.require(",")
            is_first = False
            key = self.key()
            self.require(":")
            self.put(found, key)
        return found

    def put(self, found: dict[str, Json], key: str) -> None:
        """Read the value of `key` into `found`, once."""
        if key in found:
            raise Refused("duplicate_key", f"the key {key!r} occurs twice", self.position)
        check_value(key)
        found[key] = self.value()

    def _number(self) -> Json:
        start = self.position
        while self.position < len(self.text) and self.text[self.position] in NUMBER_CHARS:
            self.position += 1
        try:
            return read_whole(self.text[start : self.position])
        except Refused as error:
            reason = "bad_json" if error.reason == "trailing_garbage" else error.reason
            raise Refused(reason, error.detail, start + error.offset) from error

    def _constant(self) -> bool | None:
        word = self.word()
        if word in NON_FINITE:
            raise Refused("non_finite", f"{word} is not a number", self.position)
        if word not in self.constants:
            raise self.error(f"{word!r} is no value" if word else "a value is missing")
        return self.constants[word]


def _is_word_char(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char in "_.-")
