"""Schedules in SQLite, shared by all kernels of a state folder, and who runs what is due.

Covered: a run is claimed, and its schedule moved on, in one transaction; whoever holds the lock of
`claiming` knows that a claim without a process is of a kernel that died or failed. Runs nothing.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tzlocal import get_localzone

from llmos.schedules.timing import next_due, read_timing
from llmos_kernel.errors import ConfigError, StateError
from llmos_kernel.journal import explained

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE schedules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    said TEXT NOT NULL,
    zone TEXT NOT NULL,
    created REAL NOT NULL,
    due REAL
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    schedule INTEGER NOT NULL,
    task TEXT NOT NULL,
    due REAL NOT NULL,
    claimed REAL NOT NULL,
    kernel_pid INTEGER NOT NULL,
    pid INTEGER
);
CREATE INDEX runs_by_schedule ON runs (schedule, id);
"""
SCHEDULES = """
SELECT id, task, said, zone, created, due,
    (SELECT pid FROM runs WHERE schedule = schedules.id ORDER BY id DESC LIMIT 1)
FROM schedules
"""
RUNS = "SELECT id, schedule, task, claimed, kernel_pid FROM runs"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule. `said` was read at `created` in `zone`; times are Unix time.

    `due` is None once it is over; `last_pid` is the process of its last run.
    """

    id: int
    task: str
    said: str
    zone: str
    created: float
    due: float | None
    last_pid: int | None

    def due_after(self, moment: float) -> float | None:
        """Return when it is due first after a moment, None if never again."""
        zone = _zone(self.zone)
        trigger = read_timing(self.said, datetime.fromtimestamp(self.created, zone))
        due = next_due(trigger, datetime.fromtimestamp(moment, zone))
        return None if due is None else due.timestamp()


@dataclass(frozen=True, slots=True)
class Run:
    """A claim to run a schedule's task, made at `claimed` by the kernel of a host process."""

    id: int
    schedule: int
    task: str
    claimed: float
    kernel_pid: int


def schedules_path(home: Path) -> Path:
    return home / "schedules.db"


class ScheduleStore:
    """One connection. Use from one thread. Its methods raise `StateError` where the disk fails."""

    def __init__(self, home: Path) -> None:
        """Open the schedules of a state folder, making the file where there is none."""
        self._path = schedules_path(home)
        with explained(self._path, "list of schedules"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
            version = self._version()
            if version == 0:
                self._prepare()
            elif version > SCHEMA_VERSION:
                raise StateError(f"{self._path} was written by a newer llmos; update llmos")

    def _version(self) -> int:
        return self._connection.execute("PRAGMA user_version").fetchone()[0]

    def _prepare(self) -> None:
        self._path.chmod(0o600)
        with self._transaction():
            if self._version() == 0:  # another kernel may have been quicker
                for statement in SCHEMA.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        self._connection.close()

    def add(self, task: str, said: str, now: datetime) -> Schedule:
        """Keep a task for the time that is said; `now` has the zone that it is meant in.

        Raises:
            ConfigError: the task is empty, or the time is not one to come.
        """
        if not task.strip():
            raise ConfigError("the task is empty; say what is to be done")
        due = next_due(read_timing(said, now), now)
        created, zone = now.timestamp(), str(now.tzinfo)
        with self._transaction():
            number = self._connection.execute(
                "INSERT INTO schedules (task, said, zone, created, due) VALUES (?, ?, ?, ?, ?)",
                (task, said, zone, created, due and due.timestamp()),
            ).lastrowid
        return self.get(number or 0)

    def get(self, number: int) -> Schedule:
        """Return one schedule.

        Raises:
            ConfigError: there is none of this number.
        """
        rows = self._read(f"{SCHEDULES} WHERE id = ?", number)
        if not rows:
            raise ConfigError(f"there is no schedule {number}; `llmos schedule list` shows them")
        return Schedule(*rows[0])

    def remove(self, number: int) -> Schedule:
        """Take a schedule out and return it; what it has begun runs on. Raises: as `get`."""
        with self._transaction():
            found = self.get(number)
            self._connection.execute("DELETE FROM schedules WHERE id = ?", (number,))
        return found

    def all(self) -> list[Schedule]:
        """Return all schedules, the next due first, those that are over last."""
        return [Schedule(*row) for row in self._read(f"{SCHEDULES} ORDER BY due IS NULL, due, id")]

    def has_due(self, now: float) -> bool:
        """Whether a schedule is due, or a claim has no process yet."""
        ((found,),) = self._read(
            "SELECT EXISTS (SELECT 1 FROM schedules WHERE due <= ?)"
            " OR EXISTS (SELECT 1 FROM runs WHERE pid IS NULL)",
            now,
        )
        return bool(found)

    def claim(self, now: float) -> list[Run]:
        """Claim what is due, once for each schedule, however often it was missed."""
        with self._transaction():
            rows = self._read(f"{SCHEDULES} WHERE due <= ? ORDER BY due, id", now)
            return [self._claimed(Schedule(*row), now) for row in rows]

    def _claimed(self, schedule: Schedule, now: float) -> Run:
        self._connection.execute(
            "UPDATE schedules SET due = ? WHERE id = ?", (schedule.due_after(now), schedule.id)
        )
        number = self._connection.execute(
            "INSERT INTO runs (schedule, task, due, claimed, kernel_pid) VALUES (?, ?, ?, ?, ?)",
            (schedule.id, schedule.task, schedule.due, now, os.getpid()),
        ).lastrowid
        return Run(number or 0, schedule.id, schedule.task, now, os.getpid())

    def unfinished(self) -> list[Run]:
        """Return the claims that have no process."""
        return [Run(*row) for row in self._read(f"{RUNS} WHERE pid IS NULL ORDER BY id")]

    def claim_again(self, run: Run, now: float) -> Run:
        """Take over a claim whose kernel has died before it made a process."""
        with self._transaction():
            self._connection.execute(
                "UPDATE runs SET claimed = ?, kernel_pid = ? WHERE id = ?",
                (now, os.getpid(), run.id),
            )
        return Run(run.id, run.schedule, run.task, now, os.getpid())

    def set_pid(self, run: Run, pid: int) -> None:
        """Record the process that a claim has led to."""
        with self._transaction():
            self._connection.execute("UPDATE runs SET pid = ? WHERE id = ?", (pid, run.id))

    @contextmanager
    def claiming(self) -> Generator[bool]:
        """Hold the lock on claims for the block; yield false where another kernel holds it."""
        with self._path.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _read(self, query: str, *values: float) -> list[Any]:
        with explained(self._path, "list of schedules"):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with explained(self._path, "list of schedules"):
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                yield


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return get_localzone()
