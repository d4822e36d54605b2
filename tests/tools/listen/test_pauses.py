from __future__ import annotations

import numpy as np
import pytest

from llmos_tools.listen.pauses import MARGIN_S, RATE, Stretch, stretches, windows
from tests.tools.listen.sounds import samples, silence, tone


def test_sounds_are_parted_at_long_pauses_only() -> None:
    sound = samples(tone(1), silence(0.3), tone(1), silence(3), tone(1))
    found = stretches(sound, 1.0)
    edges = [edge / RATE for each in found for edge in (each.start, each.end)]
    assert edges == pytest.approx([0, 2.3 + MARGIN_S, 5.3 - MARGIN_S, 6.3], abs=0.03)


@pytest.mark.parametrize("level", [0.01, 0.9])
def test_sound_over_noise_is_found_at_any_level(level: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02 * level, 3 * RATE)
    noise[RATE : 2 * RATE] += tone(1, level)
    (found,) = stretches(samples(noise), 0.5)
    assert found.start / RATE == pytest.approx(1 - MARGIN_S, abs=0.05)


def test_silence_and_nothing_have_no_stretches() -> None:
    assert stretches(samples(silence(5)), 1.0) == []
    assert stretches(np.zeros(0, np.int16), 1.0) == []


def test_windows_join_neighbours_and_cut_what_is_too_long() -> None:
    found = [Stretch(0, RATE), Stretch(2 * RATE, 3 * RATE), Stretch(9 * RATE, 20 * RATE)]
    assert windows(found, 4) == [
        Stretch(0, 3 * RATE),
        Stretch(9 * RATE, 13 * RATE),
        Stretch(13 * RATE, 17 * RATE),
        Stretch(17 * RATE, 20 * RATE),
    ]
