"""Draws the values of arguments by their kind: what a request shows, and what the call must hold.

A kind is written in a word or a few (`int 1 100`, `one celsius|kelvin`, `list city`); the format
is described in `catalogue/README.md`. Half of what is drawn is put together at random, so that
copying is the only way to be right. Knows no tool.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from llmos_kernel.abi import Json
from llmos_kernel.training.slots import Slots, number_in_words, ordinal

POOLS = Path(__file__).parent / "catalogue" / "pools.txt"
YES = ("yes", "true", "on", "yes", "enabled")
NO = ("no", "false", "off", "no", "disabled")
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SPANS = "minutes minutes hours hours days weeks months seconds".split()


@dataclass(frozen=True, slots=True)
class Drawn:
    """A value: how the request shows it, and what stands in the call."""

    shown: str
    value: Json


@dataclass(frozen=True, slots=True)
class Kind:
    """What values an argument takes. `options` are words, `low` and `high` bounds of numbers."""

    name: str
    options: tuple[str, ...] = ()
    low: float = 0
    high: float = 100
    item: Kind | None = None

    @property
    def is_text(self) -> bool:
        return self.name not in {"int", "num", "yes", "list", "one", "each"}

    def schema(self) -> dict[str, Json]:
        """Return the JSON schema of the values."""
        match self.name:
            case "int":
                return {"type": "integer"}
            case "num":
                return {"type": "number"}
            case "yes":
                return {"type": "boolean"}
            case "one":
                return {"type": "string", "enum": [option.split("=")[0] for option in self.options]}
            case "list" if self.item:
                return {"type": "array", "items": self.item.schema()}
            case _:
                return {"type": "string"}


def read_kind(text: str) -> Kind:
    """Read a kind as it is written in the catalogue.

    Raises:
        ValueError: it is none; the message names it.
    """
    name, _, rest = text.strip().partition(" ")
    match name:
        case "int" | "num":
            low, high = map(float, rest.split())
            return Kind(name, low=low, high=high)
        case "one" | "of":
            return Kind(name, tuple(option.strip() for option in rest.split("|")))
        case "list":
            return Kind(name, item=read_kind(rest))
        case _ if rest:
            raise ValueError(f"{text!r} is not a kind; see catalogue/README.md")
        case _:
            return Kind(name)


def read_pools(path: Path = POOLS) -> dict[str, tuple[str, ...]]:
    """Return lists of words by name; a line is `name: word, word`."""
    lines = (line.partition(": ") for line in path.read_text().splitlines() if line)
    return {name: tuple(word.strip() for word in words.split(",")) for name, _, words in lines}


class Values:
    """Draws values of every kind from one random source."""

    def __init__(
        self, rng: random.Random, slots: Slots, pools: Mapping[str, Sequence[str]]
    ) -> None:
        self._rng = rng
        self._slots = slots
        self._pools = pools
        self._makers: dict[str, Callable[[], str]] = {
            "word": slots.word,
            "words": lambda: slots.phrase(2, 4),
            "sentence": slots.sentence,
            "title": self._title,
            "person": slots.name,
            "company": self._company,
            "address": self._address,
            "date": self._date,
            "time": self._time,
            "duration": self._duration,
            "year": lambda: str(rng.randint(1850, 2035)),
            "id": self._identifier,
            "email": self._email,
            "url": self._url,
            "phone": self._phone,
            "ip": lambda: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
            "user": self._user,
            "path": slots.path,
            "version": lambda: ".".join(str(rng.randint(0, 20)) for _ in range(rng.choice([2, 3]))),
            "branch": self._branch,
            "code": slots.code,
            "formula": lambda: slots.draw("poly").shown,
            "digits": lambda: "".join(rng.choices("0123456789", k=rng.randint(4, 12))),
        }

    def knows(self, kind: Kind) -> bool:
        named = kind.item.name if kind.item else kind.name
        others = {"int", "num", "yes", "one", "of", "isodate", "clock"}
        return named in self._makers or named in self._pools or named in others

    def draw(self, kind: Kind) -> Drawn:
        """Draw a value of a kind.

        Raises:
            KeyError: the kind's name is unknown.
        """
        match kind.name:
            case "int":
                return self._integer(kind)
            case "num":
                return self._number(kind)
            case "yes":
                is_true = self._rng.random() < 0.7
                return Drawn(self._rng.choice(YES if is_true else NO), is_true)
            case "one":
                return self._option(kind)
            case "of":
                return self._open(kind.options)
            case "list" if kind.item:
                return self._list(kind.item)
            case "isodate":
                return self._iso_date()
            case "clock":
                return self._clock()
            case _:
                return self._text(kind.name)

    def other_words(self) -> str:
        """Return one to three words that belong nowhere."""
        return self._slots.phrase(1, 3)

    def _text(self, name: str) -> Drawn:
        if maker := self._makers.get(name):
            text = maker()
            return Drawn(text, text)
        return self._open(self._pools[name])

    def _open(self, options: Sequence[str]) -> Drawn:
        """Draw one of the options, or something else that is written like them."""
        text = self._rng.choice(options)
        if self._rng.random() < 0.35:
            other = self._slots.phrase(1, self._rng.choice([1, 1, 2]))
            text = other.title().replace("'S", "'s") if text[:1].isupper() else other
        return Drawn(text, text)

    def _option(self, kind: Kind) -> Drawn:
        value, _, other = self._rng.choice(kind.options).partition("=")
        shown = value.replace("_", " ") if self._rng.random() < 0.8 else value
        if other and self._rng.random() < 0.4:
            shown = self._rng.choice(other.split("/"))
        return Drawn(shown, value)

    def _list(self, item: Kind) -> Drawn:
        drawn = [self.draw(item) for _ in range(self._rng.choice([1, 2, 2, 3, 3, 4, 5]))]
        shown = [one.shown.replace(",", "") for one in drawn]
        values: list[Json] = [
            one.value.replace(",", "") if isinstance(one.value, str) else one.value for one in drawn
        ]
        gap = self._rng.choice([", ", ", ", ", ", " and "])
        if len(shown) > 1 and gap == ", " and self._rng.random() < 0.7:
            last = self._rng.choice([" and ", " and ", ", and "])
            return Drawn(f"{gap.join(shown[:-1])}{last}{shown[-1]}", values)
        return Drawn(gap.join(shown), values)

    # Numbers -------------------------------------------------------------

    def _integer(self, kind: Kind) -> Drawn:
        low, high = int(kind.low), int(kind.high)
        if high > 1000 and low >= 0 and self._rng.random() < 0.6:
            high = self._rng.choice([100, 1000, 10_000, high])
        number = self._rng.randint(low, max(min(high, int(kind.high)), low + 1))
        roll = self._rng.random()
        likely = 0.3 if abs(number) < 21 else 0.12 if abs(number) < 100 else 0.03
        if roll < likely:
            return Drawn(number_in_words(number), number)
        if number >= 1000 and not 1800 <= number < 2100 and roll > 0.85:
            return Drawn(f"{number:,}", number)
        return Drawn(str(number), number)

    def _number(self, kind: Kind) -> Drawn:
        whole = Kind("int", low=kind.low, high=kind.high)
        if kind.high - kind.low > 2 and self._rng.random() < 0.55:
            return self._integer(whole)
        number = self._rng.uniform(kind.low, kind.high)
        if number > 100 and self._rng.random() < 0.5:
            number = self._rng.uniform(max(kind.low, 0), 100)
        text = f"{number:.{self._rng.choice([1, 1, 2, 2, 3])}f}"
        return Drawn(str(float(text)), float(text))

    # Dates and times -----------------------------------------------------

    def _day(self) -> date:
        return date(2024, 1, 1) + timedelta(days=self._rng.randint(0, 1500))

    def _date(self) -> str:
        day = self._day()
        return self._rng.choice([
            "today",
            "tomorrow",
            self._rng.choice(WEEKDAYS),
            f"next {self._rng.choice(WEEKDAYS)}",
            f"{day.day} {day:%B}",
            f"{day:%B} {ordinal(day.day)}",
            f"{day:%B} {day.day}, {day.year}",
            f"{day.day} {day:%b} {day.year}",
            f"the {ordinal(day.day)} of {day:%B}",
            f"{day:%d/%m/%Y}",
            f"{day:%d.%m.}",
            day.isoformat(),
            day.isoformat(),
        ])  # fmt: skip

    def _iso_date(self) -> Drawn:
        """A date whose schema asks for YYYY-MM-DD; three in ten are shown another way."""
        day = self._day()
        other = [
            f"{day.day} {day:%B} {day.year}",
            f"{day:%B} {ordinal(day.day)}, {day.year}",
            f"{day:%B} {day.day}, {day.year}",
        ]
        shown = day.isoformat() if self._rng.random() < 0.7 else self._rng.choice(other)
        return Drawn(shown, day.isoformat())

    def _time(self) -> str:
        hour, minute = self._rng.randint(0, 23), self._rng.choice([0, 15, 30, 45, 5, 10, 20, 50])
        half = hour % 12 or 12
        return self._rng.choice([
            f"{hour}:{minute:02}",
            f"{hour:02}:{minute:02}",
            f"{half} {'am' if hour < 12 else 'pm'}",
            f"{half}{'am' if hour < 12 else 'pm'}",
            f"{half}:{minute:02} {'am' if hour < 12 else 'pm'}",
            f"half past {number_in_words(half)}",
            self._rng.choice(["noon", "midnight", "8 in the morning", "quarter to nine"]),
        ])  # fmt: skip

    def _clock(self) -> Drawn:
        """A time whose schema asks for HH:MM; three in ten are shown another way."""
        hour, minute = self._rng.randint(0, 23), self._rng.choice([0, 0, 15, 30, 45, 5, 50])
        text = f"{hour:02}:{minute:02}"
        if self._rng.random() < 0.7:
            return Drawn(text, text)
        minutes = f":{minute:02}" if minute else ""
        return Drawn(f"{hour % 12 or 12}{minutes} {'am' if hour < 12 else 'pm'}", text)

    def _duration(self) -> str:
        number = self._rng.choice([self._rng.randint(2, 12), self._rng.randint(2, 90)])
        shown = number_in_words(number) if self._rng.random() < 0.2 else str(number)
        return self._rng.choice(
            ["an hour", "half an hour", *[f"{shown} {self._rng.choice(SPANS)}"] * 8]
        )

    # Names and marks ------------------------------------------------------

    def _title(self) -> str:
        words = self._slots.phrase(1, 4)
        return words.title().replace("'S", "'s") if self._rng.random() < 0.7 else words

    def _company(self) -> str:
        name = self._slots.word().capitalize()
        end = ["", "", " Ltd", " GmbH", " Inc", " & Sons", " Group", " Labs", " Bank"]
        return name + self._rng.choice(end)

    def _address(self) -> str:
        street = self._slots.word().capitalize()
        number = self._rng.randint(1, 250)
        end = self._rng.choice(["Street", "Road", "Avenue", "Lane", "Square"])
        return self._rng.choice([f"{number} {street} {end}", f"{street} {end} {number}"])

    def _identifier(self) -> str:
        rng, letters = self._rng, self._slots.letters
        head = rng.choice(
            [letters(2, 4).upper(), self._slots.word()[:6].lower(), "ID", "INV", "ORD"]
        )
        return rng.choice([
            str(rng.randint(100, 99_999_999)),
            letters(5, 12),
            f"{head}-{rng.randint(1, 99_999)}",
            f"{head}{rng.randint(10, 9999)}",
            f"{head}_{letters(3, 8).lower()}",
            letters(6, 10).upper(),
        ]).replace("'", "")  # fmt: skip

    def _plain_word(self) -> str:
        return "".join(c for c in self._slots.word().lower() if c.isalnum()) or "kato"

    def _user(self) -> str:
        word = self._plain_word()
        tail = self._rng.choice(["", str(self._rng.randint(1, 99)), f"_{self._plain_word()}"])
        return f"{self._rng.choice(['', '', '@'])}{word}{tail}"

    def _email(self) -> str:
        first = self._rng.choice([self._slots.name().split()[0].lower(), self._plain_word()])
        dot = self._rng.choice(["", f".{self._plain_word()}", str(self._rng.randint(1, 99))])
        end = self._rng.choice(["com", "org", "net", "io", "de", "co.uk"])
        return f"{first}{dot}@{self._plain_word()}.{end}"

    def _url(self) -> str:
        head = self._rng.choice(["https://", "https://www.", "http://", "", "www."])
        tail = self._rng.choice(["", f"/{self._plain_word()}", f"/{self._plain_word()}.html"])
        return f"{head}{self._plain_word()}.{self._rng.choice(['com', 'org', 'net', 'io'])}{tail}"

    def _phone(self) -> str:
        digits = "".join(self._rng.choices("0123456789", k=9))
        return self._rng.choice([
            f"+{self._rng.randint(1, 99)} {digits}",
            f"{digits[:3]}-{digits[3:6]}-{digits[6:]}",
            f"0{digits}",
        ])  # fmt: skip

    def _branch(self) -> str:
        head = self._rng.choice(["feature", "fix", "release", "hotfix"])
        return self._rng.choice([
            "main",
            "develop",
            f"{head}/{self._plain_word()}",
            f"{self._plain_word()}-{self._plain_word()}",
        ])  # fmt: skip
