"""A workspace: what a path in it means, how it is opened, and what lies beneath it.

Covered: paths that lead out by `..`, a leading `/` or symbolic links, also links exchanged during
the call; names on several lines or not in UTF-8; what the file tools keep there for themselves.
Not covered: what a file holds (see `check_readable` for which may be opened).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from llmos.sdk import CallContext, ToolFailed
from llmos_tools.files.beneath import FOLDER, open_beneath

DEEPEST = 40
LONGEST_NAME = 255
VERSIONS = ".llmos-versions"
PYTHON_NAMES = ".llmos-python.json"
HIDDEN = re.compile(r"\.llmos-(?:versions|python\.json|[0-9a-f]{16}\.tmp)")
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class Entry:
    """Something beneath a folder; `parts` lead to it from there."""

    parts: tuple[str, ...]
    is_folder: bool

    @property
    def shown(self) -> str:
        """Its path on one line, of a folder with a `/` after it."""
        return printable("/".join(self.parts)) + ("/" if self.is_folder else "")


def parts_of(path: str) -> list[str]:
    """Return the components of a path, none for the workspace itself.

    Raises:
        ToolFailed: it is absolute, climbs, is no path, or is hidden from the model.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith(("/", "~")) or ".." in parts:
        raise ToolFailed(f"{path!r} is outside the workspace: give a path relative to it")
    sizes = [len(part.encode(errors="surrogatepass")) for part in parts]
    if len(parts) > DEEPEST or max(sizes, default=0) > LONGEST_NAME:
        raise ToolFailed(f"{path[:80]!r}... is too long for a path")
    if not path.isprintable():
        raise ToolFailed(f"{path!r} is not a path: it holds a sign that cannot be printed")
    if any(map(HIDDEN.fullmatch, parts)):
        raise ToolFailed(f"{path!r} is kept by the file tools: restore_file brings back versions")
    return parts


@contextmanager
def workspace_of(context: CallContext, *, is_changed: bool = False) -> Generator[int]:
    """Lend the open folder; one that `is_changed` to one caller at a time, on this machine."""
    try:
        folder = os.open(context.workspace, FOLDER & ~os.O_NOFOLLOW)
    except OSError as error:
        raise ToolFailed(f"the workspace cannot be opened: {error.strerror}") from error
    try:
        if is_changed:
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


@contextmanager
def opened(folder: int, parts: Sequence[str], flags: int) -> Generator[int]:
    """Lend what lies at `parts` beneath an open folder, never through a link."""
    descriptor = open_beneath(folder, parts, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def explained(path: str, missing: Callable[[], str]) -> Generator[None]:
    """Turn what the system says into what the model can act on."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                why = missing()
            case errno.ENOTDIR:
                why = f"{path!r} is not a folder, or leads through a file or a link"
            case errno.ELOOP | errno.EXDEV:
                why = f"{path!r} is outside the workspace: it leads through a symbolic link"
            case errno.EISDIR:
                why = f"{path!r} is a folder"
            case errno.ENOSPC | errno.EDQUOT:
                why = "the disk is full; nothing was changed"
            case _:
                why = f"{path!r}: {error.strerror}"
        raise ToolFailed(why) from error


def check_file(path: str, status: os.stat_result) -> None:
    """Refuse what is not a file."""
    if stat.S_ISDIR(status.st_mode):
        raise ToolFailed(f"{path!r} is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise ToolFailed(f"{path!r} is not a file but a device, a pipe or a socket")


def check_readable(path: str, status: os.stat_result) -> None:
    """Refuse what is not a file of the workspace alone."""
    check_file(path, status)
    if status.st_nlink > 1:
        raise ToolFailed(f"{path!r} is a hard link, which may belong to something outside")


def entries(folder: int) -> list[Entry]:
    """Return what lies directly in an open folder, by name."""
    with os.scandir(folder) as found:
        return sorted(
            (
                Entry((item.name,), item.is_dir(follow_symlinks=False))
                for item in found
                if not HIDDEN.fullmatch(item.name)
            ),
            key=lambda entry: entry.parts,
        )


def walk(folder: int, above: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Yield all that lies beneath an open folder, a folder before what it holds."""
    for entry in entries(folder):
        below = Entry((*above, *entry.parts), entry.is_folder)
        yield below
        if not entry.is_folder or len(below.parts) >= DEEPEST:
            continue
        try:
            inner = open_beneath(folder, entry.parts, FOLDER)
        except OSError:  # it has gone, was exchanged for a link, or is closed to us
            continue
        try:
            yield from walk(inner, below.parts)
        finally:
            os.close(inner)


def printable(name: str) -> str:
    """Return a name on one line and without bytes that are not text."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "?", name)
