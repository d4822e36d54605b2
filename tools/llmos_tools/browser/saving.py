"""Files that pages bring into the workspace: a safe name, never over an existing file.

Knows no browser.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

LONGEST_NAME = 100
_UNSAFE = re.compile(r"[^\w.()+-]+")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def safe_name(wanted: str, default: str) -> str:
    """Return a plain file name like the wanted one: no folders, not hidden, not too long."""
    name = _UNSAFE.sub("_", wanted.replace("\\", "/").rpartition("/")[2]).strip("._")
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    short = stem[: LONGEST_NAME - len(suffix[:20]) - 1]
    return f"{short}{dot}{suffix[:20]}" if short else default


def name_in_url(url: str, default: str) -> str:
    return safe_name(unquote(urlsplit(url).path), default)


def save_new(workspace: Path, name: str, chunks: Iterable[bytes]) -> str:
    """Write a file under the name, or one with a number where that is taken; return the name.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    stem, dot, suffix = name.rpartition(".") if "." in name else (name, "", "")
    names = (f"{stem}-{number}{dot}{suffix}" for number in itertools.count(2))
    for chosen in itertools.chain([name], names):
        path = workspace / chosen
        try:
            descriptor = os.open(path, _NEW, 0o666)
        except FileExistsError:
            continue
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(chunks)
        except BaseException:
            path.unlink()
            raise
        return chosen
    raise AssertionError("the numbers do not end")


def chunks_of(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
