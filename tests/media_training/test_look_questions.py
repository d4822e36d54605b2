"""Questions about scenes: their answers follow from the scene, and held-out wordings stay out."""

from __future__ import annotations

import itertools
import random

from media_training import wordings
from media_training.questions import (
    CANNOT_TELL,
    NUMBER_WORDS,
    TURNED,
    Asker,
    Question,
    description,
)
from media_training.scenes import Scene, Thing, scenes
from media_training.wordings import Wordings

HOUSE = Thing("house", "red", 0.36, 0.5, 0.22)
STAR = Thing("star", "blue", 0.42, 0.5, 0.73)
PAIR = Scene("snow", "two", (HOUSE, STAR), relation="above")
EVERYTHING = [value for value in vars(wordings).values() if isinstance(value, Wordings)]


def asked(scene: Scene, *, held_out: bool = False) -> list[Question]:
    asker = Asker(random.Random(1), held_out=held_out)
    return [asker.about(scene) for _ in range(20_000)]


def answers(questions: list[Question], text: str) -> set[str]:
    return {one.answer for one in questions if one.text.removesuffix("?") == text}


def test_a_description_says_all_that_a_scene_shows() -> None:
    assert description(PAIR) == "a red house above a blue star in the snow"
    beside = Scene("white", "two", (HOUSE, STAR), relation="right of")
    assert description(beside) == "a blue star left of a red house on a white background"
    small = Scene("white", "one", (Thing("tree", "green", 0.24, 0.2, 0.2),), "top left", "small")
    assert description(small) == "a small green tree in the top left corner on a white background"
    row = Scene("sea", "row", (STAR,) * 3)
    assert description(row) == "three blue stars in a row at the sea"


def test_questions_about_two_things_are_answered_by_what_they_are() -> None:
    questions = asked(PAIR)
    assert answers(questions, "what colour is the house") == {"red"}
    assert answers(questions, "where is the house") == {"above the star"}
    assert answers(questions, "where is the star") == {"under the house"}
    assert answers(questions, "is the house above the star") == {"yes"}
    assert answers(questions, "is the star above the house") == {"no"}
    assert answers(questions, "which is lower") == {"a blue star"}
    assert answers(questions, "what is at the top") == {"a red house"}
    assert answers(questions, "how many stars are there") == {"one"}
    assert answers(questions, "how many boats are there") == {"none"}
    assert answers(questions, "is there a blue star") == {"yes"}
    assert answers(questions, "is there a red star") <= {"no"}
    assert answers(questions, "what colour is the boat") == {CANNOT_TELL}
    assert answers(questions, "is there a zebra") <= {CANNOT_TELL}


def test_left_and_right_turn_with_the_order_of_the_two() -> None:
    questions = asked(Scene("white", "two", (HOUSE, STAR), relation="left of"))
    assert answers(questions, "is the house left of the star") == {"yes"}
    assert answers(questions, "is the star right of the house") == {"yes"}
    assert answers(questions, "is the star left of the house") == {"no"}
    assert answers(questions, "do they have the same colour") == {"no"}
    assert TURNED["left of"] == "right of"


def test_numbers_are_counted_for_every_scene() -> None:
    for scene in itertools.islice(scenes(3), 200):
        asker = Asker(random.Random(2))
        kinds = {asker.count(scene).answer for _ in range(20)}
        assert NUMBER_WORDS[sum(t.kind == scene.things[0].kind for t in scene.things)] in kinds


def test_no_wording_is_both_trained_and_held_out() -> None:
    for one in EVERYTHING:
        assert one.trained and one.held_out
        assert not set(one.trained) & set(one.held_out)


def test_held_out_questions_use_held_out_wordings_only() -> None:
    trained = {one.text.removesuffix("?") for one in asked(PAIR)}
    held_out = {one.text.removesuffix("?") for one in asked(PAIR, held_out=True)}
    assert len(held_out) > 50
    assert not trained & held_out
