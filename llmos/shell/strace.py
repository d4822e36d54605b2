"""`llmos strace`: all that a process did, from the journal, and what it does, from its kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import datetime
from enum import Enum, auto
from itertools import chain
from pathlib import Path

from llmos.boot import journal_path, load_renderer
from llmos.config import home_path, load_settings
from llmos.control.client import absent, followed, record_of
from llmos.shell.screen import printable
from llmos_kernel.errors import ConfigError, LlmosError
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.replay import replay


class TraceMode(Enum):
    """Where the events of `llmos strace` come from."""

    RECORDED = auto()
    FOLLOWED = auto()
    REPLAYED = auto()

    @classmethod
    def of(cls, *, is_followed: bool, is_replayed: bool) -> TraceMode:
        """Return the mode that flags ask for.

        Raises:
            ConfigError: they ask for two.
        """
        if is_followed and is_replayed:
            raise ConfigError("give either --follow or --replay, not both")
        return cls.FOLLOWED if is_followed else cls.REPLAYED if is_replayed else cls.RECORDED


def print_trace(pid: int, mode: TraceMode, *, as_json: bool) -> None:
    """Print a process's events in order; followed, those to come too, until it ends.

    Raises:
        StateError: there is no such process, or its kernel is gone before its end.
        ReplayDiverged: the replay does something else than is recorded.
    """
    for event in _events(pid, mode):
        if as_json:
            print(json.dumps(event.as_json(), ensure_ascii=False), flush=True)
        else:
            body = printable(json.dumps(event.body, ensure_ascii=False))
            print(f"{_moment(event.time)} {event.seq:4} {event.kind:12} {body}", flush=True)


def _events(pid: int, mode: TraceMode) -> Iterable[JournalEvent]:
    match mode:
        case TraceMode.RECORDED:
            return _journalled(home_path(), pid)
        case TraceMode.FOLLOWED:
            return _followed_events(home_path(), pid)
        case TraceMode.REPLAYED:
            return asyncio.run(_replayed(home_path(), pid))


async def _replayed(home: Path, pid: int) -> list[JournalEvent]:
    """Run the record of a process through a kernel again; needs its tokenizer, not its weights."""
    settings = load_settings(model={"path": record_of(home, pid).model})
    with closing(Journal(journal_path(home), is_read_only=True)) as journal:
        return [event async for event in replay(journal, pid, load_renderer(settings))]


def _moment(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S")


def _journalled(home: Path, pid: int, since: int = 0) -> Iterator[JournalEvent]:
    with closing(Journal(journal_path(home), is_read_only=True)) as journal:
        yield from journal.events(pid, since=since)


def _followed_events(home: Path, pid: int) -> Iterator[JournalEvent]:
    """Yield all events of a process to its end: from the journal what its kernel did not send."""
    since = 0
    while True:
        has_ended = record_of(home, pid).exit_status is not None
        is_new = False
        for event in _events_while_connected(home, pid, since):
            since, is_new = event.seq + 1, True
            yield event
        if has_ended:
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
