"""`write_file`, `edit_file` and `restore_file`: files change whole or not at all.

Covered: a crash or a full disk at any point leaves the old file or the new one, and what is
written over stays as a version; two callers that change the same workspace wait for each other.
Not covered: other programs that change a file in the same moment.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from llmos.sdk import CallContext, Effect, Output, RetryCall, ToolFailed, tool
from llmos_tools.files.beneath import make_folders
from llmos_tools.files.reading import page_of
from llmos_tools.files.versions import digest_of, history_of, replace
from llmos_tools.files.workspace import (
    READ,
    check_file,
    check_readable,
    explained,
    opened,
    parts_of,
    workspace_of,
)

MOST_EDITED_BYTES = 10_000_000
MOST_COMPARED_LINES = 5000
SHOWN_CHARS = 120
MOST_SHOWN_LINES = 8


@tool(effects={Effect.FILES}, is_repeatable=True, max_concurrent=None)
def write_file(path: str, content: str, context: CallContext) -> Output:
    """Write text to a file of the workspace.

    Args:
        path: the file
        content: the text
    """
    parts = _file_parts(path)
    data = _encoded(content)
    with (
        workspace_of(context, is_changed=True) as folder,
        explained(path, lambda: f"{path!r} cannot be made"),
    ):
        put(folder, parts, io.BytesIO(data), hashlib.sha256(data).digest())
    return Output("saved", files=("/".join(parts),))


@tool(
    effects={Effect.FILES},
    max_concurrent=None,
    keywords=(
        "change", "correct", "fix", "swap", "exchange", "update", "remove", "erase", "drop", "cut",
        "delete", "rename", "substitute", "instead", "typo", "sed", "insert", "become", "turn",
        "modify", "amend", "strike", "wrong", "mistake", "overwrite", "gone", "rid", "set",
    ),
)  # fmt: skip
def edit_file(path: str, old: str, new: str, context: CallContext) -> Output:
    """Replace text in a file.

    Args:
        path: the file
        old: the text there
        new: the text to put there
    """
    parts = _file_parts(path)
    if not old:
        raise RetryCall("'old' is empty: give the text that is to be replaced")
    if old == new:
        raise RetryCall("'old' and 'new' are the same: give the text to put there as 'new'")
    with (
        workspace_of(context, is_changed=True) as folder,
        explained(path, lambda: f"there is no file {path!r}: write_file makes one"),
    ):
        text = _whole_text(folder, path, parts)
        changed, line = edited(text, old, new, path)
        data = _encoded(changed)
        put(folder, parts, io.BytesIO(data), hashlib.sha256(data).digest())
    return Output(f"replaced on line {line}", files=("/".join(parts),))


@tool(
    effects={Effect.FILES},
    max_concurrent=None,
    keywords=(
        "undo", "undone", "revert", "rollback", "roll", "recover", "reset", "rescue", "before",
        "old", "previous", "original", "overwritten", "overwrote", "mistake", "last",
    ),
)  # fmt: skip
def restore_file(path: str, context: CallContext) -> Output:
    """Bring back an earlier version of a file.

    Args:
        path: the file
    """
    parts = _file_parts(path)
    with (
        workspace_of(context, is_changed=True) as folder,
        explained(path, lambda: f"there is no earlier version of {path!r}"),
        history_of(folder, parts) as history,
        _parent_of(folder, parts) as parent,
        _present(parent, path, parts[-1]) as present,
    ):
        if present is not None:
            check_readable(path, os.fstat(present))
        number = history.before(present)
        if number is None:
            raise ToolFailed(f"there is no earlier version of {path!r}")
        history.bring_back(number, parent, parts[-1], _mode(present))
        text = f"brought back version {number} of {len(history.numbers)}"
    return Output(text, files=("/".join(parts),))


def put(folder: int, parts: Sequence[str], source: BinaryIO, digest: bytes) -> bool:
    """Write a file of the open workspace, keep what it held, and tell whether that was different.

    Raises:
        ToolFailed: what is there is not a file.
        OSError: nothing was changed.
    """
    path = "/".join(parts)
    with _parent_of(folder, parts) as parent, _present(parent, path, parts[-1]) as present:
        if present is not None and os.fstat(present).st_nlink == 1:
            if digest_of(present) == digest:
                return False
            with history_of(folder, parts, is_made=True) as history:
                history.keep(present)
        replace(parent, parts[-1], source, _mode(present))
    return True


def edited(text: str, old: str, new: str, path: str) -> tuple[str, int]:
    """Return a text with its one `old` replaced, and the line where that stands.

    Raises:
        RetryCall: it occurs in it never, or more than once.
    """
    if old not in text and "\r\n" in text:
        old, new = (part.replace("\r\n", "\n").replace("\n", "\r\n") for part in (old, new))
    lines = _lines_of(text, old)
    match lines:
        case [line]:
            return text.replace(old, new), line
        case []:
            raise RetryCall(f"{_shown(old)} is not in {path!r}{_nearest(text, old)}")
        case _:
            places = ", ".join(map(str, lines[:MOST_SHOWN_LINES]))
            places += ", ..." if len(lines) > MOST_SHOWN_LINES else ""
            raise RetryCall(
                f"{_shown(old)} stands {len(lines)} times in {path!r}, on lines {places}: give "
                "more of the text around it"
            )


def _lines_of(text: str, old: str) -> list[int]:
    """Return the line on which each occurrence begins, overlapping ones included."""
    lines: list[int] = []
    position, line, counted = text.find(old), 1, 0
    while position >= 0:
        line += text.count("\n", counted, position)
        counted = position
        lines.append(line)
        position = text.find(old, position + 1)
    return lines


def _nearest(text: str, old: str) -> str:
    """Name the line that is most like the first line of what was looked for."""
    wanted = next((line.strip() for line in old.split("\n") if line.strip()), "")[:SHOWN_CHARS]
    lines = [line.strip()[:SHOWN_CHARS] for line in text.split("\n")[:MOST_COMPARED_LINES]]
    found = difflib.get_close_matches(wanted, lines, n=1, cutoff=0.4)
    return (
        f"; line {lines.index(found[0]) + 1} is most like it: {_shown(found[0])}" if found else ""
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "...")


def _file_parts(path: str) -> list[str]:
    parts = parts_of(path)
    if not parts or path.endswith("/"):
        raise ToolFailed(f"{path!r} is a folder")
    return parts


def _encoded(content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError as error:
        raise ToolFailed(f"the content cannot be written as UTF-8: {error.reason}") from error


def _whole_text(folder: int, path: str, parts: Sequence[str]) -> str:
    with opened(folder, parts, READ) as file:
        size = os.fstat(file).st_size
        if size > MOST_EDITED_BYTES:
            raise ToolFailed(f"{path!r} has {size:,} bytes, {MOST_EDITED_BYTES:,} can be edited")
        return page_of(file, path, room=MOST_EDITED_BYTES).text


@contextmanager
def _parent_of(folder: int, parts: Sequence[str]) -> Generator[int]:
    parent = make_folders(folder, parts[:-1])
    try:
        yield parent
    finally:
        os.close(parent)


@contextmanager
def _present(parent: int, path: str, name: str) -> Generator[int | None]:
    """Lend the file that is there now, None where there is none.

    Raises:
        ToolFailed: what is there is not a file.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        status = None
    if status is None:
        yield None
        return
    if stat.S_ISLNK(status.st_mode):
        raise ToolFailed(f"{path!r} is outside the workspace: it leads through a symbolic link")
    check_file(path, status)
    with opened(parent, [name], READ) as file:
        yield file


def _mode(present: int | None) -> int | None:
    return None if present is None else stat.S_IMODE(os.fstat(present).st_mode) & 0o777
