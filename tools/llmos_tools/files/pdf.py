"""The text of a PDF document, a stretch of pages at a time.

Covered: another process parses it (see `pdf_reader`), without our environment, and is ended at its
limits; what it has read by then is shown, and a page that is too much for it can be passed over.
Not covered: text in the pictures of a page that has other text; documents that want a password.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmos.sdk import RetryCall, ToolFailed

SIGNATURE = b"%PDF-"
READER = Path(__file__).with_name("pdf_reader.py")
LIMIT_S = 20.0
# For tesseract: threads reserve memory, of which there is a limit.
ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}
ENDED = "takes too long to be read"


@dataclass
class Said:
    """What the process said: all pages before `problem`, the first where it was told to begin."""

    pages: list[str] = field(default_factory=list[str])
    num_pages: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some pages as text. `following` is the page and character where the next stretch begins."""

    text: str
    last: int
    following: tuple[int, int] | None


def is_pdf(file: int) -> bool:
    """Tell a PDF document by its first bytes."""
    return os.pread(file, len(SIGNATURE), 0) == SIGNATURE


def read_pdf(file: int, path: str, first: int, character: int, room: int) -> str:
    """Return about `room` characters from a page on, and how to read on. Blocks for seconds.

    Raises:
        RetryCall: it has no such page, or the page is shorter.
        ToolFailed: it cannot be read, or has no text.
    """
    said = _said(file, first, character, room)
    if said.num_pages is None:
        raise ToolFailed(f"{path!r}, a PDF document, {said.problem}")
    _check_start(said, path, first, character)
    stretch = _stretch(said, first, character, room)
    return stretch.text + _note(stretch, said.num_pages, path, first, character)


def _said(file: int, first: int, character: int, room: int) -> Said:
    command = [sys.executable, "-I", str(READER), str(first), str(character), str(room)]
    try:
        output = subprocess.run(
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath), **ONE_THREAD},
            timeout=LIMIT_S,
            check=True,
        ).stdout
        ended = None
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        output, ended = error.stdout or b"", ENDED
    said = Said(problem=ended)
    for line in output.splitlines(keepends=True):
        if line.endswith(b"\n"):
            _take(said, json.loads(line))
    return said


def _take(said: Said, message: dict[str, Any]) -> None:
    match message:
        case {"num_pages": int(num_pages)}:
            said.num_pages = num_pages
        case {"page": str(text)}:
            said.pages.append(text)
        case {"problem": str(problem)}:
            said.problem = problem
        case _:
            raise AssertionError(f"the reader said {message!r}")


def _check_start(said: Said, path: str, first: int, character: int) -> None:
    assert said.num_pages is not None
    if said.problem and not said.pages:
        onward = f"; read '{path}:{first + 1}' to go on" if first < said.num_pages else ""
        raise ToolFailed(f"page {first} of {path!r} {said.problem}{onward}")
    is_whole = first == 1 and len(said.pages) == said.num_pages
    if is_whole and not any(said.pages):
        raise ToolFailed(
            f"{path!r} has no text on any page ({said.num_pages} in all), nor in pictures of them"
        )
    if first > said.num_pages:
        raise RetryCall(f"{path!r} ends before page {first}: its last page is {said.num_pages}")
    if character > 1 and not said.pages[0]:
        raise RetryCall(f"page {first} of {path!r} ends before character {character}")


def _stretch(said: Said, first: int, character: int, room: int) -> Stretch:
    """Join the pages that fit whole; of a first one that does not, as much as fits."""
    taken, number = "", first
    for number, text in enumerate(said.pages, first):
        head = f"--- page {number} of {said.num_pages} ---\n"
        piece = f"{head}{text or '(no text)'}\n"
        left = room - len(taken)
        if len(piece) <= left:
            taken += piece
        elif taken:
            return Stretch(taken, number - 1, (number, 1))
        else:
            fitting = left - len(head) - 1
            begin = character if number == first else 1
            cut = f"{head}{text[:fitting]}\n"
            return Stretch(cut, number, (number, begin + fitting))
    following = (number + 1, 1) if number != said.num_pages else None
    return Stretch(taken, number, following)


def _note(stretch: Stretch, num_pages: int, path: str, first: int, character: int) -> str:
    if stretch.following is None:
        return "" if (first, character) == (1, 1) else f"[the end of {path!r}]"
    number, begin = stretch.following
    pages = f"page {first}" if stretch.last == first else f"pages {first} to {stretch.last}"
    place = f"{path}:{number}" + (f":{begin}" if begin > 1 else "")
    return f"[{pages} of {num_pages}; read {place!r} to go on]"
