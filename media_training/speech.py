"""Speak sentences with synthesizers of Debian: `python -m media_training.speech --out runs/speech`.

Writes shards of recordings, 16 kHz in 16 bits, each with its sentences; those that are there stay.
Knows neither noise nor any model.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media_training.spoken import Sentence, sentences

RATE: Final = 16_000
SHARD: Final = 250
# A multiple of it has small prime factors more often than not: the transform is quick.
FAST: Final = 1600
FLITE_SHARE: Final = 0.3
ACCENTS: Final = (
    "en-gb en-us en-gb-x-rp en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-us-nyc en-029"
).split()
VARIANTS: Final = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Alicia Andrea Andy Annie Denis Diogo Gene Lee "
    "Marco Mario Michael Mike adam anika antonio belinda benjamin boris caleb david ed edward "
    "linda max norbert pablo paul pedro quincy rob robert sandro shelby steph travis victor zac"
).split()
# `kal` and `kal16` are left out: festival's voice, which training must not hear, is their source.
FLITE_VOICES: Final = ("slt", "rms", "awb")

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """One sentence, spoken: 16 bits at `RATE`, on the disk until they are used."""

    sentence: Sentence
    samples: NDArray[np.int16]

    @property
    def sound(self) -> Samples:
        """The samples from -1 to 1."""
        return self.samples.astype(np.float32) / np.float32(32768)


def espeak(said: str, rng: random.Random) -> Samples:
    """Speak by espeak-ng in a drawn voice, speed and pitch."""
    voice = f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS)}"
    speed, pitch = rng.randint(120, 200), rng.randint(25, 75)
    return _spoken(["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", said])


def flite(said: str, rng: random.Random) -> Samples:
    """Speak by flite in a drawn voice and speed."""
    stretch = f"--setf duration_stretch={rng.uniform(0.85, 1.25):.2f}".split()
    voice = rng.choice(FLITE_VOICES)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(
            ["flite", "-voice", voice, *stretch, "-t", said, "-o", file.name], check=True
        )
        return samples_of(Path(file.name).read_bytes())


def festival(said: str, rng: random.Random) -> Samples:
    """Speak by festival in its one voice; the generator of random numbers is not asked."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["text2wave", "-o", file.name], input=said.encode(), check=True)
        return samples_of(Path(file.name).read_bytes())


def trained(said: str, rng: random.Random) -> Samples:
    """Speak by one of the voices that training hears."""
    return (flite if rng.random() < FLITE_SHARE else espeak)(said, rng)


def _spoken(command: Sequence[str]) -> Samples:
    return samples_of(subprocess.run(command, check=True, capture_output=True).stdout)


def samples_of(wav: bytes) -> Samples:
    """Return one channel at `RATE`. A header written to a pipe may claim more than there is."""
    with wave.open(io.BytesIO(wav)) as file:
        rate = file.getframerate()
        sound = np.frombuffer(file.readframes(len(wav)), np.int16).astype(np.float32)
        sound /= np.float32(32768)
    return resampled(sound, rate, RATE)


def resampled(sound: Samples, rate: float, wanted: float) -> Samples:
    """Resample by the Fourier transform, so that nothing folds back."""
    if rate == wanted:
        return sound
    sound = np.pad(sound, (0, -len(sound) % FAST))
    length = round(len(sound) * wanted / rate)
    spectrum = np.fft.rfft(sound)
    kept = spectrum[: length // 2 + 1]
    return (np.fft.irfft(kept, length) * (length / len(sound))).astype(np.float32)


def spoken(
    drawn: Sequence[Sentence], seed: int, voice: Callable[[str, random.Random], Samples]
) -> list[Recording]:
    """Speak sentences, two at a time; the seed fixes the voices."""

    def speak(index: int, sentence: Sentence) -> Samples:
        return voice(sentence.said, random.Random(seed * 1_000_003 + index))

    with ThreadPoolExecutor(2) as pool:
        sounds = pool.map(speak, itertools.count(), drawn)
        return [
            Recording(sentence, np.round(sound * 32767).astype(np.int16))
            for sentence, sound in zip(drawn, sounds, strict=True)
        ]


def write_shard(folder: Path, index: int) -> None:
    """Write one shard, whole or not at all."""
    drawn = list(itertools.islice(sentences(1000 + index), SHARD))
    recordings = spoken(drawn, 1000 + index, trained)
    texts = [
        {"written": r.sentence.written, "said": r.sentence.said, "length": len(r.samples)}
        for r in recordings
    ]
    (folder / f"{index:04}.json").write_text(json.dumps(texts))
    waiting = folder / f"{index:04}.part"
    waiting.write_bytes(np.concatenate([r.samples for r in recordings]).tobytes())
    waiting.rename(folder / f"{index:04}.pcm")


def shards(folder: Path) -> list[Path]:
    """Return the shards that are whole, oldest first."""
    return sorted(folder.glob("*.pcm"))


def read_shard(path: Path) -> Iterator[Recording]:
    """Yield the recordings of a shard."""
    sound = np.memmap(path, np.int16, "r")
    start = 0
    for each in json.loads(path.with_suffix(".json").read_text()):
        end = start + each["length"]
        yield Recording(Sentence(each["written"], each["said"]), sound[start:end])
        start = end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=60)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for index in range(options.shards):
        if not (options.out / f"{index:04}.pcm").exists():
            write_shard(options.out, index)
            print(f"shard {index} of {options.shards}", flush=True)


if __name__ == "__main__":
    main()
