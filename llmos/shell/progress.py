"""Progress of long work on stderr; silent where stderr is no terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console

console = Console(stderr=True, highlight=False)


def working(what: str) -> AbstractContextManager[Any]:
    """Show a spinner with `what` for the length of the block."""
    return console.status(what) if console.is_terminal else nullcontext()
