"""The append-only record of all that happens, in SQLite (WAL), and blobs by content hash.

Knows no process state beyond what its events say. Every view (`ps`, `strace`) is a query here.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmos_kernel.abi import blob_handle
from llmos_kernel.errors import StateError, ToolFailed

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE processes (
    pid INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    kernel_pid INTEGER NOT NULL,
    kernel_start TEXT NOT NULL,
    time REAL NOT NULL
);
CREATE TABLE events (
    pid INTEGER NOT NULL REFERENCES processes,
    seq INTEGER NOT NULL,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (pid, seq)
) WITHOUT ROWID;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
"""
PROCESSES = """
SELECT p.pid, p.task, p.model, p.time, p.kernel_pid, p.kernel_start,
    (SELECT body FROM events e WHERE e.pid = p.pid AND e.kind = 'state' ORDER BY seq DESC LIMIT 1)
FROM processes p
"""
TOLD_BLOBS = """
SELECT DISTINCT json_extract(body, '$.blob') FROM events
WHERE pid = ? AND kind = 'tool_result' AND json_extract(body, '$.blob') IS NOT NULL
"""
USAGE = """
SELECT
    (SELECT json_extract(body, '$.parent') FROM events WHERE pid = :pid AND seq = 0),
    (SELECT json_extract(body, '$.nice') FROM events
        WHERE pid = :pid AND kind IN ('spawn', 'renice') ORDER BY seq DESC LIMIT 1),
    (SELECT SUM(json_array_length(body, '$.tokens')) FROM events
        WHERE pid = :pid AND kind = 'step')
"""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One event of one process; `seq` counts from 0 within the process, `time` is Unix time."""

    pid: int
    seq: int
    time: float
    kind: str
    body: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "event": self.kind,
            **self.body,
            "pid": self.pid,
            "seq": self.seq,
            "time": self.time,
        }


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What the journal knows of a process. `is_kernel_alive` is meaningful on this machine only."""

    pid: int
    state: str
    exit_status: str | None
    task: str
    model: str
    time: float
    is_kernel_alive: bool
    kernel_pid: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process's events say of it, up to its last journalled step."""

    parent: int | None
    nice: int
    num_tokens: int


class Journal:
    """One connection. Use from one thread."""

    def __init__(self, path: Path, *, first_pid: int = 1, is_read_only: bool = False) -> None:
        """Open the journal, making it where there is none; its pids then begin at `first_pid`.

        One opened to read only leaves the disk as it is; where there is no file, it is empty.

        Raises:
            StateError: the file cannot be used, is not a journal, or is of a newer version.
        """
        self.path = path
        self._is_durable: bool | None = None
        with explained(path):
            if is_read_only and path.exists():
                self._connection = _connected_to_read(path)
            elif is_read_only:
                self._connection = sqlite3.connect(":memory:", isolation_level=None)
                self._prepare(first_pid)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
                path.chmod(0o600)
                self._prepare(first_pid)
            self._check_version()

    def _check_version(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            self._connection.close()
            raise StateError(f"{self.path} was written by a newer llmos; update llmos")

    def _prepare(self, first_pid: int) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("BEGIN IMMEDIATE")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in SCHEMA.split(";"):
                self._connection.execute(statement)
            self._connection.execute(
                "INSERT INTO sqlite_sequence VALUES ('processes', ?)", (first_pid - 1,)
            )
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()

    def add_process(self, task: str, model: str, *, events: Iterable[JournalEvent] = ()) -> int:
        """Record a new process with the events that its life begins with; all of it or nothing.

        Return its pid; pids are never used again.
        """
        owner = os.getpid()
        with explained(self.path), self._transaction(is_durable=False):
            cursor = self._connection.execute(
                "INSERT INTO processes (task, model, kernel_pid, kernel_start, time)"
                " VALUES (?, ?, ?, ?, ?)",
                (task, model, owner, _start_mark(owner), time.time()),
            )
            pid = cursor.lastrowid
            self._connection.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
                [(pid, e.seq, e.time, e.kind, json.dumps(e.body)) for e in events],
            )
        if pid is None:
            raise StateError(f"{self.path} gave no pid")
        return pid

    def take_over(self, pid: int) -> None:
        """Make this kernel the owner of a process whose own kernel is gone.

        Raises:
            StateError: there is no such process, or the kernel that runs it is alive.
        """
        owner = os.getpid()
        with explained(self.path), self._transaction(is_durable=True):
            record = self.process(pid)
            if record.is_kernel_alive and record.kernel_pid != owner:
                raise StateError(
                    f"process {pid} is run by a living kernel (host process {record.kernel_pid}); "
                    "end that one first"
                )
            self._connection.execute(
                "UPDATE processes SET kernel_pid = ?, kernel_start = ? WHERE pid = ?",
                (owner, _start_mark(owner), pid),
            )

    @contextmanager
    def _transaction(self, *, is_durable: bool) -> Generator[None]:
        """Do all that the block does, before any other writer, or nothing of it."""
        self._set_durable(is_durable)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def append(
        self, pid: int, kind: str, body: dict[str, Any], *, is_durable: bool = False
    ) -> JournalEvent:
        """Append an event. A durable one is on the disk when this returns (`synchronous=FULL`)."""
        now = time.time()
        text = json.dumps(body, ensure_ascii=True)
        with explained(self.path):
            self._set_durable(is_durable)
            row = self._connection.execute(
                "INSERT INTO events SELECT ?1, COALESCE(MAX(seq) + 1, 0), ?2, ?3, ?4"
                " FROM events WHERE pid = ?1 RETURNING seq",
                (pid, now, kind, text),
            ).fetchone()
        return JournalEvent(pid, row[0], now, kind, body)

    def _set_durable(self, is_durable: bool) -> None:
        if is_durable is not self._is_durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._is_durable = is_durable

    def store_blob(self, data: bytes) -> str:
        """Keep data under its SHA-256, which is returned in hexadecimal."""
        digest = hashlib.sha256(data).hexdigest()
        with explained(self.path):
            self._connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (digest, data))
        return digest

    def blob(self, digest: str) -> bytes:
        """Return a blob by its hash or a unique beginning of it.

        Raises:
            StateError: there is none, or more than one.
        """
        rows = self._connection.execute(
            "SELECT data FROM blobs WHERE digest GLOB ? || '*' LIMIT 2", (digest,)
        ).fetchall()
        if len(rows) != 1:
            raise StateError(f"there is no single blob {digest!r}")
        return rows[0][0]

    def told_blobs(self, pid: int) -> list[str]:
        """Return the hashes of the outputs that a process was shown the heads of."""
        return [digest for (digest,) in self._connection.execute(TOLD_BLOBS, (pid,))]

    def events(self, pid: int, *, since: int = 0) -> Iterator[JournalEvent]:
        """Yield a process's events in order, from its event `since`.

        Raises:
            StateError: there is no such process.
        """
        self.process(pid)
        rows = self._connection.execute(
            "SELECT pid, seq, time, kind, body FROM events WHERE pid = ? AND seq >= ? ORDER BY seq",
            (pid, since),
        )
        for pid_, seq, moment, kind, body in rows:
            yield JournalEvent(pid_, seq, moment, kind, json.loads(body))

    def process(self, pid: int) -> ProcessRecord:
        """Return what is known of one process.

        Raises:
            StateError: there is no such process.
        """
        rows = self._connection.execute(f"{PROCESSES} WHERE p.pid = ?", (pid,)).fetchall()
        if not rows:
            raise StateError(f"there is no process {pid}; `llmos ps --all` lists them")
        return _record(rows[0])

    def processes(self) -> list[ProcessRecord]:
        """Return all processes, oldest first, in the state that their last events give."""
        rows = self._connection.execute(f"{PROCESSES} ORDER BY p.pid").fetchall()
        return [_record(row) for row in rows]

    def usage(self, pid: int) -> Usage:
        """Return what a process's events say of its share of the model and its use of it."""
        parent, nice, num_tokens = self._connection.execute(USAGE, {"pid": pid}).fetchone()
        return Usage(parent, nice or 0, num_tokens or 0)

    def parent(self, pid: int) -> int | None:
        """Return the pid of the process that spawned a process, if one did."""
        row = self._connection.execute(
            "SELECT json_extract(body, '$.parent') FROM events WHERE pid = ? AND seq = 0", (pid,)
        ).fetchone()
        return row[0] if row else None

    def children(self, pid: int) -> list[int]:
        """Return the pids of the processes that a process has spawned, oldest first."""
        rows = self._connection.execute(
            "SELECT p.pid FROM processes p JOIN events e ON e.pid = p.pid AND e.seq = 0"
            " WHERE p.pid > ?1 AND json_extract(e.body, '$.parent') = ?1 ORDER BY p.pid",
            (pid,),
        )
        return [child for (child,) in rows]


def _connected_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal without writing. One on a read-only disk, with nothing left in its write-ahead
    log, can only be read as one that nobody changes.
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    return connection


def told_blob(path: Path, pid: int, handle: str) -> str:
    """Return the whole of an output whose head and handle a process was shown. From any thread.

    Raises:
        ToolFailed: none of the process's results told it this handle.
        StateError: the journal cannot be read.
    """
    with closing(Journal(path, is_read_only=True)) as journal:
        for digest in journal.told_blobs(pid):
            if blob_handle(digest) == handle:
                return journal.blob(digest).decode(errors="surrogatepass")
    raise ToolFailed(f"there is no {handle!r}: give the name as it stands where the text was cut")


def _record(row: tuple[Any, ...]) -> ProcessRecord:
    pid, task, model, moment, kernel_pid, kernel_start, state_body = row
    body: dict[str, Any] = json.loads(state_body) if state_body else {"state": "NEW"}
    is_alive = _start_mark(kernel_pid) == kernel_start
    return ProcessRecord(
        pid, body["state"], body.get("exit"), task, model, moment, is_alive, kernel_pid
    )


def _start_mark(kernel_pid: int) -> str:
    """Return what tells one life of a host pid from the next: boot and start time, else ''."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{kernel_pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    is_zombie = fields[0] == "Z"
    return "" if is_zombie else f"{boot}:{fields[19]}"


@contextmanager
def explained(path: Path, name: str = "journal") -> Generator[None]:
    """Turn what goes wrong with a data base at `path`, or its folder, into a `StateError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StateError(
            f"the {name} {path} cannot be used ({error}); free space or mend its "
            "permissions, or set LLMOS_HOME to another folder"
        ) from error
    except OSError as error:
        raise StateError(
            f"the state folder {path.parent} cannot be used ({error.strerror}); make it writable, "
            "or set LLMOS_HOME to another folder"
        ) from error
