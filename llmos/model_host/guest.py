"""Runs in the process of a model: loads it and answers requests until its input ends.

Covered: it ends with the kernel, also in the middle of its work; what libraries print goes to
stderr; it gives way to the kernel, whose model decodes meanwhile.
Not covered: what a checkpoint makes its library do.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Literal

from llmos.model_host.memory import held_bytes
from llmos.model_host.values import Guest
from llmos.model_host.wire import REQUEST, Answer, Ask, Done, Failed, Load, Progress
from llmos_kernel.errors import RetryCall, ToolFailed

NICE = 10
NO_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory")


def main() -> None:
    """Answer each line of the input with lines of progress and one reply."""
    os.nice(NICE)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
    desk = Desk(replies)
    while True:
        desk.reply(lines.get())


def _read(requests: BinaryIO, lines: SimpleQueue[bytes]) -> None:
    """Hand over lines. At their end nobody waits any more, whatever is at work here."""
    for line in requests:
        lines.put(line)
    os.killpg(os.getpid(), signal.SIGKILL)


class Desk:
    """One model and the pipe to its host. Progress may be reported in any thread."""

    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._lock = threading.Lock()
        self._guest: Guest | None = None

    def reply(self, line: bytes) -> None:
        match REQUEST.validate_json(line):
            case Load() as request:
                self._say(_answered(lambda: self._load(request)))
            case Ask() as request:
                self._say(_answered(lambda: self._ask(request)))

    def _load(self, request: Load) -> dict[str, Any]:
        module, _, name = request.factory.partition(":")
        self._guest = getattr(import_module(module), name)(request.checkpoint, self._report)
        return {}

    def _ask(self, request: Ask) -> dict[str, Any]:
        assert self._guest is not None
        return dict(self._guest.answer(request.request, Path(request.folder), self._report))

    def _report(self, text: str) -> None:
        self._say(Progress(text=text))

    def _say(self, answer: Answer) -> None:
        with self._lock:
            self._replies.write(answer.model_dump_json().encode() + b"\n")
            self._replies.flush()


def _answered(work: Callable[[], dict[str, Any]]) -> Done | Failed:
    try:
        return Done(value=work(), held_bytes=held_bytes())
    except Exception as error:  # a library may raise anything; the host gives it to who asked
        return Failed(why=_kind(error), text=_text(error))


def _kind(error: Exception) -> Literal["failed", "retry", "broke", "memory"]:
    if isinstance(error, RetryCall):
        return "retry"
    if isinstance(error, ToolFailed):
        return "failed"
    # torch's own error for a GPU, and a plain one whose text tells for other devices.
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_memory or any(words in str(error) for words in NO_MEMORY):
        return "memory"
    return "broke"


def _text(error: Exception) -> str:
    if isinstance(error, RetryCall | ToolFailed):
        return str(error)
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


if __name__ == "__main__":
    main()
