"""Questions about pictures with their answers, by kind, without end.

Knows what a picture shows, never its pixels.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from media_training import wordings
from media_training.figures import COLOURS, KINDS
from media_training.scenes import (
    COLOUR_NAMES,
    GROUND_WORDS,
    NAMES,
    NUMBERS,
    PLURALS,
    RELATION_WORDS,
    SCENERIES,
    ZONE_WORDS,
    Relation,
    Scene,
    Thing,
)
from media_training.wordings import Wordings

QuestionKind = Literal[
    "caption",
    "count",
    "colour",
    "background",
    "kind",
    "position",
    "size",
    "yes or no",
    "comparison",
    "not there",
    "odd picture",
    "writing",
]
CANNOT_TELL: Final = "i cannot tell"
WRITTEN: Final = "some written words"
CAPTION_QUESTION: Final = "describe the picture"
NUMBER_WORDS: Final = {0: "none", 1: "one", **NUMBERS}
GROUNDS: Final = {
    "meadow": "a meadow", "sea": "the sea", "snow": "snow", "desert": "a desert", "night": "night",
}  # fmt: skip
ZONE_ANSWERS: Final = {zone: words[0] for zone, words in ZONE_WORDS.items()}
TURNED: Final[dict[Relation, str]] = {
    "above": "under", "on": "under", "left of": "right of", "right of": "left of",
}  # fmt: skip
PLACE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    **RELATION_WORDS,
    "under": ("under", "below", "beneath"),
}
PLACES_OF_TWO: Final[dict[Relation, tuple[str, str]]] = {
    "above": ("at the top", "at the bottom"),
    "on": ("at the top", "at the bottom"),
    "left of": ("on the left", "on the right"),
    "right of": ("on the right", "on the left"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question in small letters, and what is to be answered."""

    kind: QuestionKind
    text: str
    answer: str


def a(words: str) -> str:
    """Put the article before words."""
    return f"an {words}" if words[0] in "aeio" else f"a {words}"


def description(scene: Scene) -> str:
    """Say in the one canonical form what a scene shows."""
    first = scene.things[0]
    named = f"{first.colour} {first.kind}"
    if scene.relation is not None:
        other = f"{scene.things[1].colour} {scene.things[1].kind}"
        # Which of two is the first cannot be seen: the left one is named first.
        text = f"{a(named)} {scene.relation} {a(other)}"
        if scene.relation == "right of":
            text = f"{a(other)} left of {a(named)}"
    elif scene.layout == "one":
        size = "" if scene.size_name == "medium" else f"{scene.size_name} "
        place = "" if scene.zone == "middle" else f" {ZONE_ANSWERS[scene.zone]}"
        text = f"{a(size + named)}{place}"
    else:
        row = " in a row" if scene.layout == "row" else ""
        text = f"{NUMBERS[len(scene.things)]} {first.colour} {_plural(first.kind)}{row}"
    if scene.background in SCENERIES:
        return f"{text} {GROUND_WORDS[scene.background][0]}"
    return f"{text} on {a(scene.background)} background"


class Asker:
    """Asks about scenes and other pictures in the wordings of training, or in those held out."""

    def __init__(self, rng: random.Random, *, held_out: bool = False) -> None:
        self._rng = rng
        self._is_held_out = held_out

    def about(self, scene: Scene) -> Question:
        """Ask one question about a scene."""
        asks: dict[Callable[[Scene], Question], int] = {
            self.caption: 6, self.count: 4, self.background: 3, self.position: 3,
            self.exists: 3, self.has_attribute: 3, self.not_there: 3, self.what: 3,
        }  # fmt: skip
        if scene.layout == "one":
            asks |= {self.colour: 4, self.size: 3}
        elif scene.relation is None:
            asks |= {self.colour: 4, self.more_or_fewer: 3}
        else:
            asks |= {self.colour: 5, self.relation: 4, self.which: 3, self.what: 5}
        ask = self._rng.choices(tuple(asks), tuple(asks.values()))[0]
        return ask(scene)

    def about_odd(self, scene: Scene) -> Question:
        """Ask about a picture that cannot be told; `scene` lends the words."""
        asked = self.about(scene)
        if self._rng.random() < 0.35:
            asked = self.caption(scene)
        return Question("odd picture", asked.text, CANNOT_TELL)

    def about_writing(self, scene: Scene) -> Question:
        """Ask about a picture of words, which tesseract reads, not the model."""
        choice = self._rng.random()
        if choice < 0.4:
            return self._ask("writing", wordings.CAPTION, WRITTEN)
        if choice < 0.7:
            return self._ask("writing", wordings.HAS_WRITING, "yes")
        return Question("writing", self.about_odd(scene).text, "")

    def caption(self, scene: Scene) -> Question:
        return self._ask("caption", wordings.CAPTION, description(scene))

    def count(self, scene: Scene) -> Question:
        if self._rng.random() < 0.2:
            return self._ask("count", wordings.COUNT_ALL, NUMBER_WORDS[len(scene.things)])
        kind = self._present(scene).kind if self._rng.random() < 0.8 else self._absent(scene)
        count = sum(thing.kind == kind for thing in scene.things)
        return self._ask("count", wordings.COUNT, NUMBER_WORDS[count], kinds=self._plural(kind))

    def colour(self, scene: Scene) -> Question:
        thing = self._present(scene)
        if not _is_alone(thing, scene):
            return self.count(scene)
        if len(scene.things) > 1 and scene.relation is None:
            kinds = self._plural(thing.kind)
            return self._ask("colour", wordings.COLOURS, thing.colour, kinds=kinds)
        return self._ask("colour", wordings.COLOUR, thing.colour, kind=self._name(thing.kind))

    def background(self, scene: Scene) -> Question:
        kind = self._name(self._present(scene).kind)
        answer = GROUNDS.get(scene.background, scene.background)
        return self._ask("background", wordings.BACKGROUND, answer, kind=kind)

    def what(self, scene: Scene) -> Question:
        thing = self._present(scene)
        named = f"{thing.colour} {thing.kind}"
        if scene.relation is None:
            answer = a(named)
            if len(scene.things) > 1:
                answer = f"{NUMBERS[len(scene.things)]} {thing.colour} {_plural(thing.kind)}"
            return self._ask("kind", wordings.KIND, answer, colour=self._colour(thing.colour))
        if self._rng.random() < 0.35 and scene.things[0].colour != scene.things[1].colour:
            return self._ask("kind", wordings.KIND, a(named), colour=self._colour(thing.colour))
        return self._ask("kind", wordings.AT_PLACE, a(named), place=self._place(scene, thing))

    def position(self, scene: Scene) -> Question:
        thing = self._present(scene)
        if not _is_alone(thing, scene) or scene.layout in ("several", "row"):
            return self.count(scene)
        answer = ZONE_ANSWERS[scene.zone]
        if scene.relation is not None:
            first, second = scene.things
            answer = f"{scene.relation} the {second.kind}"
            if thing is second:
                answer = f"{TURNED[scene.relation]} the {first.kind}"
        return self._ask("position", wordings.POSITION, answer, kind=self._name(thing.kind))

    def size(self, scene: Scene) -> Question:
        kind = self._name(scene.things[0].kind)
        return self._ask("size", wordings.SIZE, scene.size_name, kind=kind)

    def exists(self, scene: Scene) -> Question:
        thing = self._present(scene)
        kind, colour = thing.kind, thing.colour
        if self._rng.random() < 0.25:
            kind = self._absent(scene)
        has_colour = self._rng.random() < 0.5
        if has_colour and self._rng.random() < 0.5:
            colour = self._rng.choice(tuple(COLOURS))
        is_there = any(
            other.kind == kind and (other.colour == colour or not has_colour)
            for other in scene.things
        )
        words = f"{self._colour(colour)} {self._name(kind)}" if has_colour else self._name(kind)
        return self._ask("yes or no", wordings.EXISTS, _yes(is_there), a_thing=a(words))

    def has_attribute(self, scene: Scene) -> Question:
        thing = self._present(scene)
        kind = self._name(thing.kind)
        if self._rng.random() < 0.4 or not _is_alone(thing, scene):
            ground = scene.background
            if self._rng.random() < 0.5:
                ground = self._rng.choice((*COLOURS, *SCENERIES))
            return self._ask(
                "yes or no", wordings.HAS_BACKGROUND, _yes(ground == scene.background),
                ground=GROUNDS.get(ground, ground), kind=kind,
            )  # fmt: skip
        colour = thing.colour
        if self._rng.random() < 0.5:
            others = [other.colour for other in scene.things] + list(COLOURS)
            colour = self._rng.choice(others)
        return self._ask(
            "yes or no", wordings.HAS_COLOUR, _yes(colour == thing.colour),
            colour=self._colour(colour), kind=kind,
        )  # fmt: skip

    def relation(self, scene: Scene) -> Question:
        assert scene.relation is not None
        kinds = [thing.kind for thing in scene.things]
        if kinds[0] == kinds[1]:
            return self.same_colour(scene)
        is_turned = self._rng.random() < 0.5
        first, second = reversed(kinds) if is_turned else kinds
        actual = TURNED[scene.relation] if is_turned else scene.relation
        said = self._rng.choice(tuple(RELATION_WORDS))
        if said == "above" and actual == "on":
            return self.same_colour(scene)  # neither yes nor no is wrong
        words = self._rng.choice(RELATION_WORDS[said])
        return self._ask(
            "comparison", wordings.RELATION, _yes(said == actual),
            kind=self._name(first), relation=words, other=self._name(second),
        )  # fmt: skip

    def same_colour(self, scene: Scene) -> Question:
        is_same = scene.things[0].colour == scene.things[1].colour
        return self._ask("comparison", wordings.SAME_COLOUR, _yes(is_same))

    def which(self, scene: Scene) -> Question:
        assert scene.relation is not None
        upper, lower = scene.things
        if scene.relation not in ("above", "on"):
            return self.same_colour(scene)
        is_upper = self._rng.random() < 0.5
        thing = upper if is_upper else lower
        asked = wordings.WHICH_HIGHER if is_upper else wordings.WHICH_LOWER
        return self._ask("comparison", asked, a(f"{thing.colour} {thing.kind}"))

    def more_or_fewer(self, scene: Scene) -> Question:
        count, number = len(scene.things), self._rng.randint(2, 4)
        is_more = self._rng.random() < 0.5
        true = count > number if is_more else count < number
        asked = wordings.MORE_THAN if is_more else wordings.FEWER_THAN
        kinds = self._plural(scene.things[0].kind)
        return self._ask("comparison", asked, _yes(true), number=NUMBERS[number], kinds=kinds)

    def not_there(self, scene: Scene) -> Question:
        """Ask about what the picture does not show, or what no picture of this kind tells."""
        choice = self._rng.random()
        if choice < 0.35:
            thing = self._present(scene)
            return self._ask(
                "not there", wordings.BEYOND, CANNOT_TELL,
                kind=self._name(thing.kind), colour=self._colour(thing.colour),
            )  # fmt: skip
        kind = self._name(self._absent(scene))
        if choice < 0.65:
            kind = self._rng.choice(wordings.UNKNOWN_THINGS.of(held_out=self._is_held_out))
        asks = (wordings.COLOUR, wordings.POSITION, wordings.SIZE)
        if choice < 0.5:
            return self._ask("not there", wordings.EXISTS, CANNOT_TELL, a_thing=a(kind))
        return self._ask("not there", self._rng.choice(asks), CANNOT_TELL, kind=kind)

    def _ask(self, kind: QuestionKind, asked: Wordings, answer: str, /, **words: str) -> Question:
        text = self._rng.choice(asked.of(held_out=self._is_held_out))
        file = self._rng.choice(("picture", "scene", "image", "house", "star", "draw", "a", "test"))
        text = " ".join(text.format(file=file, **words).split())
        return Question(kind, text + "?" * (self._rng.random() < 0.6), answer)

    def _present(self, scene: Scene) -> Thing:
        return self._rng.choice(scene.things)

    def _absent(self, scene: Scene) -> str:
        present = {thing.kind for thing in scene.things}
        return self._rng.choice([kind for kind in KINDS if kind not in present])

    def _place(self, scene: Scene, thing: Thing) -> str:
        assert scene.relation is not None
        first, second = scene.things
        is_first = thing is first
        other = second if is_first else first
        if self._rng.random() < 0.5 or not _is_alone(other, scene):
            return PLACES_OF_TWO[scene.relation][0 if is_first else 1]
        relation = scene.relation if is_first else TURNED[scene.relation]
        return f"{self._rng.choice(PLACE_WORDS[relation])} the {self._name(other.kind)}"

    def _name(self, kind: str) -> str:
        return self._rng.choice(NAMES.get(kind, (kind,)))

    def _plural(self, kind: str) -> str:
        return _plural(self._name(kind))

    def _colour(self, colour: str) -> str:
        return self._rng.choice(COLOUR_NAMES.get(colour, (colour,)))


def _plural(name: str) -> str:
    return PLURALS.get(name, f"{name}s")


def _is_alone(thing: Thing, scene: Scene) -> bool:
    """Whether its kind names one thing, or things that are all alike."""
    return all(other.kind != thing.kind or other.colour == thing.colour for other in scene.things)


def _yes(is_true: bool) -> str:
    return "yes" if is_true else "no"
