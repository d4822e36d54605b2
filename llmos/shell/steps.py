"""Writes a process's steps for people, one line an event, on stderr."""

from __future__ import annotations

import json

from rich.text import Text

from llmos.shell.progress import console
from llmos_kernel.journal import JournalEvent

WIDEST = 300


def print_step(event: JournalEvent) -> None:
    """Show a call, a result or a malformed call; other events are not shown."""
    match event.kind:
        case "tool_call":
            arguments = ", ".join(
                f"{key}={json.dumps(value, ensure_ascii=False)}"
                for key, value in event.body["arguments"].items()
            )
            _print(f"→ {event.body['name']}({arguments})", "cyan")
        case "tool_result":
            is_ok = event.body["status"] == "ok"
            _print(f"← {event.body['text']}", "green" if is_ok else "red")
        case "malformed":
            _print(f"✗ malformed call ({event.body['reason']}): {event.body['raw']}", "red")
        case _:
            return


def _print(line: str, style: str) -> None:
    flat = " ⏎ ".join(line.splitlines())
    shown = flat if len(flat) <= WIDEST else f"{flat[:WIDEST]} ..."
    console.print(Text(printable(shown), style), soft_wrap=True)


def printable(text: str) -> str:
    """Return text without control characters, so that a result cannot drive the terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
