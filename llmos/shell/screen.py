"""What is shown of a process: to a person steps on stderr and the answer on stdout, or JSON lines.

Covered: control characters in answers and results cannot drive the terminal.
"""

from __future__ import annotations

import json
import sys
from typing import Protocol

from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from llmos.shell.progress import console
from llmos_kernel.abi import call_text
from llmos_kernel.journal import JournalEvent
from llmos_kernel.process import ProcessState
from llmos_kernel.progress import Progress

WIDEST = 300
CLEAR_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
JSON_EVENTS = frozenset({"hand_over", "tool_call", "tool_result", "malformed", "answer", "error"})


class Display(Protocol):
    """Shows the process `pid` and no other of its kernel; none before there is one."""

    pid: int | None

    def show_text(self, pid: int, piece: str) -> None:
        """Show the next piece of what the model says."""
        ...

    def show_step(self, event: JournalEvent) -> None:
        """Show an event, if it is of a kind to be shown."""
        ...

    def show_progress(self, progress: Progress) -> None:
        """Show how far a call is."""
        ...

    def show_answer(self, text: str) -> None:
        """Show the answer, or its end where the rest is shown already."""
        ...


class JsonLines:
    """Prints one event a line on stdout."""

    def __init__(self) -> None:
        self.pid: int | None = None

    def show_text(self, pid: int, piece: str) -> None:
        """Print nothing: the answer is an event."""

    def show_step(self, event: JournalEvent) -> None:
        if event.kind in JSON_EVENTS and event.pid == self.pid:
            print(json.dumps(event.as_json(), ensure_ascii=False), flush=True)

    def show_progress(self, progress: Progress) -> None:
        if progress.pid == self.pid:
            print(json.dumps(progress.as_json(), ensure_ascii=False), flush=True)

    def show_answer(self, text: str) -> None:
        """Print nothing: the answer is an event."""


class Screen:
    """Text is shown piece by piece only where stdout is a terminal."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._is_live = sys.stdout.isatty()
        self._is_in_line = False
        self._has_progress = False

    def show_text(self, pid: int, piece: str) -> None:
        """Show the next piece of what the model says."""
        if not self._is_live or pid != self.pid:
            return
        shown = piece if self._is_in_line else piece.lstrip()
        if shown:
            self._clear_progress()
            sys.stdout.write(printable(shown))
            sys.stdout.flush()
            self._is_in_line = True

    def show_answer(self, text: str) -> None:
        """End the answer that was shown piece by piece, or show it whole."""
        if self._is_in_line:
            self.end_line()
        elif text:
            print(printable(text))

    def end_line(self) -> None:
        """Go to a new line where the last one is not ended."""
        self._clear_progress()
        if self._is_in_line:
            print()
            self._is_in_line = False

    def show_step(self, event: JournalEvent) -> None:
        """Show a hand-over, a call, a result, a malformed call or a stop, and no other event."""
        if event.pid != self.pid:
            return
        match event.kind:
            case "hand_over" if event.body["reason"] == "stop":
                self._print(f"⇡ {_sureness(event)}; {event.body['model']} takes over", "cyan")
            case "hand_over" if "error" in event.body:
                model, problem = event.body["model"], event.body["error"]
                self._print(f"✗ not handed over to {model}: {problem}", "red")
            case "tool_call":
                call = call_text(event.body["name"], event.body["arguments"])
                self._print(f"→ {call}", "cyan")
            case "tool_result":
                is_ok = event.body["status"] == "ok"
                self._print(f"← {event.body['text']}", "green" if is_ok else "red")
            case "malformed":
                text = f"✗ malformed call ({event.body['reason']}): {event.body['raw']}"
                self._print(text, "red")
            case "state" if event.body["state"] == ProcessState.STOPPED:
                self._print(f"‖ stopped; `llmos resume {event.pid}` lets it go on", "yellow")
            case _:
                return

    def show_progress(self, progress: Progress) -> None:
        """Show how far a call is: on a terminal in one line, which the next step takes over."""
        if progress.pid != self.pid:
            return
        if not console.is_terminal:
            self._print(f"… {progress.text}", "dim")
            return
        self.end_line()
        text = Text(printable(f"… {progress.text}"), "dim")
        text.truncate(console.width - 1, overflow="ellipsis")
        console.print(text, end="")
        self._has_progress = True

    def _clear_progress(self) -> None:
        if self._has_progress:
            console.control(CLEAR_LINE)
            self._has_progress = False

    def _print(self, text: str, style: str) -> None:
        self.end_line()
        flat = " ⏎ ".join(text.splitlines())
        shown = flat if len(flat) <= WIDEST else f"{flat[:WIDEST]} ..."
        console.print(Text(printable(shown), style), soft_wrap=True)


def _sureness(event: JournalEvent) -> str:
    """Say of a hand-over how sure the model was of what it would have called."""
    doubted = event.body["doubted"][0]
    call = call_text(doubted["name"], doubted["arguments"])
    return f"only {doubted['confidence']['call']:.0%} sure of {call}"


def printable(text: str) -> str:
    """Return text with control characters replaced, but for line ends and tabs."""
    replacement = "\N{REPLACEMENT CHARACTER}"
    return "".join(c if c.isprintable() or c in "\n\t" else replacement for c in text)


def one_line(text: str) -> str:
    """Return the beginning of a task, fit for a line of a table."""
    return " ".join(printable(text).split())[:60]
