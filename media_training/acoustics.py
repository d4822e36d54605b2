"""What a room, a line and a microphone do to speech: noise, echo, level, the telephone's band.

Knows no words.
"""

from __future__ import annotations

import numpy as np

from media_training.speech import FAST, RATE, Samples, resampled


def roughened(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return a recording of the sound as one of many devices in many rooms would make it."""
    if rng.random() < 0.3:
        sound = resampled(sound, RATE, RATE * rng.uniform(0.9, 1.12))
    sound = np.pad(sound, (int(rng.uniform(0, 0.4) * RATE), int(rng.uniform(0.05, 0.4) * RATE)))
    sound = np.pad(sound, (0, -len(sound) % FAST))
    if rng.random() < 0.3:
        sound = echoed(sound, rng)
    if rng.random() < 0.15:
        sound = narrowed(sound)
    if rng.random() < 0.6:
        sound = noisy(sound, rng, rng.uniform(5, 35))
    peak = float(np.abs(sound).max()) or 1.0
    return (sound / peak * rng.uniform(0.05, 0.95)).astype(np.float32)


def noisy(sound: Samples, rng: np.random.Generator, ratio_db: float) -> Samples:
    """Add noise between white and brown, so many decibels below the speech."""
    noise = noise_of(len(sound), rng)
    power = float(np.mean(sound**2)) or 1e-8
    return sound + noise * np.sqrt(power / 10 ** (ratio_db / 10)).astype(np.float32)


def noise_of(length: int, rng: np.random.Generator) -> Samples:
    """Return noise of power 1 whose spectrum falls by a drawn exponent."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    tilt = np.arange(1, len(spectrum) + 1) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum * tilt, length)
    return (noise / (np.std(noise) or 1)).astype(np.float32)


def echoed(sound: Samples, rng: np.random.Generator) -> Samples:
    """Convolve with a drawn room: the direct sound and a tail of noise that dies away."""
    length = int(rng.uniform(1, 4)) * FAST
    tail = rng.standard_normal(length) * np.exp(-np.arange(length) * 6.9 / length)
    room = tail * rng.uniform(0.1, 0.5) / np.sqrt(np.sum(tail**2))
    room[0] = 1
    whole = len(sound) + length
    echo = np.fft.irfft(np.fft.rfft(sound, whole) * np.fft.rfft(room, whole), whole)
    return echo[: len(sound)].astype(np.float32)


def narrowed(sound: Samples) -> Samples:
    """Keep what a telephone line carries, 300 to 3,400 Hz."""
    spectrum = np.fft.rfft(sound)
    hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    return np.fft.irfft(spectrum, len(sound)).astype(np.float32)
