"""What is run inside the sandbox before anything else: it bounds what a run of code may send.

Knows only IPython, and none of this package. It is a courtesy that keeps the variables of code
that prints too much; the limits that hold against hostile code are kept outside.
"""

from __future__ import annotations

import fcntl
import struct
import sys
import termios
import time
from contextlib import nullcontext
from typing import Any

_LAST_OUTPUT_S = 0.5


class Bounds:
    """Cuts what one run writes, and each value it shows, a little above `most_chars`.

    Of the values that it displays, those after the first `most_shown` are dropped.
    """

    def __init__(self, most_chars: int, most_shown: int) -> None:
        from ipykernel.iostream import OutStream
        from IPython import get_ipython

        self._stream: Any = OutStream
        self._shell: Any = get_ipython()
        self._write: Any = OutStream.write
        self._format: Any = self._shell.display_formatter.format
        self._publish: Any = self._shell.display_pub.publish
        self._most_chars = most_chars
        self._most_shown = most_shown
        self._left = most_chars
        self._num_shown = 0

    def install(self) -> None:
        """Take the place of the kernel's ways to send."""

        def write(stream: Any, string: Any) -> Any:
            return self.write(stream, string)

        def keep_no_copy(channel: str) -> Any:
            return nullcontext(channel)

        self._stream.write = write
        self._shell.display_formatter.format = self.format
        self._shell.display_pub.publish = self.publish
        # IPython would hold all that is ever printed in memory.
        self._shell._tee = keep_no_copy
        self._shell.events.register("pre_run_cell", self.start_run)
        self._shell.events.register("post_run_cell", self.finish_run)

    def start_run(self, *_: object) -> None:
        self._left, self._num_shown = self._most_chars + 1, 0
        for stream in (sys.stdout, sys.stderr):
            # IPython leaves the method it found there as an attribute that hides ours.
            vars(stream).pop("write", None)

    def finish_run(self, *_: object) -> None:
        """Wait until what child processes wrote has gone the way of what Python wrote."""
        until = time.monotonic() + _LAST_OUTPUT_S
        num_empty = 0
        while num_empty < 2 and time.monotonic() < until:
            num_empty = 0 if _is_waiting(sys.stdout) or _is_waiting(sys.stderr) else num_empty + 1
            time.sleep(0.001)

    def write(self, stream: Any, string: Any) -> Any:
        if not isinstance(string, str):
            return self._write(stream, string)
        part, self._left = string[: self._left], max(0, self._left - len(string))
        if part:
            # A lone surrogate cannot be sent, and would take the end of the run with it.
            self._write(stream, part.encode(errors="replace").decode())
        return len(string)

    def format(self, *args: Any, **keywords: Any) -> Any:
        data, metadata = self._format(*args, **keywords)
        for kind, value in data.items():
            if kind.startswith("text/") and len(value) > self._most_chars:
                data[kind] = value[: self._most_chars + 1]
        return data, metadata

    def publish(self, *args: Any, **keywords: Any) -> None:
        self._num_shown += 1
        if self._num_shown <= self._most_shown:
            self._publish(*args, **keywords)
        elif self._num_shown == self._most_shown + 1:
            sys.stdout.write(f"[only the first {self._most_shown} displayed values are read]\n")


def _is_waiting(stream: Any) -> bool:
    """Tell whether the pipe behind a stream holds bytes that the kernel has not read."""
    try:
        (num_bytes,) = struct.unpack("i", fcntl.ioctl(stream._fid, termios.FIONREAD, bytes(4)))
    except (AttributeError, TypeError, OSError):
        return False  # the code has closed it, or put something else in its place
    return num_bytes > 0
