"""Pages of an output that was too long to be shown at once: `blob:HANDLE@POSITION` names one.

Knows neither where the output is kept nor which handles a process was told.
"""

from __future__ import annotations

from llmos.sdk import CallContext, RetryCall

BLOB = "blob:"
# With the line that names the next page it stays within what a tool may show at once.
PAGE_CHARS = 3800


def read_page(name: str, context: CallContext) -> str:
    """Return a page of an output and, in its last line, the name of the next.

    Raises:
        RetryCall: the position is no number, or beyond the end.
        ToolFailed: the process was told of no such output.
    """
    handle, _, position = name.partition("@")
    if not (position or "0").isdecimal():
        raise RetryCall(f"{position!r} is no position in the text: give a number")
    text, start = context.read_blob(handle), int(position or "0")
    end = min(start + PAGE_CHARS, len(text))
    if start >= len(text):
        raise RetryCall(f"{handle} has {len(text)} characters: give a smaller number than {start}")
    if end == len(text):
        return text[start:]
    return (
        f"{text[start:end]}\n[{end} of {len(text)} characters; the rest is the file {handle}@{end}]"
    )
