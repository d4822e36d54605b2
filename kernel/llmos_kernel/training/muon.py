"""Muon (Jordan et al., 2024): momentum whose update is made orthogonal by Newton-Schulz steps.

`torch.optim.Muon` does the same, always in bfloat16: where a processor emulates that, it takes
three quarters of a training step. This one computes in what the processor is fast at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from llmos_kernel.engine.torch.precision import has_bfloat16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """For the matrices of a model alone: parameters of shape (rows, columns).

    `has_adam_size`: updates are as large as AdamW's, whose learning rates then fit
    (Liu et al., 2025).
    """

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        has_adam_size: bool = False,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._has_adam_size = has_adam_size

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                buffer = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
                update = orthogonal(matrix.grad.lerp(buffer, momentum))  # Nesterov's
                matrix.mul_(1 - rate * group["weight_decay"])
                matrix.add_(update, alpha=-rate * self._size(*matrix.shape))

    def _size(self, rows: int, columns: int) -> float:
        if self._has_adam_size:
            return 0.2 * max(rows, columns) ** 0.5
        return max(1.0, rows / columns) ** 0.5


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return U S' V^T of a matrix U S V^T, with S' near one: a quintic iteration, five times."""
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16() if has_bfloat16(matrix.device) else matrix
    x = x.T if is_tall else x
    x = x / x.norm().clamp(min=EPSILON)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
