"""A training loop that can be cut off anywhere and goes on where it was, to the same end.

Knows no data: a loss is asked for by the number of its step, which is all that it may depend on.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

SAVE_EVERY_S: Final = 90.0
LOG_EVERY_S: Final = 20.0
WARM_UP: Final = 100


@dataclass(frozen=True, slots=True)
class Stage:
    """One model's training: `loss(step)` draws the batch of that step and judges it.

    `averaging` is the share of the moving average that each step leaves as it was.
    """

    name: str
    model: nn.Module
    loss: Callable[[int], Tensor]
    steps: int
    learning_rate: float
    averaging: float = 0.998


def train(stage: Stage, folder: Path) -> None:
    """Train a stage's model to its end and leave the averaged weights in it, for use.

    Its state is kept in `folder`, and taken up from there.
    """
    path = folder / f"{stage.name}.pt"
    average = copy.deepcopy(stage.model).requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(stage.model.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    step = _resume(path, stage.model, average, optimizer)
    saved = logged = time.monotonic()
    losses: list[float] = []
    while step < stage.steps:
        losses.append(_step(stage, average, optimizer, step))
        step += 1
        now = time.monotonic()
        if now - logged > LOG_EVERY_S or step == stage.steps:
            print(
                f"{stage.name} {step}/{stage.steps} loss {sum(losses) / len(losses):.4f}",
                flush=True,
            )
            logged, losses = now, []
        if now - saved > SAVE_EVERY_S or step == stage.steps:
            _save(path, step, stage.model, average, optimizer)
            saved = now
    stage.model.load_state_dict(average.state_dict())
    stage.model.requires_grad_(requires_grad=False).eval()


def _step(stage: Stage, average: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> float:
    for group in optimizer.param_groups:
        group["lr"] = stage.learning_rate * _rate(step, stage.steps)
    torch.manual_seed(step)
    loss = stage.loss(step)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(stage.model.parameters(), 1.0)
    optimizer.step()
    kept = min(stage.averaging, (step + 1) / (step + 10))
    with torch.no_grad():
        for mean, value in zip(average.parameters(), stage.model.parameters(), strict=True):
            mean.lerp_(value, 1 - kept)
    return loss.item()


def _rate(step: int, steps: int) -> float:
    """A linear warm-up, then half a cosine down to a fiftieth."""
    warm_up = min(1.0, (step + 1) / WARM_UP)
    return warm_up * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


def _resume(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def _save(
    path: Path,
    step: int,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        partial,
    )
    partial.replace(path)
