"""Tools for llmos: terms of a glossary, and tones as recordings."""

from __future__ import annotations

import array
import csv
import difflib
import io
import math
import wave
from importlib.resources import files

from llmos import Effect, Media, RetryCall, ToolFailed, tool

RATE_HZ = 8000
LONGEST_S = 10.0


class Glossary:
    """Holds the terms from its first call on."""

    async def open(self) -> None:
        text = files("glossary_for_llmos").joinpath("terms.csv").read_text()
        self._terms = dict(csv.reader(text.splitlines()))

    async def close(self) -> None:
        self._terms.clear()

    @tool(effects=[], is_repeatable=True, max_concurrent=None)
    async def look_up(self, term: str) -> str:
        """Look up a term of operating systems.

        Args:
            term: the term
        """
        if term in self._terms:
            return self._terms[term]
        similar = difflib.get_close_matches(term, self._terms)
        if similar:
            raise RetryCall(f"there is no {term!r}; there is {', '.join(similar)}")
        raise ToolFailed(f"there is no {term!r}; there are {', '.join(self._terms)}")


@tool(effects={Effect.FILES}, is_repeatable=True)
def tone(frequency: float, seconds: float = 1.0) -> Media:
    """Make a recording of a tone.

    Args:
        frequency: in hertz
        seconds: how long
    """
    if not 20 <= frequency <= RATE_HZ / 2 or not 0 < seconds <= LONGEST_S:
        raise RetryCall(f"give 20 to {RATE_HZ // 2} hertz and at most {LONGEST_S:g} seconds")
    wavelength = RATE_HZ / frequency
    samples = (
        round(20_000 * math.sin(2 * math.pi * n / wavelength))
        for n in range(int(seconds * RATE_HZ))
    )
    data = io.BytesIO()
    with wave.open(data, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(RATE_HZ)
        recording.writeframes(array.array("h", samples).tobytes())
    return Media(data.getvalue(), "audio/wav", "tone.wav")
