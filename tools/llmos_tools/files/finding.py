"""`list_files` and `find_text`: what a workspace holds, and where a text stands in it.

Knows names and lines only. A search ends at a number of hits and at a time, and says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache

from llmos.sdk import CallContext, RetryCall, ToolFailed, tool
from llmos_tools.files.beneath import FOLDER
from llmos_tools.files.workspace import (
    READ,
    Entry,
    check_readable,
    entries,
    explained,
    opened,
    parts_of,
    walk,
    workspace_of,
)

MOST_ENTRIES = 500
MOST_HITS = 100
MOST_HIT_CHARS = 3500
LINE_CHARS = 160
SEARCHED_BYTES = 32 << 20
SEARCH_LIMIT_S = 10.0
MAGIC = frozenset("*?[")


@tool(effects=(), is_repeatable=True, max_concurrent=None)
def list_files(context: CallContext, path: str | None = None) -> str:
    """List the files of the workspace.

    Args:
        path: a folder
    """
    shown = path or "."
    parts = parts_of(shown)
    with (
        workspace_of(context) as folder,
        explained(shown, lambda: f"there is no folder {shown!r}"),
    ):
        if MAGIC & set(shown) and not _is_folder(folder, parts):
            names = _matching(folder, shown, parts)
        else:
            with opened(folder, parts, FOLDER) as inner:
                names = [entry.shown for entry in entries(inner)]
    more = [f"and {len(names) - MOST_ENTRIES} more"] if len(names) > MOST_ENTRIES else []
    return "\n".join(names[:MOST_ENTRIES] + more) or "empty"


@tool(
    effects=(),
    is_repeatable=True,
    max_concurrent=None,
    keywords=(
        "grep", "locate", "look", "search", "mention", "line", "occur", "occurrence", "contain",
        "written", "wrote", "say", "scan", "appear", "anywhere",
    ),
)  # fmt: skip
def find_text(text: str, context: CallContext, path: str | None = None) -> str:
    """Find text in the files of the workspace.

    Args:
        text: the text
        path: a folder
    """
    if not text.strip() or "\n" in text:
        raise RetryCall(f"{text[:80]!r} cannot be looked for: give words of one line")
    shown = path or "."
    parts = parts_of(shown)
    search = _Search(text)
    with (
        workspace_of(context) as folder,
        explained(shown, lambda: f"there is nothing at {shown!r}"),
    ):
        for entry in _files_at(folder, parts):
            if not search.goes_on:
                break
            search.look_into(folder, entry)
    return search.report()


class _Search:
    """One search: what was found so far, and what was passed over."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._wanted = text.casefold()
        self._until = time.monotonic() + SEARCH_LIMIT_S
        self._hits: list[str] = []
        self._num_files = 0
        self._unread: list[str] = []

    @property
    def goes_on(self) -> bool:
        has_room = len(self._hits) < MOST_HITS and sum(map(len, self._hits)) < MOST_HIT_CHARS
        return has_room and time.monotonic() < self._until

    def look_into(self, folder: int, entry: Entry) -> None:
        """Search one file; what cannot be read as text is only noted."""
        try:
            with opened(folder, entry.parts, READ) as file:
                status = os.fstat(file)
                check_readable(entry.shown, status)
                if status.st_size > SEARCHED_BYTES:
                    raise ToolFailed(f"{entry.shown!r} is too large")
                with os.fdopen(file, "rb", closefd=False) as stream:
                    content = stream.read(SEARCHED_BYTES).decode()
                if "\0" in content:
                    raise ToolFailed(f"{entry.shown!r} is not text")
        except (OSError, UnicodeDecodeError, ToolFailed):
            self._unread.append(entry.shown)
            return
        self._num_files += 1
        if self._wanted in content.casefold():
            self._take_lines(entry.shown, content)

    def _take_lines(self, name: str, content: str) -> None:
        for number, line in enumerate(content.split("\n"), 1):
            if not self.goes_on:
                return
            if self._wanted in line.casefold():
                self._hits.append(f"{name}:{number}: {self._clipped(line.strip())}")

    def _clipped(self, line: str) -> str:
        if len(line) <= LINE_CHARS:
            return line
        start = max(0, line.casefold().find(self._wanted) - LINE_CHARS // 2)
        before, after = "..." * (start > 0), "..." * (start + LINE_CHARS < len(line))
        return f"{before}{line[start : start + LINE_CHARS]}{after}"

    def report(self) -> str:
        lines = self._hits or [f"{self._text!r} is in none of {self._num_files} files"]
        if not self.goes_on:
            lines.append("[there may be more: give a folder, or more of the text]")
        if self._unread:
            names = ", ".join(self._unread[:3]) + (", ..." if len(self._unread) > 3 else "")
            lines.append(f"[not searched, since not text or too large: {names}]")
        return "\n".join(lines)


def _files_at(folder: int, parts: Sequence[str]) -> Iterator[Entry]:
    """Yield the files beneath a folder, or the one that is there itself."""
    if not _is_folder(folder, parts):
        with opened(folder, parts, READ):
            yield Entry(tuple(parts), is_folder=False)
        return
    with opened(folder, parts, FOLDER) as inner:
        yield from (entry for entry in walk(inner, tuple(parts)) if not entry.is_folder)


def _is_folder(folder: int, parts: Sequence[str]) -> bool:
    try:
        with opened(folder, parts, FOLDER):
            return True
    except OSError:
        return False


def _matching(folder: int, pattern: str, parts: list[str]) -> list[str]:
    """Return what a pattern such as `docs/**/*.md` matches.

    Raises:
        ToolFailed: it matches nothing.
    """
    patterns = (*parts, "*") if parts[-1] == "**" else tuple(parts)
    all_entries = list(walk(folder))
    names = [entry.shown for entry in all_entries if is_match(entry.parts, patterns)]
    if names:
        return names
    num_deeper = sum(is_match(entry.parts, ("**", *patterns)) for entry in all_entries)
    deeper = f"; '**/{pattern}' matches {num_deeper}" if num_deeper else ""
    raise ToolFailed(f"nothing matches {pattern!r}{deeper}")


def is_match(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Match a path's components; `**` stands for any number of them, none included."""

    @cache
    def matches_from(part: int, pattern: int) -> bool:
        if pattern == len(patterns):
            return part == len(parts)
        if patterns[pattern] == "**" and matches_from(part, pattern + 1):
            return True
        if part == len(parts):
            return False
        if patterns[pattern] == "**":
            return matches_from(part + 1, pattern)
        return fnmatchcase(parts[part], patterns[pattern]) and matches_from(part + 1, pattern + 1)

    return matches_from(0, 0)
