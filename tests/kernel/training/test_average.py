"""Averaged checkpoints: the mean of each tensor, and nothing of another model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmos_kernel.training.average import average


def checkpoint(folder: Path, weight: torch.Tensor) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(folder.name)
    save_file({"weight": weight}, folder / "model.safetensors")
    return folder


def test_the_mean_has_the_type_and_the_rest_of_the_last(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "first", torch.tensor([1.0, 2.0], dtype=torch.bfloat16))
    last = checkpoint(tmp_path / "last", torch.tensor([3.0, 5.0], dtype=torch.bfloat16))
    average([first, last], tmp_path / "mean")
    weight = load_file(tmp_path / "mean" / "model.safetensors")["weight"]
    assert weight.dtype == torch.bfloat16
    assert weight.tolist() == [2.0, 3.5]
    assert (tmp_path / "mean" / "config.json").read_text() == "last"


def test_checkpoints_of_other_shapes_are_refused(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "first", torch.zeros(2))
    other = checkpoint(tmp_path / "other", torch.zeros(3))
    with pytest.raises(ValueError, match="not of one model"):
        average([first, other], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
