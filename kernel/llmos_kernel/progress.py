"""What a call says of how far it is: for people, in time, and kept nowhere.

Knows neither what is reported nor who sees it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

INTERVAL_S = 0.25
WIDEST = 200


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call of a process is; `time` is Unix time."""

    pid: int
    call_id: str
    text: str
    time: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, Any]:
        return {
            "event": "progress",
            "id": self.call_id,
            "text": self.text,
            "pid": self.pid,
            "time": self.time,
        }


OnProgress: TypeAlias = Callable[[Progress], None]


class ProgressLines:
    """Takes lines in any thread and tells of them in the event loop's, until it is closed.

    The first is told at once; of those that follow within an interval, the last.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Make it in the event loop that tells."""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._latest: str | None = None
        self._is_scheduled = False
        self._is_open = True

    def report(self, line: str) -> None:
        """Take a line; one that comes too late is dropped."""
        with self._lock:
            self._latest = " ".join(line.split())[:WIDEST]
            if self._is_scheduled:
                return
            self._is_scheduled = True
        with suppress(RuntimeError):  # the loop has closed: nobody sees it any more
            self._loop.call_soon_threadsafe(self._tell_latest)

    def close(self) -> None:
        """Tell the last line where it was not told yet, and no more. In the loop's thread."""
        if self._is_open and (line := self._take()) is not None:
            self._tell(line)
        self._is_open = False

    def _tell_latest(self) -> None:
        if self._is_open and (line := self._take()) is not None:
            self._tell(line)
            self._loop.call_later(INTERVAL_S, self._tell_latest)

    def _take(self) -> str | None:
        with self._lock:
            line, self._latest = self._latest, None
            self._is_scheduled = line is not None
        return line
