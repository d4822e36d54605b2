"""Files between a workspace and a sandbox: what the code finds, and what it leaves behind.

Covered: only whole files of the workspace alone are shown, never through a link; hidden ones stay
hidden. What comes back was written by code that may be hostile: its paths are checked as those of
`write_file` are, its sizes bounded, and what it writes over is kept as a version.
Not covered: files that the code deletes; they stay in the workspace.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from llmos.sdk import CallContext, ToolFailed
from llmos_tools.files.workspace import (
    READ,
    Entry,
    check_readable,
    explained,
    opened,
    parts_of,
    walk,
    workspace_of,
)
from llmos_tools.files.writing import put
from llmos_tools.python.limits import FILE_BYTES, FILES_BYTES, MOST_FILES, MOST_SHOWN, PART_BYTES
from llmos_tools.python.session import Session


@dataclass(frozen=True, slots=True)
class Left:
    """What a run left behind: files that it made or changed, the names it uses, and notes."""

    files: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Exchange:
    """The files that one sandbox has been shown, by path, with their state at that time."""

    _shown: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    async def show(self, session: Session, code: str, context: CallContext) -> list[str]:
        """Send what is new in the workspace; return notes on files that the code names in vain."""
        unseen: list[str] = []
        with workspace_of(context) as folder:
            states = await asyncio.to_thread(lambda: dict(_states(folder)))
            for path in self._shown.keys() - states.keys():
                await session.ask_desk(f"drop({path!r})")
                del self._shown[path]
            room = FILES_BYTES
            for path, state in states.items():
                if self._shown.get(path) == state:
                    continue
                room -= state[1]
                if state[1] <= FILE_BYTES and room >= 0 and await _send(session, folder, path):
                    self._shown[path] = state
                else:
                    unseen.append(path)
        return [
            f"[{path} is not visible to Python: it is too large]" for path in unseen if path in code
        ]

    async def fetch(self, session: Session, context: CallContext) -> Left:
        """Save in the workspace what the code has made or changed."""
        report = _report_of(await session.ask_desk("report()"))
        saved: list[str] = []
        notes: list[str] = []
        room = FILES_BYTES
        for path in report.files:
            data = await _receive(session, path, min(room, FILE_BYTES))
            if data is None:
                notes.append(f"[{path!r} was not saved: it is too large, or cannot be read]")
                continue
            room -= len(data)
            try:
                is_changed = await asyncio.to_thread(self._save, path, data, context)
            except ToolFailed as error:
                notes.append(f"[not saved: {error}]")
            else:
                saved += [path] if is_changed else []
        return Left(tuple(saved), report.names, (*notes, *report.notes))

    def _save(self, path: str, data: bytes, context: CallContext) -> bool:
        parts = parts_of(path)
        if not parts:
            raise ToolFailed(f"{path!r} is no file")
        digest = hashlib.sha256(data).digest()
        with (
            workspace_of(context, is_changed=True) as folder,
            explained(path, lambda: f"{path!r} cannot be made"),
        ):
            is_changed = put(folder, parts, io.BytesIO(data), digest)
            with opened(folder, parts, READ) as file:
                self._shown["/".join(parts)] = _state(os.fstat(file))
        return is_changed


def _states(folder: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the visible files of a workspace with what tells whether they have changed."""
    visible = (entry for entry in walk(folder) if not entry.is_folder and _is_visible(entry))
    for entry in islice(visible, MOST_SHOWN):
        try:
            with opened(folder, entry.parts, READ) as file:
                status = os.fstat(file)
                check_readable(entry.shown, status)
        except (OSError, ToolFailed):
            continue
        yield "/".join(entry.parts), _state(status)


def _is_visible(entry: Entry) -> bool:
    path = "/".join(entry.parts)
    return path.isprintable() and not any(part.startswith(".") for part in entry.parts)


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


async def _send(session: Session, folder: int, path: str) -> bool:
    try:
        with (
            opened(folder, path.split("/"), READ) as descriptor,
            os.fdopen(descriptor, "rb", closefd=False) as file,
        ):
            check_readable(path, os.fstat(descriptor))
            data = file.read(FILE_BYTES + 1)
    except (OSError, ToolFailed):
        return False
    if len(data) > FILE_BYTES:
        return False
    for start in range(0, max(len(data), 1), PART_BYTES):
        part = base64.b64encode(data[start : start + PART_BYTES]).decode()
        if await session.ask_desk(f"take({path!r}, {part!r}, {start == 0})") is None:
            return False
    return True


async def _receive(session: Session, path: str, limit: int) -> bytes | None:
    """Return a file of the sandbox, None if it is longer than the limit or not given."""
    data = bytearray()
    while len(data) <= limit:
        answer = await session.ask_desk(f"give({path!r}, {len(data)}, {PART_BYTES})")
        try:
            part = base64.b64decode(answer or "!", validate=True) if answer != "" else b""
        except ValueError:
            return None
        data += part
        if len(part) < PART_BYTES:
            return bytes(data) if len(data) <= limit else None
    return None


def _report_of(said: str | None) -> Left:
    """Read the desk's report, whatever the code has made of it."""
    try:
        report: Any = json.loads(said or "")
    except (ValueError, RecursionError):
        report = None
    match report:
        case {"changed": list(changed), "names": list(names), "num_changed": int(num_changed)}:
            files = tuple(path for path in changed[:MOST_FILES] if isinstance(path, str))
            known = tuple(n for n in names[:100] if isinstance(n, str) and n.isidentifier())
            more = num_changed - len(files)
            notes = (f"[{more} more files were not saved]",) if more > 0 else ()
            return Left(files, known, notes)
        case _:
            return Left(notes=("[the files could not be looked through: Python does not answer]",))
