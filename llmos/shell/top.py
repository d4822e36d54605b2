"""`llmos top`: the processes and their speeds, anew each second, on a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from datetime import datetime

from rich.live import Live
from rich.table import Table

from llmos.config import home_path
from llmos.shell.processes import (
    ProcessRow,
    console,
    print_processes,
    process_table,
    read_rows,
)

REFRESH_S = 1.0


class Speeds:
    """Tells from one look to the next how many tokens a second each live process has made."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._moment = time.monotonic()

    def between(self, rows: list[ProcessRow]) -> dict[int, float]:
        """Return the speeds since the last look of processes that were there then."""
        now = time.monotonic()
        passed, self._moment = max(now - self._moment, 1e-3), now
        tokens = {row.record.pid: row.num_tokens for row in rows if row.cache_share is not None}
        last, self._last = self._last, tokens
        return {pid: (n - last[pid]) / passed for pid, n in tokens.items() if pid in last}


def show_top() -> None:
    """Show the processes that have not ended, anew each second, until q or Ctrl-C.

    Where stdout is no terminal, print them once.
    """
    if not console.is_terminal:
        print_processes(show_all=False, as_json=False)
        return
    speeds, home = Speeds(), home_path()
    with _keys() as is_quit, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            rows = read_rows(home, show_all=False)
            live.update(_top(rows, speeds.between(rows)), refresh=True)
            if is_quit(REFRESH_S):
                return


def _top(rows: list[ProcessRow], speeds: dict[int, float]) -> Table:
    whole = Table.grid()
    moment = datetime.now().strftime("%H:%M:%S")
    whole.add_row(
        f"llmos {moment}: processes: {len(rows)}, tokens/s: {sum(speeds.values()):.1f}; q leaves"
    )
    whole.add_row("")
    whole.add_row(process_table(rows, speeds))
    return whole


@contextmanager
def _keys() -> Generator[Callable[[float], bool]]:
    """Give a function that waits for seconds and returns whether q was pressed meanwhile."""
    with _single_keys() if sys.stdin.isatty() else nullcontext():
        yield _is_quit if sys.stdin.isatty() else _wait


def _is_quit(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([sys.stdin], [], [], left)
        if readable:
            # Not through `sys.stdin`: it would keep further keys, of which `select` knows nothing.
            keys = os.read(sys.stdin.fileno(), 1024)
            if not keys or b"q" in keys.lower():
                return True
    return False


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@contextmanager
def _single_keys() -> Generator[None]:
    """Have the terminal hand on each key at once, for the length of the block."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
