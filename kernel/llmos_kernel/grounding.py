"""Says where the words of an argument come from: what the process was told, or what it was shown.

A grounded argument (`x-grounded` in its schema) is a span of one line that the process has seen,
whole words of it, at least one. Covered: users' messages and results, the newest first, up to
MAX_CHARS. Not covered: what a span means where it stands; a span of a page is the page's word.
Knows no tokens and no process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from llmos_kernel.abi import Label, ToolSpec

KEYWORD = "x-grounded"
MAX_CHARS = 16_000

# Where a script puts no blanks between words, every character is one.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff"
CHUNK = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|\W")
JOINT = "\n"
# What ends a line: any control character, none of which a span may hold.
LINE_ENDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def chunks(line: str) -> list[str]:
    """Split a line into its words and what stands between them, a character each."""
    return CHUNK.findall(line)


def is_grounded(schema: Any) -> bool:
    return isinstance(schema, Mapping) and cast("Mapping[str, Any]", schema).get(KEYWORD) is True


def grounded_keys(spec: ToolSpec) -> list[str]:
    """Return the arguments of a tool that must be grounded."""
    properties = cast("Mapping[str, Any]", spec.parameters.get("properties", {}))
    return [key for key, schema in properties.items() if is_grounded(schema)]


@dataclass(frozen=True, slots=True)
class Piece:
    """A text that a process has seen, and where it came from."""

    text: str
    label: Label


class Seen:
    """What a process has seen, oldest first. Only the newest MAX_CHARS are kept."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def add(self, text: str, label: Label) -> None:
        self._pieces.append(Piece(text[-MAX_CHARS:], label))
        num_chars = sum(len(piece.text) for piece in self._pieces)
        while num_chars > MAX_CHARS:
            oldest = self._pieces.pop(0)
            num_chars -= len(oldest.text)
            if num_chars < MAX_CHARS:
                kept = oldest.text[num_chars - MAX_CHARS :]
                self._pieces.insert(0, Piece(kept, oldest.label))
                break

    def lines(self) -> tuple[str, ...]:
        """Return the lines that hold a word, each once."""
        lines = (line.strip() for piece in self._pieces for line in LINE_ENDS.split(piece.text))
        return tuple(dict.fromkeys(line for line in lines if _has_word(line)))

    def origin(self, span: str) -> Label | None:
        """Return the most trusted label of the pieces that hold a span; None where none does."""
        labels = {
            piece.label for piece in self._pieces if span in piece.text and _holds(piece, span)
        }
        if not labels:
            return None
        return Label.TRUSTED if Label.TRUSTED in labels else Label.UNTRUSTED


def _has_word(text: str) -> bool:
    return any(chunk.isalnum() or "_" in chunk for chunk in chunks(text))


def _holds(piece: Piece, span: str) -> bool:
    if not _has_word(span):
        return False
    wanted = _bounded(span)
    return any(wanted in _bounded(line) for line in _lines_with(piece.text, span))


def _lines_with(text: str, span: str) -> Iterator[str]:
    return (line for line in LINE_ENDS.split(text) if span in line)


def _bounded(line: str) -> str:
    return JOINT + JOINT.join(chunks(line)) + JOINT
