"""The scaling study: sizes share their tokenizer and held-out rows, and finished runs stay."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import llmos_kernel
from llmos_kernel.abi import Message, Role
from llmos_kernel.training import recipe
from llmos_kernel.training.dialogues import Dialogue, Group
from llmos_kernel.training.scaling import plot, settings_of, study

MODEL = Path(llmos_kernel.__file__).parent / "model"


class Echoes:
    """Stands in for the maker of dialogues: short ones without tools."""

    def __init__(self, data: Path, *, seed: int, held_out: bool = False) -> None:
        self._rng = random.Random(seed)

    def __iter__(self) -> Iterator[Group]:
        while True:
            word = self._rng.choice(["kite", "sun", "moon"])
            messages = [Message(Role.USER, word), Message(Role.ASSISTANT, word)]
            yield Group([], iter([Dialogue([], messages)]))


def test_an_interrupted_study_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "DialogueMaker", Echoes)
    Tokenizer.from_file(str(MODEL / "tokenizer.json")).save(str(tmp_path / "tokenizer.json"))
    sizes = ((64, 1), (128, 1))
    runs = list(settings_of(tmp_path, tmp_path, sizes=sizes, counts=(512, 1024), length=128))
    first = next(study(runs, tmp_path, num_held_out=1))
    assert [(p.width, p.tokens) for p in first] == [(64, 512)]
    rest = list(study(runs, tmp_path, num_held_out=1))
    assert [len(points) for points in rest] == [2, 3, 4]
    assert rest[-1][0] == first[0]
    assert [(p.width, p.tokens) for p in rest[-1]] == [
        (64, 512),
        (128, 512),
        (64, 1024),
        (128, 1024),
    ]
    plot(rest[-1], tmp_path / "scaling.png")
    assert len(json.loads((tmp_path / "scaling.json").read_text())) == 4
    assert (tmp_path / "scaling.png").stat().st_size > 1000
