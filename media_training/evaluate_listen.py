"""Measure a Whisper checkpoint on sentences that training never heard.

`python -m media_training.evaluate_listen` prints one JSON object of word error rates in percent and
writes `docs/media/listen.md`. Knows no tool: it asks `whisper.load_model` and `transcribe`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import whisper
from whisper.normalizers import EnglishTextNormalizer

from llmos_tools.listen.checkpoints import EMBEDDED_FILE
from llmos_tools.listen.transcriber import EMBEDDED_OPTIONS
from media_training.acoustics import echoed, noisy
from media_training.speech import Recording, Samples, festival, spoken, trained
from media_training.spoken import Sentence, Speaker

SHEET: Final = Path("docs/media/listen.md")
UNSEEN: Final = Path(__file__).parent / "unseen_sentences.txt"
NUM_SHOWN: Final = 12
NORMALIZED: Final = EnglishTextNormalizer()


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said and what the model wrote."""

    said: str
    written: str

    @property
    def errors(self) -> int:
        return distance(_words(self.said), _words(self.written))


def _words(text: str) -> list[str]:
    return str(NORMALIZED(text)).split()


def distance(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Return the fewest words to put in, take out or replace."""
    row = list(range(len(found) + 1))
    for index, word in enumerate(wanted, 1):
        above, row[0] = row[0], index
        for place, other in enumerate(found, 1):
            above, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, above + (word != other)),
            )
    return row[-1]


def error_rate(heard: Sequence[Heard]) -> float:
    """Return errors for each word said, in percent."""
    num_words = sum(len(_words(each.said)) for each in heard)
    return round(100 * sum(each.errors for each in heard) / num_words, 1)


def unseen_sentences(count: int, seed: int = 9) -> list[Sentence]:
    """Return half sentences of their own file, half held-out requests with drawn values."""
    written = [line.split(" | ") for line in UNSEEN.read_text().splitlines()]
    own = [Sentence(line[0], line[-1].lower().strip(".?")) for line in written][: count // 2]
    speaker = Speaker(random.Random(seed))
    return own + [speaker.phrasing(is_for_validation=True) for _ in range(count - len(own))]


def transcribed(
    model: Any, recordings: Sequence[Recording], rough: Callable[[Samples], Samples]
) -> list[Heard]:
    """Let the model write down each recording as it becomes in a room."""
    heard: list[Heard] = []
    for each in recordings:
        found = model.transcribe(rough(each.sound), fp16=False, **EMBEDDED_OPTIONS)
        heard.append(Heard(each.sentence.text, str(found["text"]).strip()))
    return heard


def measure(model: Any, count: int) -> dict[str, list[Heard]]:
    """Return what is heard of the same sentences, by kind of recording."""
    drawn = unseen_sentences(count)
    rng = np.random.default_rng(9)
    known, foreign = spoken(drawn, 9, trained), spoken(drawn, 9, festival)
    return {
        "voices of training": transcribed(model, known, lambda sound: sound),
        "festival, never heard": transcribed(model, foreign, lambda sound: sound),
        "noise at 15 dB": transcribed(model, known, lambda sound: noisy(sound, rng, 15)),
        "noise at 5 dB": transcribed(model, known, lambda sound: noisy(sound, rng, 5)),
        "echo": transcribed(model, known, lambda sound: echoed(sound, rng)),
    }


def sheet(heard: dict[str, list[Heard]]) -> str:
    """Return the page: the rates, and some sentences as they were heard."""
    rates = "\n".join(f"| {kind} | {error_rate(each)} |" for kind, each in heard.items())
    first = next(iter(heard))
    step = max(len(heard[first]) // NUM_SHOWN, 1)
    samples = "\n".join(
        f"| {known.said} | {known.written} | {foreign.written} |"
        for known, foreign in list(zip(heard[first], heard["festival, never heard"], strict=True))[
            ::step
        ]
    )
    return f"""# What the embedded listen hears

Word error rate in percent on {len(heard[first])} sentences that training never heard, half of them
of other templates; written by `python -m media_training.evaluate_listen`.

| recording | word error rate, % |
|---|---|
{rates}

| said | heard, {first} | heard, festival |
|---|---|---|
{samples}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(EMBEDDED_FILE))
    parser.add_argument("--count", type=int, default=120)
    options = parser.parse_args()
    heard = measure(whisper.load_model(options.checkpoint, device="cpu"), options.count)
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    SHEET.write_text(sheet(heard))
    print(json.dumps({kind: error_rate(each) for kind, each in heard.items()}))


if __name__ == "__main__":
    main()
