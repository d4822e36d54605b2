"""`llmos ps`: processes as running kernels and the journal show them.

Reads only. What no running kernel tells is from the journal.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from llmos.boot import journal_path
from llmos.config import home_path
from llmos.control.client import live_processes
from llmos.control.protocol import LiveProcess
from llmos.shell.screen import one_line
from llmos_kernel.journal import Journal, ProcessRecord, Usage
from llmos_kernel.process import ProcessState

# Where no terminal says how wide a line is, tasks are not cut.
WIDTH = None if sys.stdout.isatty() else 200
console = Console(highlight=False, markup=False, emoji=False, width=WIDTH)


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process. `cache_share` is None where no running kernel tells it."""

    record: ProcessRecord
    parent: int | None
    state: str
    nice: int
    num_tokens: int
    cache_share: float | None

    @property
    def shown_state(self) -> str:
        """The state; a process whose kernel is gone cannot run on by itself."""
        if self.state == ProcessState.ZOMBIE:
            return self.record.exit_status or "ended"
        return self.state if self.record.is_kernel_alive else f"{self.state} (kernel died)"

    def as_json(self) -> dict[str, Any]:
        return {
            "pid": self.record.pid,
            "parent": self.parent,
            "state": self.state,
            "exit": self.record.exit_status,
            "is_kernel_alive": self.record.is_kernel_alive,
            "nice": self.nice,
            "tokens": self.num_tokens,
            "cache_share": self.cache_share,
            "model": self.record.model,
            "task": self.record.task,
            "time": self.record.time,
        }


def read_rows(home: Path, *, show_all: bool) -> list[ProcessRow]:
    """Return the processes, oldest first; without `show_all` those that have not ended.

    Raises:
        StateError: the state folder cannot be read.
    """
    live = live_processes(home)
    with closing(Journal(journal_path(home), is_read_only=True)) as journal:
        return [
            _row(record, journal.usage(record.pid), live.get(record.pid))
            for record in journal.processes()
            if show_all or record.state != ProcessState.ZOMBIE
        ]


def _row(record: ProcessRecord, usage: Usage, seen: LiveProcess | None) -> ProcessRow:
    if seen is None or record.state == ProcessState.ZOMBIE:
        return ProcessRow(record, usage.parent, record.state, usage.nice, usage.num_tokens, None)
    return ProcessRow(record, seen.parent, seen.state, seen.nice, seen.num_tokens, seen.cache_share)


def print_processes(*, show_all: bool, as_json: bool) -> None:
    """Print the processes; without `show_all` those that have not ended."""
    rows = read_rows(home_path(), show_all=show_all)
    if as_json:
        print(json.dumps([row.as_json() for row in rows], ensure_ascii=False))
    else:
        console.print(process_table(rows))


def process_table(rows: list[ProcessRow], speeds: dict[int, float] | None = None) -> Table:
    """Return the table of `ps`, or of `top` where there are speeds in tokens a second."""
    table = Table(box=None, pad_edge=False)
    names = ["pid", "parent", "state", "nice", "tokens", "cached", "age", "task"]
    if speeds is not None:
        names.insert(5, "tokens/s")
    for name in names:
        is_text = name in ("state", "task")
        table.add_column(
            name,
            justify="left" if is_text else "right",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if name == "task" else len(name),
        )
    for row in rows:
        cells = [
            str(row.record.pid),
            "" if row.parent is None else str(row.parent),
            row.shown_state,
            str(row.nice),
            str(row.num_tokens),
            "" if row.cache_share is None else f"{row.cache_share:.0%}",
            _age(time.time() - row.record.time),
            one_line(row.record.task),
        ]
        if speeds is not None:
            speed = speeds.get(row.record.pid)
            cells.insert(5, "" if speed is None else f"{speed:.1f}")
        table.add_row(*cells)
    return table


def _age(seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}:{seconds:02}"
