"""Chooses the next token from logits. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from llmos_kernel.engine.base import TokenMask


def apply_masks(logits: torch.Tensor, masks: Sequence[TokenMask | None]) -> None:
    """Rule out, in place, what the masks do not allow; logits (len(masks), vocabulary)."""
    found = [(row, mask.words()) for row, mask in enumerate(masks) if mask]
    rows = [row for row, words in found if words is not None]
    if not rows:
        return
    words = np.stack([words for _, words in found if words is not None])
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
    missing = logits.shape[1] - bits.shape[1]
    if missing > 0:
        bits = np.pad(bits, ((0, 0), (0, missing)))
    forbidden = torch.from_numpy(bits[:, : logits.shape[1]] == 0).to(logits.device)
    if len(rows) == len(logits):
        logits.masked_fill_(forbidden, -torch.inf)
    else:
        logits[rows] = logits[rows].masked_fill(forbidden, -torch.inf)


def best_allowed(
    logits: torch.Tensor, masks: Sequence[TokenMask | None], *, is_drawn: Sequence[bool]
) -> list[int]:
    """Return the best token of each row that its mask allows; logits (len(masks), vocabulary).

    Mostly the best of all is allowed, and no mask is made. Where it is not, and in rows that are
    drawn from, what the masks do not allow is ruled out in place.
    """
    best: list[int] = logits.argmax(dim=-1).tolist()
    needed = [
        mask if mask and (drawn or not mask.allows(token)) else None
        for mask, token, drawn in zip(masks, best, is_drawn, strict=True)
    ]
    rows = [row for row, mask in enumerate(needed) if mask]
    if not rows:
        return best
    apply_masks(logits, needed)
    for row, token in zip(rows, logits[rows].argmax(dim=-1).tolist(), strict=True):
        best[row] = token
    return best


def log_totals(logits: torch.Tensor, is_asked: Sequence[bool]) -> list[float]:
    """Return what to subtract from a row's logits to have log-probabilities, before any mask.

    Logits (len(is_asked), vocabulary); of no use for rows that nobody asked for.
    """
    if not any(is_asked):
        return [0.0] * len(is_asked)
    return logits.float().logsumexp(dim=-1).tolist()


def draw(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """Draw a token at a temperature above 0; logits (vocabulary,)."""
    shares = torch.softmax(logits.cpu() / temperature, dim=-1)
    return int(torch.multinomial(shares, 1, generator=generator))
