"""Runs in a process of its own: a PDF document on stdin, its text page by page on stdout.

It is run as a file, alone: it says one JSON object a line, `num_pages`, `page` or `problem`.
A page without text is a scanned one, most likely: what tesseract reads in its pictures is its text.
Covered: memory, time and files by rlimits, so that no document makes it take more; each tesseract
is a process of its own within as much, one at a time, for `SCAN_S` in all.
Not covered: mistakes of the library that reads; they happen here.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

MEMORY_BYTES = 1 << 30
CPU_S = 10
SCAN_S = 14.0  # after which no page is begun; who asks for one alone gets all of it
MOST_PICTURES = 16  # of a page
SCANNED = "(read from a picture)"
LIMITS = {
    resource.RLIMIT_AS: (MEMORY_BYTES, MEMORY_BYTES),
    resource.RLIMIT_CPU: (CPU_S, CPU_S),
    resource.RLIMIT_FSIZE: (0, 0),
    resource.RLIMIT_CORE: (0, 0),
}


def main() -> None:
    """Read from a page and a character of it on, both from 1, until there are enough characters."""
    first, character, most_chars = map(int, sys.argv[1:])
    for limited, values in LIMITS.items():
        resource.setrlimit(limited, values)
    try:
        reader = opened()
        say("num_pages", len(reader.pages))
        for text in texts(reader, first, character, most_chars):
            say("page", text)
    except Exception as error:  # the library may raise anything; who asked gets a line
        say("problem", why(error))


def opened() -> PdfReader:
    """Open the document; an empty password opens one that is only protected against changes."""
    from pypdf import PdfReader
    from pypdf.errors import WrongPasswordError

    reader = PdfReader(os.fdopen(0, "rb"))
    if reader.is_encrypted and not reader.decrypt(""):
        raise WrongPasswordError
    return reader


def texts(reader: PdfReader, first: int, character: int, most_chars: int) -> Iterator[str]:
    """Yield the text of each page; of a long one just enough to tell that there is more."""
    num_chars = 0
    ends = time.monotonic() + SCAN_S
    for index in range(first - 1, len(reader.pages)):
        if index >= first and time.monotonic() > ends:
            return
        text = plain(reader.pages[index].extract_text()) or scanned(reader.pages[index], ends)
        begin = character - 1 if index == first - 1 else 0
        yield text[begin : begin + most_chars + 1]
        num_chars += len(text) - begin
        if num_chars > most_chars:
            return


def scanned(page: PageObject, ends: float) -> str:
    """Return the text in a page's pictures, and what could not be read; empty without pictures.

    `ends` is when reading has to be done, on the monotonic clock, in seconds.
    """
    names = _drawn(page)
    if not names:
        return ""
    found = [_read(page, name, ends) for name in names[:MOST_PICTURES]]
    text = plain("\n".join(text for text, _ in found if text))
    problems = list(dict.fromkeys(problem for _, problem in found if problem))
    if len(names) > MOST_PICTURES:
        problems.append(f"{len(names) - MOST_PICTURES} more pictures of this page are not read")
    notes = [f"({problem})" for problem in problems]
    return "\n".join([*([SCANNED, text] if text else []), *notes])


def _drawn(page: PageObject) -> list[str | list[str]]:
    """Return the names of a page's pictures in the order in which it draws them."""
    names = page.images.keys()
    if len(names) < 2:
        return names
    contents = page.get_contents()
    operations = [] if contents is None else contents.operations
    drawn = [str(operands[0]) for operands, operator in operations if operator == b"Do"]
    places = {name: place for place, name in enumerate(drawn)}
    return sorted(names, key=lambda name: places.get(str(name), len(places)))


def _read(page: PageObject, name: str | list[str], ends: float) -> tuple[str, str]:
    """Return the text in a picture of a page, and why there is none if so."""
    from llmos_tools.recognition import on_one_line, text_of

    try:
        picture = page.images[name].image
        if picture is None:
            return "", ""
        upright = picture.convert("L").rotate(-page.rotation, expand=True)
    except MemoryError:
        raise
    except Exception as error:  # the libraries may raise anything; the other pages are read
        return "", f"a picture could not be opened: {on_one_line(error)[:200]}"
    return text_of(upright, max(1.0, ends - time.monotonic()))


def plain(text: str) -> str:
    """Return a text without control characters and halves of characters."""
    whole = text.encode(errors="replace").decode()
    return "".join(map(_plain_sign, whole)).strip()


def _plain_sign(sign: str) -> str:
    if sign.isprintable() or sign in "\n\t":
        return sign
    return " " if sign.isspace() else ""


def why(error: Exception) -> str:
    """Say what is wrong with the document or a page, after its name."""
    name, first_line = type(error).__name__, str(error).strip().partition("\n")[0]
    match name:
        case "ModuleNotFoundError":
            return "needs pypdf to be read: pip install 'llmos[pdf]'"
        case "WrongPasswordError":
            return "is encrypted: save a copy that needs no password"
        case "DependencyError":
            return f"is of a form that is not read here: {first_line}"
        case "MemoryError" | "LimitReachedError":
            return "needs more memory than reading it may take"
        case _:
            return f"is damaged or cut off: {first_line or name}"


def say(key: str, value: object) -> None:
    print(json.dumps({key: value}), flush=True)


if __name__ == "__main__":
    main()
