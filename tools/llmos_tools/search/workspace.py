"""The text files of a workspace, for searching them.

Covered: links are not followed; binary, hidden and large files are left out, as is what lies
beyond the limits. Knows no index.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

MOST_FILES = 2_000
MOST_FILE_BYTES = 500_000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def text_files(workspace: Path) -> Iterator[tuple[str, str]]:
    """Yield (path in the workspace, text) of its text files."""
    num_files = 0
    for folder, folders, names in os.walk(workspace):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            text = None if name.startswith(".") else _text(path)
            if text is not None:
                yield str(path.relative_to(workspace)), text
                num_files += 1
                if num_files == MOST_FILES:
                    return


def _text(path: Path) -> str | None:
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not is_plain or status.st_size > MOST_FILE_BYTES:
            return None
        data = file.read(MOST_FILE_BYTES)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
