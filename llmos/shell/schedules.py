"""`llmos schedule`: listing, adding and removing schedules, and the foreground daemon.

Knows no times and claims nothing; the store and the runner do.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.table import Table
from tzlocal import get_localzone

from llmos.boot import BootOptions, journal_path
from llmos.cli import DONE
from llmos.config import home_path, load_settings
from llmos.schedules.store import Schedule, ScheduleStore, schedules_path
from llmos.shell.processes import console
from llmos.shell.screen import one_line
from llmos.shell.starting import started
from llmos_kernel.errors import StateError
from llmos_kernel.journal import Journal
from llmos_kernel.policy import deny_all

HINT = "it runs while the shell or `llmos schedule run` does"
UNIT = """\
[Unit]
Description=llmos schedules

[Service]
ExecStart={command}
{environment}Restart=on-failure

[Install]
WantedBy=default.target
"""


def print_schedules(*, show_all: bool, as_json: bool) -> None:
    """Print the schedules; without `show_all` those that are still due."""
    home = home_path()
    found: list[Schedule] = []
    if schedules_path(home).exists():
        with closing(ScheduleStore(home)) as store:
            found = [each for each in store.all() if show_all or each.due is not None]
    if as_json:
        print(json.dumps([asdict(each) for each in found], ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("id", "when", "due", "last run", "task"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    with closing(Journal(journal_path(home), is_read_only=True)) as journal:
        for each in found:
            last = _last_run(each, journal)
            table.add_row(str(each.id), each.said, _moment(each.due), last, one_line(each.task))
    console.print(table)


def _last_run(schedule: Schedule, journal: Journal) -> str:
    """Return the process of the last run and how far it is."""
    if schedule.last_pid is None:
        return ""
    try:
        record = journal.process(schedule.last_pid)
    except StateError:  # the journal was cleared since
        return str(schedule.last_pid)
    return f"{record.pid} {record.exit_status or record.state}"


def _moment(due: float | None) -> str:
    if due is None:
        return "over"
    return f"{datetime.fromtimestamp(due, get_localzone()):%a %Y-%m-%d %H:%M}"


def add_schedule(task: str, when: str) -> None:
    """Keep a task for a time.

    Raises:
        ConfigError: the task is empty, or the time is not one to come.
    """
    with closing(ScheduleStore(home_path())) as store:
        made = store.add(task, when, datetime.now(get_localzone()))
    print(f"schedule {made.id}: first on {_moment(made.due)}; {HINT}")


def remove_schedule(number: int) -> None:
    """Take a schedule out.

    Raises:
        ConfigError: there is none of this number.
    """
    with closing(ScheduleStore(home_path())) as store:
        print(f"removed schedule {number}: {one_line(store.remove(number).task)}")


def run_schedules(flags: dict[str, Any]) -> int:
    """Run what is due until Ctrl-C or SIGTERM, and return the exit status.

    Raises:
        LlmosError: the system cannot start; the message says what to do.
    """
    return asyncio.run(_run(flags))


async def _run(flags: dict[str, Any]) -> int:
    options = BootOptions(approve=deny_all, report=lambda line: print(line, flush=True))
    is_over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, is_over.set)
    async with started(load_settings(**flags), options):
        print("llmos: waiting for what is scheduled; Ctrl-C ends", file=sys.stderr, flush=True)
        await is_over.wait()
    return DONE


def print_unit() -> None:
    """Print a systemd user unit with this interpreter and this state folder."""
    command = shlex.join([sys.executable, "-m", "llmos", "schedule", "run"])
    home = os.environ.get("LLMOS_HOME")
    environment = f'Environment="LLMOS_HOME={home_path()}"\n' if home else ""
    print(UNIT.format(command=command, environment=environment), end="")
