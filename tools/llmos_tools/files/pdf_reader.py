"""Runs in a process of its own: a PDF document on stdin, its text page by page on stdout.

It is run as a file, alone: it says one JSON object a line, `num_pages`, `page` or `problem`.
A page without text is a scanned one, most likely: what tesseract reads in its pictures is its text.
Covered: memory, time and files by rlimits, so that no document makes it take more.
Not covered: mistakes of the library that reads; they happen here.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

MEMORY_BYTES = 1 << 30
CPU_S = 10
FILE_BYTES = 64 << 20  # tesseract reads a picture from a file
MOST_PICTURES = 4  # of a page
MOST_PIXELS = 50_000_000
SCANNED = "(read from a picture)\n"
LIMITS = {
    resource.RLIMIT_AS: (MEMORY_BYTES, MEMORY_BYTES),
    resource.RLIMIT_CPU: (CPU_S, CPU_S),
    resource.RLIMIT_FSIZE: (FILE_BYTES, FILE_BYTES),
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
    for index in range(first - 1, len(reader.pages)):
        text = plain(reader.pages[index].extract_text()) or scanned(reader.pages[index])
        begin = character - 1 if index == first - 1 else 0
        yield text[begin : begin + most_chars + 1]
        num_chars += len(text) - begin
        if num_chars > most_chars:
            return


def scanned(page: PageObject) -> str:
    """Return the text in a page's pictures; empty where there is none, or nothing to read it."""
    if not len(page.images):
        return ""
    from PIL import Image

    from llmos_tools.recognition import text_of

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    pictures = (found.image for found in itertools.islice(page.images, MOST_PICTURES))
    texts = [text_of(picture.convert("L"))[0] for picture in pictures if picture is not None]
    text = plain("\n".join(filter(None, texts)))
    return SCANNED + text if text else ""


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
