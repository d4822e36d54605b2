"""What a run of code said: messages of the kernel become one text, pictures and an error.

Knows no sockets and writes no files. Nothing here trusts the messages: the sandbox wrote them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

from llmos.sandbox.limits import MIB
from llmos_tools.python.limits import OUTPUT_CHARS, PICTURE_BYTES, PICTURES

_PNG = b"\x89PNG\r\n\x1a\n"
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LINE = re.compile(r"^ *Cell In\[(\d{1,9})\], line (\d{1,9})", re.MULTILINE)
# What IPython calls the code of a syntax error: a number that says nothing to the reader.
_CELL_NAME = re.compile(r" \((?:<[^<>]*>|\d+\.py), (line \d+)\)$")
_ERROR_CHARS = 2000


@dataclass
class Collector:
    """The output of one run so far. `text` stays within OUTPUT_CHARS whatever is printed.

    `names_lines` says whether an error tells its line, which helps where there are several.
    """

    names_lines: bool = False
    pictures: list[bytes] = field(default_factory=list[bytes])
    error: str | None = None
    error_name: str = ""
    is_cut: bool = False
    is_partial: bool = False
    left_out_pictures: int = 0
    _parts: list[str] = field(default_factory=list[str])
    _num_chars: int = 0

    @property
    def text(self) -> str:
        """What was printed and shown, in order, without terminal escapes."""
        text = _plain("".join(self._parts)).replace("\r\n", "\n")
        # A progress bar writes over its line again and again: what stays is what follows.
        return "\n".join(line.rpartition("\r")[2] for line in text.split("\n")).rstrip("\n")

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Take one message of the kernel; kinds that say nothing are passed over."""
        match kind:
            case "stream":
                self._write(_string(content.get("text")))
            case "execute_result" | "display_data":
                self._show(content.get("data"))
            case "error":
                self._fail(content)
            case _:
                pass

    def _write(self, text: str) -> None:
        room = OUTPUT_CHARS - self._num_chars
        self.is_cut = self.is_cut or len(text) > room
        if room > 0 and text:
            self._parts.append(text[:room])
            self._num_chars += min(room, len(text))

    def _show(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        picture = _decode(_string(data.get("image/png")))
        if picture is None:
            text = _string(data.get("text/plain"))
            starts_line = not self._parts or self._parts[-1].endswith("\n")
            self._write(text if starts_line else f"\n{text}")
            self._write("\n")
        elif len(self.pictures) == PICTURES or self._picture_bytes(picture) > PICTURE_BYTES:
            self.left_out_pictures += 1
        else:
            self.pictures.append(picture)

    def _picture_bytes(self, picture: bytes) -> int:
        return sum(map(len, self.pictures)) + len(picture)

    def _fail(self, content: dict[str, Any]) -> None:
        name, value = _string(content.get("ename")) or "Error", _string(content.get("evalue"))
        traceback = content.get("traceback")
        lines = [_string(line) for line in traceback] if isinstance(traceback, list) else []
        self.error_name = name
        place = _line("\n".join(lines)[:OUTPUT_CHARS]) if self.names_lines else None
        self.error = _describe(name, value, place)


def notes(collector: Collector) -> list[str]:
    """Say what of a run was left out."""
    said: list[str] = []
    if collector.is_cut:
        said.append(f"[output cut: only the first {OUTPUT_CHARS:,} characters were read]")
    if collector.is_partial:
        said.append("[some output was lost: more came at once than could be read]")
    if collector.left_out_pictures:
        said.append(
            f"[{collector.left_out_pictures} more pictures were left out: {PICTURES} pictures of "
            f"{PICTURE_BYTES // MIB} MB together are kept]"
        )
    return said


def _describe(name: str, value: str, place: int | None) -> str:
    if name == "StdinNotImplementedError":
        return "input() cannot be used: nobody is there to type; write the value into the code"
    error = _plain((f"{name}: {value}" if value else name)[:_ERROR_CHARS])
    if name.endswith("Error") and _CELL_NAME.search(error):
        return _CELL_NAME.sub(r" (\1)", error)
    return error if place is None else f"{error} (line {place})"


def _line(traceback: str) -> int | None:
    """Return the innermost line in the code that ran: earlier code may call or be called too."""
    places = [(int(run), int(line)) for run, line in _LINE.findall(_plain(traceback))]
    latest = max((run for run, _ in places), default=0)
    return next((line for run, line in reversed(places) if run == latest), None)


def _plain(text: str) -> str:
    """Drop terminal escapes and what cannot be encoded."""
    return _ESCAPES.sub("", text).encode(errors="replace").decode()


def _decode(picture: str) -> bytes | None:
    try:
        data = base64.b64decode(picture)
    except (binascii.Error, ValueError):
        return None
    return data if data.startswith(_PNG) else None


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
