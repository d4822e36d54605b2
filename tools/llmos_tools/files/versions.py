"""Versions: what a file held before it was written over, whole, in a hidden folder.

Each version of a file is a file of its own, numbered upwards and never changed, so that no crash
can lose or mix them. `at` names the version that was brought back last: as long as the file still
holds just that, the version before it is the next one to bring back.
Not covered: how much room versions take; none is ever deleted.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

from llmos_tools.files.beneath import FOLDER, make_folders, open_beneath
from llmos_tools.files.workspace import READ, VERSIONS, opened

AT = "at"
NUMBER = re.compile(r"[0-9]{8}")


class History:
    """The versions of one file, in an open folder. Only one caller at a time may change it."""

    def __init__(self, folder: int) -> None:
        self._folder = folder

    @property
    def numbers(self) -> list[int]:
        """The versions there are, the oldest first."""
        with os.scandir(self._folder) as found:
            return sorted(int(item.name) for item in found if NUMBER.fullmatch(item.name))

    def keep(self, present: int) -> int:
        """Copy an open file, unless the newest version is the same, and return its number."""
        with suppress(FileNotFoundError):
            os.unlink(AT, dir_fd=self._folder)
        newest = max(self.numbers, default=0)
        if newest and self._is_same(present, newest):
            return newest
        os.lseek(present, 0, os.SEEK_SET)
        with os.fdopen(present, "rb", closefd=False) as source:
            replace(self._folder, _name(newest + 1), source)
        return newest + 1

    def before(self, present: int | None) -> int | None:
        """Return the version to bring back; the present one, where there is one, is kept first."""
        numbers, at = self.numbers, self._at()
        if present is None:
            return at if at in numbers else max(numbers, default=None)
        if at not in numbers or not self._is_same(present, at):
            at = self.keep(present)
        return max((number for number in numbers if number < at), default=None)

    def bring_back(self, number: int, parent: int, name: str, mode: int | None) -> None:
        """Put a version in the place of the file `name` in the open folder `parent`."""
        replace(self._folder, AT, io.BytesIO(str(number).encode()))
        with (
            opened(self._folder, [_name(number)], READ) as version,
            os.fdopen(version, "rb", closefd=False) as source,
        ):
            replace(parent, name, source, mode)

    def _at(self) -> int:
        """Return the version that was brought back last, 0 for none."""
        try:
            with opened(self._folder, [AT], READ) as file:
                return int(os.read(file, 20))
        except (FileNotFoundError, ValueError):
            return 0

    def _is_same(self, present: int, number: int) -> bool:
        with opened(self._folder, [_name(number)], READ) as version:
            return digest_of(version) == digest_of(present)


@contextmanager
def history_of(
    workspace: int, parts: Sequence[str], *, is_made: bool = False
) -> Generator[History]:
    """Lend the history of a file.

    Raises:
        FileNotFoundError: it has none, and it is not to be made.
    """
    name = hashlib.sha256(os.fsencode("/".join(parts))).hexdigest()[:32]
    way = (VERSIONS, name)
    folder = make_folders(workspace, way) if is_made else open_beneath(workspace, way, FOLDER)
    try:
        yield History(folder)
    finally:
        os.close(folder)


def replace(parent: int, name: str, source: BinaryIO, mode: int | None = None) -> None:
    """Write a file under another name and rename it, so that it is never seen half written."""
    temporary = f".llmos-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666, dir_fd=parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        os.unlink(temporary, dir_fd=parent)
        raise
    with suppress(OSError):  # not every file system can, and the file has been replaced by now
        os.fsync(parent)


def digest_of(file: int) -> bytes:
    """Return the SHA-256 of an open file from its beginning."""
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb", closefd=False) as source:
        return hashlib.file_digest(source, "sha256").digest()


def _name(number: int) -> str:
    return f"{number:08}"
