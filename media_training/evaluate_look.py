"""Measure the checkpoint of look: `python -m media_training.evaluate_look` prints a JSON object.

Asks questions in wordings, about combinations and about odd pictures that training never saw, and
lays some out in docs/media/look.png. Knows no training.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw

from llmos_tools.look.reader import text_of
from llmos_tools.look.seer import Seer
from llmos_tools.look.settings import LookSettings
from media_training.odd_pictures import font, kept_pictures, odd_pictures, written
from media_training.questions import CANNOT_TELL, Asker, Question
from media_training.scenes import render, scenes

NUM_SCENE, NUM_ODD, NUM_SEEN_KINDS, NUM_WRITTEN, NUM_READ = 400, 40, 20, 20, 20
CELL: Final = 150
ROOT: Final = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Answered:
    """A question about a picture, and what was answered."""

    picture: Image.Image
    question: Question
    said: str

    @property
    def is_right(self) -> bool:
        return _plain(self.said) == _plain(self.question.answer)


def asked(seed: int) -> Iterator[tuple[Image.Image, Question]]:
    """Yield the questions that the model answers; those to be read come after them."""
    rng = random.Random(seed)
    asker = Asker(rng, held_out=True)
    drawn = scenes(seed, held_out=True)
    for scene in itertools.islice(drawn, NUM_SCENE):
        yield render(scene), asker.about(scene)
    odd = itertools.chain(
        itertools.islice(kept_pictures(seed), NUM_ODD),
        itertools.islice(odd_pictures(seed), NUM_SEEN_KINDS),
    )
    for picture in odd:
        yield picture, asker.about_odd(next(drawn))
    for _ in range(NUM_WRITTEN):
        question = asker.about_writing(next(drawn))
        while not question.answer:
            question = asker.about_writing(next(drawn))
        yield written(rng), question


def answers(checkpoint: str, seed: int) -> Iterator[Answered]:
    """Ask the model, and let tesseract read pictures of words."""
    seer = Seer(checkpoint, print_nothing)
    with tempfile.TemporaryDirectory() as name:
        for picture, question in asked(seed):
            picture.save(Path(name, "picture.png"))
            reply = seer.answer({"question": question.text}, Path(name), print_nothing)
            yield Answered(picture, question, str(reply["answer"]))
    rng = random.Random(seed)
    for words in rng.choices(READ, k=NUM_READ):
        picture = written(rng, words)
        text, _ = text_of(picture)
        yield Answered(picture, Question("writing", "what does it say?", words), text)


READ: Final = (
    "OPEN", "Closed today", "No entry", "Platform 9", "Fresh bread\n3 for 2", "Exit", "Danger",
    "Please ring\nthe bell", "Room 214", "Sale ends Friday", "Hello world", "Total 18 euros",
)  # fmt: skip


def figures(all_answers: list[Answered]) -> dict[str, Any]:
    """Count what is right, by kind; `cannot_tell` sets apart when that was said."""
    right, total = Counter[str](), Counter[str]()
    for answered in all_answers:
        total[answered.question.kind] += 1
        right[answered.question.kind] += answered.is_right
    said = [one for one in all_answers if _plain(one.said) == CANNOT_TELL]
    due = [one for one in all_answers if one.question.answer == CANNOT_TELL]
    return {
        "tool": "look",
        "questions": len(all_answers),
        "right": round(right.total() / total.total(), 3),
        "by_kind": {kind: [right[kind], total[kind]] for kind in sorted(total)},
        "cannot_tell": {
            "said": len(said),
            "precision": _share(sum(one.is_right for one in said), len(said)),
            "recall": _share(sum(one.is_right for one in due), len(due)),
            "on_odd_pictures": [right["odd picture"], total["odd picture"]],
        },
    }


def sheet(some: list[Answered], *, columns: int = 6) -> Image.Image:
    """Lay out pictures, each with its question and the answer, wrong ones in red."""
    height = CELL + 62
    rows = -(-len(some) // columns)
    page = Image.new("RGB", (columns * (CELL + 20), rows * height), "white")
    pen, letters = ImageDraw.Draw(page), font("DejaVuSans", 10)
    for index, answered in enumerate(some):
        x, y = index % columns * (CELL + 20) + 10, index // columns * height + 6
        page.paste(
            answered.picture.resize((CELL - 20, CELL - 20), Image.Resampling.BICUBIC), (x, y)
        )
        pen.rectangle((x - 1, y - 1, x + CELL - 20, y + CELL - 20), outline="grey")
        asked_in = textwrap.fill(answered.question.text, 26)
        pen.multiline_text((x, y + CELL - 18), asked_in, fill="grey", font=letters, spacing=2)
        below = y + CELL - 18 + 14 * len(asked_in.splitlines())
        colour = "black" if answered.is_right else "red"
        pen.multiline_text(
            (x, below), textwrap.fill(answered.said, 26), fill=colour, font=letters, spacing=2
        )
    return page


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def print_nothing(text: str) -> None:
    """Take a report of progress."""


def main() -> None:
    """Evaluate the shipped checkpoint, or another."""
    parser = argparse.ArgumentParser(description=__doc__)
    shipped = LookSettings.model_validate({}).folder_or_name
    parser.add_argument("--checkpoint", default=shipped)
    parser.add_argument("--sheet", type=Path, default=ROOT / "docs" / "media" / "look.png")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--show-wrong", action="store_true", help="print each wrong answer too")
    options = parser.parse_args()
    found = list(answers(options.checkpoint, options.seed))
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet([*found[:30], *found[NUM_SCENE : NUM_SCENE + 12], *found[-6:]]).save(options.sheet)
    for answered in found if options.show_wrong else ():
        if not answered.is_right:
            kind, text, answer = (
                answered.question.kind,
                answered.question.text,
                answered.question.answer,
            )
            print(f"{kind}: {text!r} is {answer!r}, not {answered.said!r}")
    print(json.dumps(figures(found)))


if __name__ == "__main__":
    main()
