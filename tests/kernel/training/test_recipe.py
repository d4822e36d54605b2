"""Training goes on from a checkpoint: its weights and tokenizer, and less of the learning rate."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import llmos_kernel
from llmos_kernel.training import recipe
from llmos_kernel.training.recipe import Settings
from tests.kernel.training.test_scaling import Echoes

TOKENIZER = Path(llmos_kernel.__file__).parent / "model" / "tokenizer.json"


def test_training_goes_on_from_a_checkpoint_at_a_share_of_the_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "DialogueMaker", Echoes)
    first = Settings(
        data=tmp_path,
        out=tmp_path / "first",
        steps=1,
        rows=1,
        length=128,
        vocabulary=4096,
        width=64,
        layers=1,
        seed=1,
        save_every=100,
    )
    first.out.mkdir()
    shutil.copy(TOKENIZER, first.out)
    run = recipe.prepare(first, rank=0, world=1)
    recipe.export(run)
    begun = run.model.float().state_dict()
    moved: list[float] = []
    for rate in (0.0, 0.1, 1.0):
        out = tmp_path / str(rate)
        out.mkdir()
        settings = replace(first, out=out, seed=2, start_from=first.out / "model", rate=rate)
        run = recipe.prepare(settings, rank=0, world=1)
        recipe.train(run)
        assert (out / "tokenizer.json").read_text() == TOKENIZER.read_text()
        after = run.model.state_dict()
        moved.append(sum(float((after[name] - begun[name]).norm()) for name in begun))
    assert moved[0] == 0 < moved[1] < moved[2]
