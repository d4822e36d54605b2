"""Names tools and arguments in every style, so that a table must be read and not remembered.

Knows nothing of requests.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SYNONYMS = Path(__file__).parent / "catalogue" / "synonyms.txt"
ARTICLES = {"a", "an", "the", "of", "for", "to", "in", "and", "with", "from", "about"}
QUESTION_WORDS = frozenset("who what when where how why which whose whether by in".split())
MOST_NAME_CHARS = 48


def read_sections(path: Path) -> dict[str, list[str]]:
    """Return the lines of a file by the `[heading]` above them; `\\n` in a line is a line break."""
    sections: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            sections[line[1:-1]] = []
        elif line:
            list(sections.values())[-1].append(line.replace("\\n", "\n"))
    return sections


def words_of(name: str) -> list[str]:
    """Return the words of a name in any style, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _camel(words: Sequence[str]) -> str:
    return words[0] + "".join(word.capitalize() for word in words[1:])


STYLES: dict[str, Callable[[Sequence[str]], str]] = {
    "snake": "_".join,
    "camel": _camel,
    "pascal": lambda words: "".join(word.capitalize() for word in words),
    "dotted": lambda words: ".".join([words[0], "_".join(words[1:])]) if words[1:] else words[0],
    "kebab": "-".join,
    "flat": "".join,
}
ARGUMENT_STYLES = {"camel": "camel", "pascal": "camel", "kebab": "kebab"}


class Naming:
    """Draws other names and wordings. `synonyms` are the sections of `catalogue/synonyms.txt`."""

    def __init__(self, rng: random.Random, synonyms: Mapping[str, Sequence[str]]) -> None:
        self._rng = rng
        names = (line.partition(": ") for line in synonyms["names"])
        verbs = (line.partition(": ") for line in synonyms["verbs"])
        self._names = {word: others.split() for word, _, others in names}
        self._verbs = {verb: others.split("|") for verb, _, others in verbs}

    def style(self) -> str:
        return self._rng.choices(list(STYLES), [10, 7, 2, 3, 2, 1])[0]

    def tool(self, name: str, domain: str, style: str) -> str:
        """Return a tool's name: as it was, with other words, cut short, or made up."""
        words = words_of(name)
        roll = self._rng.random()
        if roll < 0.35:
            words = self._replaced(words)
        elif roll < 0.42:
            words = words[1:] + words[:1]
        elif roll < 0.48:
            words = [self._shortened(word) for word in words]
        elif roll < 0.53 and not domain.startswith("schemas"):
            words = [*words_of(domain)[:1], *words]
        elif roll < 0.57:
            words = [*words, self._rng.choice(["tool", "api", "v2", "service", "action"])]
        return STYLES[style](words or ["tool"])[:MOST_NAME_CHARS]

    def made_up(self, style: str) -> str:
        """Return a name that says nothing; its description must."""
        syllables = [self._syllable() + self._syllable() for _ in range(self._rng.randint(1, 2))]
        return STYLES[style](syllables)

    def argument(self, name: str, style: str) -> str:
        """Return an argument's name: as it was, with other words, or cut short."""
        words = words_of(name)
        roll = self._rng.random()
        if roll < 0.25:
            words = self._replaced(words)
        elif roll < 0.3:
            words = [self._shortened(word) for word in words]
        elif roll < 0.36:
            end = self._rng.choice(["value", "name", "input", "arg", "param"])
            words = [*words, end] if end not in words else words
        return STYLES[ARGUMENT_STYLES.get(style, "snake")](words or ["value"])[:MOST_NAME_CHARS]

    def verb(self, text: str, share: float) -> str:
        """Return a command with its first word exchanged for another of the same meaning."""
        first, _, rest = text.partition(" ")
        others = self._verbs.get(first.lower())
        if not others or self._rng.random() > share:
            return text
        other = self._rng.choice(others)
        return f"{other if first.islower() else other.capitalize()} {rest}"

    def is_lookup(self, text: str) -> bool:
        """Whether a command asks for something to be shown, and so can be put as a question."""
        return text.split(" ", maxsplit=1)[0].lower() in {
            "retrieve",
            "get",
            "find",
            "list",
            "check",
            "show",
        }

    def _replaced(self, words: Sequence[str]) -> list[str]:
        return [
            self._rng.choice(self._names[word])
            if word in self._names and self._rng.random() < 0.7
            else word
            for word in words
        ]

    def _shortened(self, word: str) -> str:
        if len(word) < 5:
            return word
        cut = word[0] + re.sub("[aeiou]", "", word[1:])
        return self._rng.choice([word[:3], word[:4], cut])

    def _syllable(self) -> str:
        return self._rng.choice("bdfgklmnprstvz") + self._rng.choice("aeiou")


def noun_phrase(description: str) -> str:
    """Return the first words of a description: of `unique ID of the user`, `unique ID`."""
    text = re.split(
        r"[(,;.:]| for which | that | to be | you | which | of the | in the |"
        r" for the | to | on which | where ",
        description,
    )[0]
    words = text.split()
    while words and words[0].lower() in ARTICLES | {"name"} and len(words) > 1:
        words = words[1:]
    return " ".join(words[:5])
