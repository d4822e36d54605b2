"""`read_file`: a text file or a PDF document, a page at a time.

Covered: files of any size, which are read once and never held; lines of any length; what is
neither is named, not shown.
Not covered: text that is not in UTF-8.
"""

from __future__ import annotations

import difflib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmos.sdk import CallContext, RetryCall, ToolFailed, tool
from llmos_tools.files.beneath import FOLDER
from llmos_tools.files.blob_pages import BLOB, read_page
from llmos_tools.files.kinds import kind_of
from llmos_tools.files.pdf import is_pdf, read_pdf
from llmos_tools.files.workspace import (
    READ,
    check_readable,
    entries,
    explained,
    opened,
    parts_of,
    workspace_of,
)

# Together with the note of what is left, within what the model is shown of a result.
PAGE_CHARS = 3600
# Lines are counted to the end of the file up to this size.
COUNTED_BYTES = 128 << 20
SIGNATURE_BYTES = 16
PLACE = re.compile(r"(?P<path>.+?):(?P<line>[0-9]{1,12})(?::(?P<character>[0-9]{1,12}))?")


class Place(NamedTuple):
    """Where a page begins: both count from 1."""

    line: int
    character: int


START = Place(1, 1)


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a text. `following` is where the next begins; `num_lines` unknown is None."""

    text: str
    following: Place | None
    num_lines: int | None


@tool(effects=(), is_repeatable=True, max_concurrent=None)
def read_file(path: str, context: CallContext) -> str:
    """Read a file of the workspace.

    Args:
        path: the file
    """
    if path.startswith(BLOB):
        return read_page(path, context)
    with workspace_of(context) as folder:
        name, start = _named_place(folder, path)
        parts = parts_of(name)
        with (
            explained(name, lambda: _no_file(folder, name, parts)),
            opened(folder, parts, READ) as file,
        ):
            status = os.fstat(file)
            check_readable(name, status)
            if is_pdf(file):
                return read_pdf(file, name, start.line, start.character, PAGE_CHARS)
            page = page_of(file, name, start)
    if not page.text and start != START:
        raise RetryCall(f"{name!r} ends before line {start.line}: it has {page.num_lines} lines")
    return page.text + _note(name, page, start, status.st_size)


def page_of(file: int, path: str, start: Place = START, room: int = PAGE_CHARS) -> Page:
    """Read a page of an open file, up to `room` characters, ended with a line where one ends.

    Raises:
        ToolFailed: it is not a text file, or not one of the workspace alone.
    """
    status = os.fstat(file)
    check_readable(path, status)
    try:
        with open(file, encoding="utf-8", newline="\n", closefd=False) as text:
            return _page(text, start, room, is_counted=status.st_size <= COUNTED_BYTES)
    except UnicodeDecodeError as error:
        head = os.pread(file, SIGNATURE_BYTES, 0)
        kind = kind_of(head, path)
        size = f"{status.st_size:,} bytes"
        raise ToolFailed(f"{path!r} is not text in UTF-8 but {kind} of {size}") from error


def _page(text: io.TextIOBase, start: Place, room: int, *, is_counted: bool) -> Page:
    taken: list[str] = []
    place, following = START, None
    while piece := text.readline(room):
        if "\0" in piece:
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "a text has no zero byte")
        after = Place(place.line, place.character + len(piece))
        if piece.endswith("\n"):
            after = Place(place.line + 1, 1)
        skipped = start.character - place.character if place.line == start.line else 0
        wanted = piece[max(skipped, 0) :] if place.line >= start.line else ""
        if wanted and following is None:
            left = room - sum(map(len, taken))
            if len(wanted) <= left:
                taken.append(wanted)
            elif taken:
                following = place
            else:
                taken.append(wanted[:left])
                following = Place(place.line, after.character)
        if following is not None and not is_counted:
            return Page("".join(taken), following, None)
        place = after
    num_lines = place.line - (place.character == 1)
    return Page("".join(taken), following, num_lines)


def _note(path: str, page: Page, start: Place, size: int) -> str:
    """Say which part of the file this is and how to read on; nothing of a file that is whole."""
    if page.following is None:
        return "" if start == START else f"\n[the end of {path!r}]"
    line, character = page.following
    last = line if character > 1 else line - 1
    lines = f"line {last}" if last == start.line else f"lines {start.line} to {last}"
    whole = "" if page.num_lines is None else f" of {page.num_lines}"
    place = f"{path}:{line}" + (f":{character}" if character > 1 else "")
    gap = "" if page.text.endswith("\n") else "\n"
    return f"{gap}[{lines}{whole}, {size:,} bytes in all; read {place!r} to go on]"


def _named_place(folder: int, path: str) -> tuple[str, Place]:
    """Split `notes.txt:200` into the file and where to begin, unless a file has that very name."""
    match = PLACE.fullmatch(path)
    if match is None:
        return path, START
    parts = parts_of(path)
    try:
        with opened(folder, parts, READ):
            return path, START
    except OSError:
        line, character = int(match["line"]), int(match["character"] or 1)
        return match["path"], Place(max(line, 1), max(character, 1))


def _no_file(folder: int, path: str, parts: Sequence[str]) -> str:
    """Say that a file is missing, and which names are like it."""
    text = f"there is no file {path!r}"
    try:
        with opened(folder, parts[:-1], FOLDER) as above:
            names = [entry.shown for entry in entries(above)]
    except OSError:
        return text
    similar = difflib.get_close_matches(parts[-1], names, n=3) if parts else []
    similar = ["/".join([*parts[:-1], name]) for name in similar]
    return f"{text}; there is {', '.join(map(repr, similar))}" if similar else text
