"""The embedded checkpoint, as it is shipped: a few pictures that it must not get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from llmos_tools.look.seer import Seer
from llmos_tools.look.settings import LookSettings
from media_training.odd_pictures import kept_pictures
from media_training.scenes import Scene, Thing, render

FOLDER = Path(LookSettings.model_validate({}).folder_or_name)
CIRCLES = render(
    Scene("white", "several", tuple(Thing("circle", "red", 0.4, x, 0.5) for x in (0.27, 0.73)))
)


@pytest.fixture(scope="module")
def seer() -> Seer:
    return Seer(str(FOLDER), lambda text: None)


def answer(seer: Seer, folder: Path, picture: Image.Image, question: str) -> str:
    picture.save(folder / "picture.png")
    return str(seer.answer({"question": question}, folder, lambda text: None)["answer"])


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many circles are there?", "two"),
        ("What colour are the circles?", "red"),
        ("What is the background?", "white"),
        ("Describe the picture.", "two red circles on a white background"),
    ],
)
def test_it_answers_about_a_simple_scene(
    seer: Seer, tmp_path: Path, question: str, expected: str
) -> None:
    assert answer(seer, tmp_path, CIRCLES, question) == expected


def test_it_says_that_it_cannot_tell_of_pictures_of_another_kind(
    seer: Seer, tmp_path: Path
) -> None:
    pictures = kept_pictures(5)
    said = [answer(seer, tmp_path, next(pictures), "what is this?") for _ in range(10)]
    assert said.count("i cannot tell") >= 6


def test_it_is_small_and_holds_no_pickle() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 25_000_000
    assert {file.suffix for file in FOLDER.iterdir()} <= {".safetensors", ".json", ".jinja", ".md"}
