"""Reading, writing and listing the files of a workspace.

Covered: paths that lead out of it by `..`, a leading `/` or symbolic links, also links exchanged
during the call; hard links to files outside when reading; FIFOs, sockets and devices; a file is
written whole or not at all.
Not covered: how much a workspace may hold.
"""

from __future__ import annotations

import codecs
import difflib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from llmos.sdk import CallContext, Effect, Output, ToolFailed, tool
from llmos_tools.files.beneath import FOLDER, make_folders, open_beneath
from llmos_tools.files.pages import BLOB, read_page

MOST_BYTES = 1_000_000
HEAD_BYTES = 100_000
MOST_ENTRIES = 500
DEEPEST = 40
LONGEST_NAME = 255
TEMPORARY = re.compile(r"\.llmos-[0-9a-f]{16}\.tmp")
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


@tool(effects=(), is_repeatable=True, max_concurrent=None)
def read_file(path: str, context: CallContext) -> str:
    """Read a file of the workspace.

    Args:
        path: the file
    """
    if path.startswith(BLOB):
        return read_page(path, context)
    parts = _parts(path)
    with _workspace(context) as folder, _explained(path, lambda: _no_file(folder, path, parts)):
        return _read(folder, path, parts)


@tool(effects={Effect.FILES}, is_repeatable=True, max_concurrent=None)
def write_file(path: str, content: str, context: CallContext) -> Output:
    """Write text to a file of the workspace.

    Args:
        path: the file
        content: the text
    """
    parts = _parts(path)
    if not parts or path.endswith("/"):
        raise ToolFailed(f"{path!r} is a folder")
    try:
        data = content.encode()
    except UnicodeEncodeError as error:
        raise ToolFailed(f"the content cannot be written as UTF-8: {error.reason}") from error
    with _workspace(context) as folder, _explained(path, lambda: f"{path!r} cannot be made"):
        parent = make_folders(folder, parts[:-1])
        try:
            _replace(parent, path, parts[-1], data)
        finally:
            os.close(parent)
    return Output("saved", files=("/".join(parts),))


@tool(effects=(), is_repeatable=True, max_concurrent=None)
def list_files(context: CallContext, path: str | None = None) -> str:
    """List the files of the workspace.

    Args:
        path: a folder
    """
    shown = path or "."
    parts = _parts(shown)
    with _workspace(context) as folder, _explained(shown, lambda: f"there is no folder {shown!r}"):
        opened = open_beneath(folder, parts, FOLDER)
        try:
            names = _names(opened)
        finally:
            os.close(opened)
    more = [f"and {len(names) - MOST_ENTRIES} more"] if len(names) > MOST_ENTRIES else []
    return "\n".join(names[:MOST_ENTRIES] + more) or "empty"


def _parts(path: str) -> list[str]:
    """Return the components of a path, none for the workspace itself.

    Raises:
        ToolFailed: it is absolute, climbs, or is no path.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith(("/", "~")) or ".." in parts:
        raise ToolFailed(f"{path!r} is outside the workspace: give a path relative to it")
    sizes = [len(part.encode(errors="surrogatepass")) for part in parts]
    if len(parts) > DEEPEST or max(sizes, default=0) > LONGEST_NAME:
        raise ToolFailed(f"{path[:80]!r}... is too long for a path")
    if not path.isprintable():
        raise ToolFailed(f"{path!r} is not a path: it holds a sign that cannot be printed")
    return parts


@contextmanager
def _workspace(context: CallContext) -> Generator[int]:
    try:
        folder = os.open(context.workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ToolFailed(f"the workspace cannot be opened: {error.strerror}") from error
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _explained(path: str, missing: Callable[[], str]) -> Generator[None]:
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
                why = "the disk is full"
            case _:
                why = f"{path!r}: {error.strerror}"
        raise ToolFailed(why) from error


def _read(folder: int, path: str, parts: Sequence[str]) -> str:
    opened = open_beneath(folder, parts, READ)
    try:
        status = os.fstat(opened)
        _check_readable(path, status)
        with os.fdopen(opened, "rb", closefd=False) as file:
            data = file.read(MOST_BYTES + 1)
    finally:
        os.close(opened)
    is_whole = len(data) <= MOST_BYTES
    head = data if is_whole else data[:HEAD_BYTES]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=is_whole)
    except UnicodeDecodeError as error:
        raise ToolFailed(f"{path!r} is not a text file") from error
    if "\0" in text:
        raise ToolFailed(f"{path!r} is not a text file")
    return text if is_whole else f"(the first {HEAD_BYTES} of {status.st_size} bytes)\n{text}"


def _check_readable(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ToolFailed(f"{path!r} is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise ToolFailed(f"{path!r} is not a file but a device, a pipe or a socket")
    if status.st_nlink > 1:
        raise ToolFailed(f"{path!r} is a hard link, which may belong to something outside")


def _replace(parent: int, path: str, name: str, data: bytes) -> None:
    """Write a file under another name and rename it, so that it is never seen half written."""
    mode = _mode_of_existing(parent, path, name)
    temporary = f".llmos-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = os.open(temporary, flags, 0o666, dir_fd=parent)
    try:
        with os.fdopen(opened, "wb") as file:
            if mode is not None:
                os.fchmod(opened, mode)
            file.write(data)
            file.flush()
            os.fsync(opened)
        os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        os.unlink(temporary, dir_fd=parent)
        raise


def _mode_of_existing(parent: int, path: str, name: str) -> int | None:
    """Return the permissions of the file that is replaced, None for a new one.

    Raises:
        ToolFailed: what is there is not a file.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise ToolFailed(f"{path!r} is a folder")
    if stat.S_ISLNK(status.st_mode):
        raise ToolFailed(f"{path!r} is outside the workspace: it leads through a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise ToolFailed(f"{path!r} is not a file but a device, a pipe or a socket")
    return stat.S_IMODE(status.st_mode) & 0o777


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            f"{_printable(entry.name)}/" if entry.is_dir(follow_symlinks=False)
            else _printable(entry.name)
            for entry in entries
            if not TEMPORARY.fullmatch(entry.name)
        )  # fmt: skip


def _printable(name: str) -> str:
    """Return a name on one line and without bytes that are not text."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "?", name)


def _no_file(folder: int, path: str, parts: Sequence[str]) -> str:
    """Say that a file is missing, and which names are like it."""
    text = f"there is no file {path!r}"
    try:
        opened = open_beneath(folder, parts[:-1], FOLDER)
    except OSError:
        return text
    try:
        names = _names(opened)[:MOST_ENTRIES]
    finally:
        os.close(opened)
    similar = difflib.get_close_matches(parts[-1], names, n=3) if parts else []
    similar = ["/".join([*parts[:-1], name]) for name in similar]
    return f"{text}; there is {', '.join(map(repr, similar))}" if similar else text
