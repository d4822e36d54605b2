"""What a person sees of a process: its steps on stderr, its answer on stdout as it comes.

Covered: control characters in answers and results cannot drive the terminal.
"""

from __future__ import annotations

import json
import sys

from rich.text import Text

from llmos.shell.progress import console
from llmos_kernel.journal import JournalEvent

WIDEST = 300


class Screen:
    """Shows one process at a time. Text is shown piece by piece only where stdout is a terminal."""

    def __init__(self) -> None:
        self._is_live = sys.stdout.isatty()
        self._is_in_line = False

    def show_text(self, pid: int, piece: str) -> None:
        """Show the next piece of what the model says."""
        if not self._is_live:
            return
        shown = piece if self._is_in_line else piece.lstrip()
        if shown:
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
        if self._is_in_line:
            print()
            self._is_in_line = False

    def show_step(self, event: JournalEvent) -> None:
        """Show a call, a result or a malformed call; other events are not shown."""
        match event.kind:
            case "tool_call":
                arguments = ", ".join(
                    f"{key}={json.dumps(value, ensure_ascii=False)}"
                    for key, value in event.body["arguments"].items()
                )
                self._print(f"→ {event.body['name']}({arguments})", "cyan")
            case "tool_result":
                is_ok = event.body["status"] == "ok"
                self._print(f"← {event.body['text']}", "green" if is_ok else "red")
            case "malformed":
                text = f"✗ malformed call ({event.body['reason']}): {event.body['raw']}"
                self._print(text, "red")
            case _:
                return

    def _print(self, text: str, style: str) -> None:
        self.end_line()
        flat = " ⏎ ".join(text.splitlines())
        shown = flat if len(flat) <= WIDEST else f"{flat[:WIDEST]} ..."
        console.print(Text(printable(shown), style), soft_wrap=True)


def printable(text: str) -> str:
    """Return text with control characters replaced, but for line ends and tabs."""
    replacement = "\N{REPLACEMENT CHARACTER}"
    return "".join(c if c.isprintable() or c in "\n\t" else replacement for c in text)
