"""Opening what lies beneath a folder, and nothing else, by `openat2` or step by step.

Covered: `..`, absolute paths, symbolic links as any component and their exchange while the path
is walked (the kernel resolves it, or each component is opened without following links).
Not covered: hard links and mounts inside the folder; a caller checks what it has opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

OPENAT2 = 437  # the same on every architecture
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, parts: Sequence[str], flags: int) -> int:
    """Open `parts`, walked from an open folder; none of them opens the folder itself.

    `parts` hold no separator and neither `.` nor `..`. The caller closes what it gets.

    Raises:
        OSError: as from `open`; `ELOOP` or `ENOTDIR` for a symbolic link.
    """
    if has_openat2():
        return _open_at_once(folder, "/".join(parts) or ".", flags)
    return _open_by_steps(folder, parts, flags)


def make_folders(folder: int, parts: Sequence[str]) -> int:
    """Open the folder `parts`, made where it is missing; links are not followed."""
    here = os.dup(folder)
    for part in parts:
        try:
            below = _make_folder(here, part)
        finally:
            os.close(here)
        here = below
    return here


@cache
def has_openat2() -> bool:
    """Tell whether the system call exists and is not filtered."""
    folder = os.open("/", FOLDER)
    try:
        os.close(_open_at_once(folder, ".", FOLDER))
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


def _open_at_once(folder: int, path: str, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE)
    name = ctypes.c_char_p(os.fsencode(path))
    number = _syscall()(OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how))
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return number


@cache
def _syscall() -> ctypes._NamedFuncPointer:  # pyright: ignore[reportPrivateUsage]
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.argtypes = (
        ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t
    )  # fmt: skip
    function.restype = ctypes.c_long
    return function


def _open_by_steps(folder: int, parts: Sequence[str], flags: int) -> int:
    *parents, name = parts or (".",)
    here = os.dup(folder)
    try:
        for part in parents:
            below = os.open(part, FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)


def _make_folder(here: int, part: str) -> int:
    try:
        return os.open(part, FOLDER, dir_fd=here)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    # Another process may have made it, or put something else there, which `open` refuses.
    with suppress(FileExistsError):
        os.mkdir(part, dir_fd=here)
    return os.open(part, FOLDER, dir_fd=here)
