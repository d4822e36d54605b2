"""Sentences that people say to a shell: how they are written, and how they are said.

Written as a shell wants them: numbers as digits, file names as they stand on the disk, a capital
at the start, a mark at the end. Knows no voice and no tokenizer.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from llmos_kernel.training.everyday_slots import (
    BELONGINGS,
    CHORES,
    CITIES,
    COLOURS,
    MONTHS,
    RELATIVES,
    SHAPES,
    THINGS,
    WEEKDAYS,
)
from llmos_kernel.training.phrasings import is_held_out, read_intents
from llmos_kernel.training.slots import FILE_WORDS, FIRST_NAMES, FOLDERS, SLOT, number_in_words

# Between signs that are one token each however often they meet: digits, spelled letters.
JOINT: Final = "\x1f"
NUM_WORDS: Final = 1000
MOST_WORDS: Final = 13
SPEAKABLE: Final = re.compile(r"[A-Za-z][A-Za-z', ]*[.?!]?")
EXTENSIONS: Final = {
    "txt": "t x t",
    "py": "p y",
    "csv": "c s v",
    "json": "jason",
    "md": "m d",
    "pdf": "p d f",
    "png": "p n g",
    "jpg": "j p g",
    "wav": "wave",
    "mp3": "m p three",
    "html": "h t m l",
}
OPERATORS: Final = ("plus", "minus", "times", "divided by", "multiplied by")
SUMS: Final = (
    "What is {}?",
    "What's {}?",
    "Calculate {}.",
    "Work out {}.",
    "How much is {}?",
    "Compute {}.",
    "Tell me {}.",
    "{}.",
    "Please work out {}.",
    "Can you calculate {}?",
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """`said` is plain lower-case words; `written` may hold `JOINT`."""

    written: str
    said: str

    @property
    def text(self) -> str:
        """What the recording should be written down as."""
        return self.written.replace(JOINT, "")


def same(words: str) -> Sentence:
    return Sentence(words, words.replace("-", " "))


def digits(number: int | str) -> str:
    return JOINT.join(str(number))


def number(value: int) -> Sentence:
    return Sentence(digits(value), _plain(number_in_words(value)))


def _plain(text: str) -> str:
    """Return lower-case letters, apostrophes and single spaces."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


@lru_cache(maxsize=1)
def phrasings() -> tuple[str, ...]:
    """The requests of the language model's training that can be said, in common words."""
    requests = {
        request
        for intent in read_intents()
        for request in intent.requests
        if SPEAKABLE.fullmatch(SLOT.sub("x", request))
        and set(SLOT.findall(request)) <= set(Speaker.SLOTS)
        and len(request.split()) <= MOST_WORDS
    }
    known = set(common_words())
    return tuple(r for r in sorted(requests) if set(_plain(SLOT.sub("", r)).split()) <= known)


@lru_cache(maxsize=1)
def common_words() -> tuple[str, ...]:
    """The words that occur most in requests, most frequent first."""
    counts = Counter(
        word
        for intent in read_intents()
        for request in intent.requests
        if SPEAKABLE.fullmatch(SLOT.sub("x", request))
        for word in _plain(SLOT.sub("", request)).split()
        if len(word) > 1 or word in "ai"
    )
    return tuple(word for word, _ in counts.most_common(NUM_WORDS))


class Speaker:
    """Draws sentences; the generator of random numbers fixes them."""

    SLOTS: Final = (
        "a b c d n m k N p numbers wordexpr name path txt py csv json md dir image audio duration "
        "when city word phrase text say query wordlist fact topic chore scene task"
    ).split()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._words = common_words()
        self._makers: dict[str, Callable[[], Sentence]] = {
            **dict.fromkeys(("a", "b", "c", "d", "n", "m", "k", "N", "p"), self.number),
            **dict.fromkeys(
                ("path", "txt", "py", "csv", "json", "md", "image", "audio"), self.file
            ),
            **dict.fromkeys(("phrase", "text", "say", "query", "wordlist"), self.phrase),
            "numbers": self.numbers,
            "wordexpr": self.sum,
            "name": lambda: same(self._rng.choice(FIRST_NAMES)),
            "dir": lambda: same(self._rng.choice(FOLDERS)),
            "duration": self.duration,
            "when": self.when,
            "city": lambda: same(self._rng.choice(CITIES)),
            "word": lambda: same(self._rng.choice(self._words)),
            "fact": self.fact,
            "topic": self.topic,
            "chore": self.chore,
            "scene": self.scene,
            "task": self.phrase,
        }

    def sentence(self) -> Sentence:
        """Draw one sentence of those that training may hear."""
        roll = self._rng.random()
        if roll < 0.6:
            return self.phrasing(is_for_validation=False)
        if roll < 0.78:
            return self._whole(self._rng.choice(SUMS).format("<wordexpr>"))
        if roll < 0.93:
            return self._ended(self.phrase(2, 7))
        return self._ended(self._rng.choice([self.file, self.numbers, self.when, self.duration])())

    def phrasing(self, *, is_for_validation: bool) -> Sentence:
        """Draw a request of the phrasings, of those kept for validation or of the others."""
        while True:
            request = self._rng.choice(phrasings())
            if is_held_out(request) == is_for_validation:
                return self._whole(request)

    def _whole(self, template: str) -> Sentence:
        values: dict[str, Sentence] = {}

        def value(slot: str) -> Sentence:
            return values.setdefault(slot, self._makers[slot]())

        template = re.sub(r"\bi\b", "I", template)
        written = SLOT.sub(lambda match: value(match[1]).written, template)
        said = SLOT.sub(lambda match: f" {value(match[1]).said} ", template)
        return self._ended(Sentence(written, said))

    def _ended(self, sentence: Sentence) -> Sentence:
        written = sentence.written[0].upper() + sentence.written[1:]
        if written[-1] not in ".?!":
            written += "?" if written.split()[0] in QUESTION_WORDS else "."
        return Sentence(written, _plain(sentence.said))

    def number(self) -> Sentence:
        roll = self._rng.random()
        if roll < 0.5:
            return number(self._rng.randint(0, 99))
        if roll < 0.75:
            return number(self._rng.randint(100, 999))
        if roll < 0.88:
            return number(self._rng.randint(1, 99) * 100)
        whole, part = self._rng.randint(0, 99), self._rng.randint(1, 9)
        return Sentence(
            f"{digits(whole)}.{part}", f"{number(whole).said} point {number(part).said}"
        )

    def numbers(self) -> Sentence:
        each = [number(self._rng.randint(0, 99)) for _ in range(self._rng.randint(3, 5))]
        return Sentence(
            f"{', '.join(n.written for n in each[:-1])} and {each[-1].written}",
            f"{' '.join(n.said for n in each[:-1])} and {each[-1].said}",
        )

    def sum(self) -> Sentence:
        left, right = self.number(), self.number()
        operator = self._rng.choice(OPERATORS)
        return Sentence(
            f"{left.written} {operator} {right.written}", f"{left.said} {operator} {right.said}"
        )

    def file(self) -> Sentence:
        extension, said = self._rng.choice(list(EXTENSIONS.items()))
        stem = self._stem()
        written = extension.replace("3", f"{JOINT}3")
        return Sentence(f"{stem.written}.{written}", f"{stem.said} dot {said}")

    def _stem(self) -> Sentence:
        roll = self._rng.random()
        if roll < 0.25:
            letters = self._rng.choices("abcdefghijklmnopqrstuvwxyz", k=self._rng.randint(2, 4))
            return Sentence(JOINT.join(letters), " ".join(letters))
        word = self._rng.choice(FILE_WORDS)
        if roll < 0.75:
            return same(word)
        last = number(self._rng.randint(1, 30))
        joint = self._rng.choice([("-", "dash"), ("_", "underscore"), ("", "")])
        return Sentence(f"{word}{joint[0]}{JOINT}{last.written}", f"{word} {joint[1]} {last.said}")

    def phrase(self, shortest: int = 1, longest: int = 5) -> Sentence:
        count = self._rng.randint(shortest, longest)
        return same(" ".join(self._rng.choice(self._words) for _ in range(count)))

    def duration(self) -> Sentence:
        count = number(self._rng.randint(2, 60))
        unit = self._rng.choice(["seconds", "minutes", "minutes", "hours", "days"])
        return Sentence(f"{count.written} {unit}", f"{count.said} {unit}")

    def when(self) -> Sentence:
        day = self._rng.choice(
            ["", "today", "tomorrow", "tonight", f"on {self._rng.choice(WEEKDAYS)}", "every day"]
        )
        if self._rng.random() < 0.15:
            date = self._rng.randint(1, 31)
            month = self._rng.choice(MONTHS)
            return Sentence(f"on {month} {digits(date)}", f"on {month} {number(date).said}")
        hour = self._rng.randint(1, 12)
        minute = self._rng.choice([None, None, 15, 30, 45, self._rng.randint(10, 59)])
        half = self._rng.choice([("", ""), (" am", " a m"), (" pm", " p m")])
        written, said = digits(hour), number(hour).said
        if minute is not None:
            written, said = f"{written}:{digits(minute)}", f"{said} {number(minute).said}"
        return Sentence(f"{day} at {written}{half[0]}".strip(), f"{day} at {said}{half[1]}".strip())

    def topic(self) -> Sentence:
        whose = self._rng.choice(["my", f"my {self._rng.choice(RELATIVES)}'s"])
        return same(f"{whose} {self._rng.choice(BELONGINGS)}")

    def fact(self) -> Sentence:
        topic = self.topic()
        value = self._rng.choice([self.number, self.phrase])()
        return Sentence(f"{topic.written} is {value.written}", f"{topic.said} is {value.said}")

    def chore(self) -> Sentence:
        return same(f"{self._rng.choice(CHORES)} {self._rng.choice(FIRST_NAMES)}")

    def scene(self) -> Sentence:
        thing = self._rng.choice([*THINGS, *SHAPES])
        return same(f"a {self._rng.choice(COLOURS)} {thing}")


QUESTION_WORDS: Final = {
    "What", "Who", "When", "Where", "Which", "How", "Why", "Is", "Are", "Can", "Could", "Do",
    "Does", "Did", "Will", "Would", "What's", "Has", "Have",
}  # fmt: skip


def sentences(seed: int) -> Iterator[Sentence]:
    """Yield sentences for training without end; the seed fixes them."""
    speaker = Speaker(random.Random(seed))
    while True:
        yield speaker.sentence()
