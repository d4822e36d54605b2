"""The pages that were read, kept for searching them again without a network.

Covered: several kernels at once; any text as a query. Knows neither browser nor workspace.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmos.sdk import ToolFailed

FILE = "pages.db"
MOST_PAGES = 5_000
MOST_CHARS = 200_000
MOST_WORDS = 20
_SCHEMA = """
CREATE VIRTUAL TABLE IF NOT EXISTS page USING fts5(url UNINDEXED, title, text);
"""
_MARKS = ("", "", " ... ", 24)


@dataclass(frozen=True, slots=True)
class Found:
    """One result of a search. `place` is a URL, or a file of the workspace."""

    title: str
    place: str
    snippet: str


class SeenPages:
    """The index of pages in the state folder."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE

    def add(self, url: str, title: str, text: str) -> None:
        """Keep a page, in the place of what it was before. The oldest go beyond the limit.

        Raises:
            ToolFailed: the index cannot be written.
        """
        with self._opened() as connection, connection:
            connection.execute("DELETE FROM page WHERE url = ?", (url,))
            connection.execute("INSERT INTO page VALUES (?, ?, ?)", (url, title, text[:MOST_CHARS]))
            connection.execute(
                "DELETE FROM page WHERE rowid IN "
                "(SELECT rowid FROM page ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                (MOST_PAGES,),
            )

    def search(self, query: str, limit: int) -> list[Found]:
        """Return the pages that fit best, best first.

        Raises:
            ToolFailed: the index cannot be read.
        """
        if not self._path.exists():
            return []
        with self._opened() as connection:
            return ranked(connection, query, limit)

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=10)
            try:
                connection.executescript(_SCHEMA)
                yield connection
            finally:
                connection.close()
        except (OSError, sqlite3.Error) as error:
            raise ToolFailed(
                f"the pages read before cannot be used ({self._path}: {error})"
            ) from error


def search_texts(texts: Iterable[tuple[str, str]], query: str, limit: int) -> list[Found]:
    """Search texts, each with its place, that are indexed for this search alone."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_SCHEMA)
        connection.executemany(
            "INSERT INTO page VALUES (?, ?, ?)", ((place, place, text) for place, text in texts)
        )
        return ranked(connection, query, limit)
    finally:
        connection.close()


def ranked(connection: sqlite3.Connection, query: str, limit: int) -> list[Found]:
    """Return the best of the pages that hold a word of the query; a match of more ranks higher."""
    words = re.findall(r"\w+", query)[:MOST_WORDS]
    if not words:
        return []
    rows = connection.execute(
        "SELECT title, url, snippet(page, 2, ?, ?, ?, ?) FROM page WHERE page MATCH ? "
        "ORDER BY bm25(page, 0, 4, 1) LIMIT ?",
        (*_MARKS, " OR ".join(f'"{word}"' for word in words), limit),
    )
    return [Found(title, place, " ".join(snippet.split())) for title, place, snippet in rows]
