"""Finds where somebody speaks, by loudness alone, and cuts recordings at the pauses.

Knows no model: what is loud may be a dog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 16_000
FRAME = RATE // 50
# Decibels below full scale under which nothing is speech, however quiet the rest is.
SILENCE_DB = -60.0
ABOVE_ROOM_DB = 8.0
BELOW_LOUD_DB = 30.0
MARGIN_S = 0.2
SHORTEST_S = 0.1
FRAMES_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """A half-open interval of a recording, in samples."""

    start: int
    end: int


def stretches(sound: NDArray[np.int16], pause_s: float) -> list[Stretch]:
    """Return what is loud, with a margin; pauses shorter than `pause_s` do not part it."""
    import numpy as np

    loudness = _loudness(sound)
    if not len(loudness):
        return []
    room, loud = np.percentile(loudness, [10, 98])
    is_loud = loudness > max(SILENCE_DB, min(room + ABOVE_ROOM_DB, loud - BELOW_LOUD_DB))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_loud.astype(np.int8), [0]])))
    found: list[Stretch] = []
    for start, end in edges.reshape(-1, 2) * FRAME:
        if found and start - found[-1].end < pause_s * RATE:
            found[-1] = Stretch(found[-1].start, int(end))
        else:
            found.append(Stretch(int(start), int(end)))
    margin = int(MARGIN_S * RATE)
    return [
        Stretch(max(each.start - margin, 0), min(each.end + margin, len(sound)))
        for each in found
        if each.end - each.start >= SHORTEST_S * RATE
    ]


def _loudness(sound: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return decibels of full scale, a frame of 20 ms each, the rest as one more."""
    import numpy as np

    levels: list[NDArray[np.float64]] = []
    for start in range(0, len(sound), FRAME * FRAMES_AT_ONCE):
        part = sound[start : start + FRAME * FRAMES_AT_ONCE].astype(np.float64) / 32768
        part = np.pad(part, (0, -len(part) % FRAME)).reshape(-1, FRAME)
        levels.append(10 * np.log10(np.mean(part**2, axis=1) + 1e-12))
    return np.concatenate(levels) if levels else np.zeros(0)


def windows(found: list[Stretch], longest_s: float) -> list[Stretch]:
    """Join neighbours to windows of at most `longest_s`; cut what is longer by itself."""
    longest = int(longest_s * RATE)
    joined: list[Stretch] = []
    for each in found:
        for start in range(each.start, each.end, longest):
            part = Stretch(start, min(start + longest, each.end))
            if joined and part.end - joined[-1].start <= longest:
                joined[-1] = Stretch(joined[-1].start, part.end)
            else:
                joined.append(part)
    return joined
