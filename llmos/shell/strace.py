"""`llmos strace`: all that a process did, from the journal, and what it does, from its kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from itertools import chain
from pathlib import Path

from llmos.boot import journal_path
from llmos.config import home_path
from llmos.control.client import absent, followed, record_of
from llmos.shell.screen import printable
from llmos_kernel.errors import LlmosError
from llmos_kernel.journal import Journal, JournalEvent


def print_trace(pid: int, *, is_followed: bool, as_json: bool) -> None:
    """Print a process's events in order; followed, those to come too, until it ends.

    Raises:
        StateError: there is no such process, or its kernel is gone before its end.
    """
    events = _followed_events(home_path(), pid) if is_followed else _journalled(home_path(), pid)
    for event in events:
        if as_json:
            print(json.dumps(event.as_json(), ensure_ascii=False), flush=True)
        else:
            body = printable(json.dumps(event.body, ensure_ascii=False))
            print(f"{_moment(event.time)} {event.seq:4} {event.kind:12} {body}", flush=True)


def _moment(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S")


def _journalled(home: Path, pid: int, since: int = 0) -> Iterator[JournalEvent]:
    journal = Journal(journal_path(home), is_read_only=True)
    try:
        yield from journal.events(pid, since=since)
    finally:
        journal.close()


def _followed_events(home: Path, pid: int) -> Iterator[JournalEvent]:
    """Yield all events of a process to its end: from the journal what its kernel did not send."""
    since = 0
    while True:
        is_new = False
        for event in _events_while_connected(home, pid, since):
            since, is_new = event.seq + 1, True
            yield event
        if record_of(home, pid).exit_status is not None:
            return
        if not is_new:
            raise absent(home, pid)


def _events_while_connected(home: Path, pid: int, since: int) -> Iterator[JournalEvent]:
    """Yield events from `since` on: the journal's, then those to come if a kernel sends them.

    The connection is there before the journal is read, so that none is lost between.
    """
    with ExitStack() as stack:
        coming: Iterator[JournalEvent] = iter(())
        with suppress(LlmosError):  # it has ended or its kernel is gone: the journal knows
            coming = stack.enter_context(followed(home, pid))
        for event in chain(_journalled(home, pid, since), coming):
            if event.seq > since:
                return
            if event.seq == since:
                since += 1
                yield event
