"""Facts in SQLite, found by their words: full-text search ranked by BM25 and recency.

Any number of kernels may use one file at once. Knows neither processes nor how facts are shown.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from llmos.sdk import Label, ToolFailed

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE facts (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    pid INTEGER NOT NULL,
    time REAL NOT NULL,
    forgotten REAL
);
CREATE INDEX facts_by_time ON facts (time) WHERE forgotten IS NULL;
CREATE INDEX facts_forgotten ON facts (forgotten) WHERE forgotten IS NOT NULL;
CREATE VIRTUAL TABLE words USING fts5(
    text, content='facts', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
);
"""
# More matches than this are not ranked but taken newest first: BM25 reads every match of a word.
MOST_RANKED = 2000
MOST_WORDS = 24
# A fact of this age counts half as much more for being new as one of today.
RECENT_S = 30 * 86_400
KEPT_FORGOTTEN_S = 30 * 86_400
STOP_WORDS = frozenset(
    "a about all am an and any are as at be been but by can did do does for from had has have he "
    "her him his how i if in is it its know me my no not of on or our please she so tell that the "
    "their them then there they this to us was we were what when where which who whose why will "
    "with you your".split()
)
RANKED = """
SELECT f.text, f.label, f.pid, f.time
FROM words JOIN facts f ON f.id = words.rowid
WHERE words MATCH :match
ORDER BY bm25(words) * (1 + 1 / (1 + MAX(0, :now - f.time) / :recent)), f.time DESC LIMIT :limit
"""
LATEST = """
SELECT f.text, f.label, f.pid, f.time
FROM (SELECT rowid FROM words WHERE words MATCH :match ORDER BY rowid DESC LIMIT :limit) AS found
JOIN facts f ON f.id = found.rowid ORDER BY f.time DESC
"""
NEWEST = """
SELECT text, label, pid, time FROM facts WHERE forgotten IS NULL
ORDER BY time DESC, id DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact; `pid` is the process that kept it last, `time` when (Unix time)."""

    text: str
    label: Label
    pid: int
    time: float


class FactStore:
    """One open connection; use from one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, fact: Fact) -> bool:
        """Keep a fact and return whether it is new.

        One that says the same is made newer, and trusted if either is; one that was forgotten
        comes back.
        """
        with self._transaction():
            found = self._connection.execute(
                "SELECT id, label, forgotten FROM facts WHERE key = ?", (_key(fact.text),)
            ).fetchone()
            if found is None:
                self._insert(fact)
                return True
            number, label, forgotten = found
            merged = Label.TRUSTED if Label.TRUSTED in (Label(label), fact.label) else fact.label
            if forgotten is not None:
                merged = fact.label
                self._index(number)
            self._connection.execute(
                "UPDATE facts SET label = ?, pid = ?, time = ?, forgotten = NULL WHERE id = ?",
                (merged.value, fact.pid, fact.time, number),
            )
            return forgotten is not None

    def add_all(self, facts: Iterable[Fact]) -> None:
        """Keep facts that are all new, together."""
        with self._transaction():
            for fact in facts:
                self._insert(fact)

    def _insert(self, fact: Fact) -> None:
        cursor = self._connection.execute(
            "INSERT INTO facts (text, key, label, pid, time) VALUES (?, ?, ?, ?, ?)",
            (fact.text, _key(fact.text), fact.label.value, fact.pid, fact.time),
        )
        self._index(cursor.lastrowid)

    def _index(self, number: int | None) -> None:
        self._connection.execute(
            "INSERT INTO words (rowid, text) SELECT id, text FROM facts WHERE id = ?", (number,)
        )

    def search(self, query: str, *, now: float, limit: int) -> list[Fact]:
        """Return the facts that share words with a query, best first.

        Of a query without words of its own, such as "what do you know", the newest facts.
        """
        words = _words(query)
        if not words:
            return self.newest(limit)
        counts = sorted((count, word) for word in words if (count := self._count(word)))
        if not counts:
            return []
        if counts[0][0] == MOST_RANKED:
            match = " AND ".join(word for _, word in counts)
            return self._latest(match, limit) or self._latest(counts[0][1], limit)
        return self._ranked(" OR ".join(_telling(counts)), now, limit)

    def matching_all(self, text: str, *, limit: int) -> list[Fact]:
        """Return the facts that hold every word of a text, or the one that equals it."""
        row = self._connection.execute(
            "SELECT text, label, pid, time FROM facts WHERE key = ? AND forgotten IS NULL",
            (_key(text),),
        ).fetchone()
        if row:
            return [_fact(row)]
        words = _words(text)
        return self._latest(" AND ".join(words), limit) if words else []

    def newest(self, limit: int) -> list[Fact]:
        return [_fact(row) for row in self._connection.execute(NEWEST, (limit,))]

    def forget(self, fact: Fact, *, now: float) -> None:
        """Take a fact out of every search. Its text is deleted after 30 days, unless it is kept
        again before.
        """
        with self._transaction():
            key = _key(fact.text)
            self._connection.execute(
                "INSERT INTO words (words, rowid, text) SELECT 'delete', id, text FROM facts"
                " WHERE key = ? AND forgotten IS NULL",
                (key,),
            )
            self._connection.execute("UPDATE facts SET forgotten = ? WHERE key = ?", (now, key))
            self._connection.execute(
                "DELETE FROM facts WHERE forgotten < ?", (now - KEPT_FORGOTTEN_S,)
            )

    def _count(self, word: str) -> int:
        (count,) = self._connection.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)",
            (word, MOST_RANKED),
        ).fetchone()
        return count

    def _ranked(self, match: str, now: float, limit: int) -> list[Fact]:
        values: dict[str, Any] = {
            "match": match,
            "now": now,
            "recent": RECENT_S,
            "limit": limit,
        }
        return [_fact(row) for row in self._connection.execute(RANKED, values)]

    def _latest(self, match: str, limit: int) -> list[Fact]:
        rows = self._connection.execute(LATEST, {"match": match, "limit": limit})
        return [_fact(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            yield


@contextmanager
def opened(path: Path) -> Generator[FactStore]:
    """Open the facts at a path for the length of the block, making them where there are none.

    Raises:
        ToolFailed: the file cannot be used; the message says what to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            _prepare(connection, path)
            yield FactStore(connection)
        finally:
            connection.close()
    except (sqlite3.DatabaseError, OSError) as error:
        raise ToolFailed(
            f"the memory {path} cannot be used ({error}); free space, mend its permissions, or set "
            "LLMOS_HOME to another folder"
        ) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise ToolFailed(f"the memory {path} was written by a newer llmos; update llmos")
    if version == SCHEMA_VERSION:
        return
    path.chmod(0o600)
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _fact(row: tuple[str, str, int, float]) -> Fact:
    text, label, pid, time = row
    return Fact(text, Label(label), pid, time)


def _key(text: str) -> str:
    """Return what two facts that say the same in the same words share."""
    return " ".join(text.casefold().split()).rstrip(".!") or text


def _telling(counts: list[tuple[int, str]]) -> list[str]:
    """Return the words with the fewest matches, as many as can be ranked together."""
    totals = accumulate(count for count, _ in counts)
    return [word for (_, word), total in zip(counts, totals, strict=True) if total <= MOST_RANKED]


def _words(text: str) -> list[str]:
    """Return the words of a text, each quoted for a query, without those that tell nothing."""
    found = dict.fromkeys(re.findall(r"\w+", text.casefold()))
    return [f'"{word}"' for word in found if word not in STOP_WORDS][:MOST_WORDS]
