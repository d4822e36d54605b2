"""A hosted model that only computes: it multiplies matrices until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from llmos_kernel.abi import JsonObject

WIDTH = 256


class Matrices:
    """Stands for any model; its products are of the size that small image models have."""

    def __init__(self, checkpoint: str, report: Callable[[str], None]) -> None:
        """Take any checkpoint, of which nothing is read."""
        self._matrix = torch.rand(WIDTH, WIDTH) / WIDTH

    def answer(
        self, request: JsonObject, folder: Path, report: Callable[[str], None]
    ) -> JsonObject:
        """Multiply until the file `until` is there, and say how often."""
        until = Path(str(request["until"]))
        product, count = self._matrix, 0
        report("multiplying")
        while not until.exists():
            product = product @ self._matrix
            count += 1
        return {"count": count}
