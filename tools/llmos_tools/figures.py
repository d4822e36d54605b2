"""Pictures into a workspace, under the next free name.

Covered: a link placed in the workspace is never followed, and no file is written over.
Not covered: the path to the workspace itself, which the kernel chose.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path


def save_figures(pictures: Sequence[bytes], workspace: Path) -> tuple[str, ...]:
    """Write each picture as figure-N.png and return the names.

    Raises:
        OSError: the workspace cannot be written to; pictures written by then stay.
    """
    if not pictures:
        return ()
    folder = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        numbers = itertools.count(1)
        return tuple(_save(picture, folder, numbers) for picture in pictures)
    finally:
        os.close(folder)


def _save(picture: bytes, folder: int, numbers: itertools.count[int]) -> str:
    for number in numbers:
        name = f"figure-{number}.png"
        try:
            # O_EXCL refuses any name that exists, a link that leads nowhere included.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o644, dir_fd=folder)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(picture)
        return name
    raise AssertionError("the numbers are endless")
