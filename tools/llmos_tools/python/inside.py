"""What is run inside the sandbox before anything else: it bounds what a run of code may send.

Knows only IPython, and none of this package. It is a courtesy that keeps the variables of code
that prints too much; the limits that hold against hostile code are kept outside.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any


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
        self._stream.write = lambda stream, string: self.write(stream, string)
        self._shell.display_formatter.format = self.format
        self._shell.display_pub.publish = self.publish
        # IPython would hold all that is ever printed in memory.
        self._shell._tee = lambda *_, **__: nullcontext()
        self._shell.events.register("pre_run_cell", self.start_run)

    def start_run(self, *_: object) -> None:
        self._left, self._num_shown = self._most_chars + 1, 0
        for stream in (sys.stdout, sys.stderr):
            # IPython leaves the method it found there as an attribute that hides ours.
            vars(stream).pop("write", None)

    def write(self, stream: Any, string: Any) -> Any:
        if not isinstance(string, str):
            return self._write(stream, string)
        part, self._left = string[: self._left], max(0, self._left - len(string))
        if part:
            self._write(stream, part)
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
