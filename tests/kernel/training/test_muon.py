"""Muon does what PyTorch's does, whose products are in bfloat16."""

from __future__ import annotations

import pytest
import torch

from llmos_kernel.training.muon import Muon


@pytest.mark.parametrize("has_adam_size", [False, True])
@pytest.mark.parametrize("shape", [(64, 64), (48, 128), (128, 48)])
def test_steps_are_those_of_pytorch(shape: tuple[int, int], has_adam_size: bool) -> None:
    torch.manual_seed(3)
    begun = torch.randn(shape)
    ours, theirs = (torch.nn.Parameter(begun.clone()) for _ in range(2))
    settings = {"lr": 0.02, "weight_decay": 0.01}
    size = "match_rms_adamw" if has_adam_size else "original"
    optimizers = [
        Muon([ours], has_adam_size=has_adam_size, **settings),
        torch.optim.Muon([theirs], adjust_lr_fn=size, **settings),
    ]
    for _ in range(4):
        gradient = torch.randn(shape)
        for matrix, optimizer in zip((ours, theirs), optimizers, strict=True):
            matrix.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - begun).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < 0.02 * moved
