"""Varies how a request is typed: case, end marks, fillers, slips of the fingers.

Leaves slots in angle brackets as they are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

FILLERS_BEFORE = ("hey, ", "please ", "ok, ", "hi! ", "now ", "so, ", "quick one: ", "llmos, ")
FILLERS_AFTER = (" please", " pls", " thanks", ", thank you", " now", "?", "!", ".", " ok?")
ANY_SLOT = re.compile(r"(<[\w.]+>)")


def varied(rng: random.Random, request: str) -> str:
    """Return a request as it is, or in two of five cases changed a little outside its slots.

    The line that the kernel adds for an attached file stays.
    """
    request, gap, attached = request.partition("\n\nAttached file: ")
    roll = rng.random()
    if roll < 0.12:
        request = _outside_slots(request, str.lower)
    elif roll < 0.14:
        request = _outside_slots(request, str.upper)
    elif roll < 0.22:
        request = request.rstrip("?.!")
    elif roll < 0.28:
        request = rng.choice(FILLERS_BEFORE) + request
    elif roll < 0.34:
        request = request.rstrip("?.!") + rng.choice(FILLERS_AFTER)
    elif roll < 0.39:
        request = _outside_slots(request, lambda text: _with_slip(rng, text))
    return request + gap + attached


def _with_slip(rng: random.Random, text: str) -> str:
    """Drop, double or swap one letter."""
    if len(text) < 6:
        return text
    at = rng.randrange(1, len(text) - 2)
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return rng.choice([text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:], swapped])


def _outside_slots(request: str, change: Callable[[str], str]) -> str:
    parts = ANY_SLOT.split(request)
    return "".join(part if ANY_SLOT.fullmatch(part) else change(part) for part in parts)
