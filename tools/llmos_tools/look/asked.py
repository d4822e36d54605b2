"""What a question asks for: the picture's text, its file, or what it shows.

Knows words only. A question that holds one word more than it knows is about what is shown.
"""

from __future__ import annotations

import re
from enum import Enum

WORD = re.compile(r"[\w.-]*\w")
# What a picture says is its text; what people are asked to say is not.
SAYS = re.compile(r"\b(does\b.*)\bsay\b")
FILLING = frozenset(
    """a about all aloud an and are at be been by can could did do does exactly file for from give
    had has have here how i image in is it its many me much of on or out photo photograph picture
    please say see show sign tell that the there this to up was were what whats when which will
    with you your""".split()
)
TEXT = frozenset(
    """letters ocr read reading says saying spell spelled spelt text texts transcribe word words
    write writing writings written""".split()
)
FILE = frozenset(
    """big bytes camera date dimension dimensions exif format height high kind large landscape
    made megapixels metadata orientation pixel pixels portrait resolution size small taken tall
    type wide width""".split()
)


class Asked(Enum):
    """What a question is about."""

    SHOWN = "what the picture shows"
    TEXT = "the text in it"
    FILE = "its format, size and date"


def asked(question: str | None, image: str) -> Asked:
    """Tell what is asked about the file `image`; without a question, what it shows."""
    if question is None:
        return Asked.SHOWN
    without_name = question.replace(image, " ").casefold().replace("'", "")
    words = set(WORD.findall(SAYS.sub(r"\1 text", without_name))) - FILLING
    if words and words <= TEXT:
        return Asked.TEXT
    if words and words <= FILE:
        return Asked.FILE
    return Asked.SHOWN
