"""The commands of the typed session: what there is, and how it is completed.

Knows not what they do.
"""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    PathCompleter,
    WordCompleter,
)
from prompt_toolkit.document import Document

HELP, LISTEN, NEW = "/help", "/listen", "/new"
MEANINGS = {
    HELP: "show this",
    LISTEN: "put what you say into the prompt; `/listen FILE`: what a recording says",
    NEW: "start afresh",
}
KEYS = "Anything else is a task. Tab completes, Ctrl-C cancels, Ctrl-D leaves."


def help_text() -> str:
    """Return all commands, a line each, and the keys."""
    return "\n".join([*(f"{name:<9}{meaning}" for name, meaning in MEANINGS.items()), KEYS])


class CommandCompleter(Completer):
    """Completes the names of commands and, after `/listen`, those of files."""

    def __init__(self) -> None:
        self._names = WordCompleter(list(MEANINGS), meta_dict=MEANINGS, sentence=True)
        self._files = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield what the text before the cursor can go on with; nothing within a task."""
        name, space, rest = document.text_before_cursor.partition(" ")
        if not space:
            yield from self._names.get_completions(document, complete_event)
        elif name == LISTEN:
            yield from self._files.get_completions(Document(rest), complete_event)
