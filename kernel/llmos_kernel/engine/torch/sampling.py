"""Chooses the next token from logits. Knows no model."""

from __future__ import annotations

import numpy as np
import torch

from llmos_kernel.engine.base import GenerateRequest


def apply_mask(logits: torch.Tensor, request: GenerateRequest) -> None:
    """Rule out, in place, what a request's mask does not allow; logits (vocabulary,)."""
    words = request.mask.words() if request.mask else None
    if words is None:
        return
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[: len(logits)]
    forbidden = torch.from_numpy(bits == 0).to(logits.device)
    logits[: len(forbidden)].masked_fill_(forbidden, -torch.inf)
    logits[len(forbidden) :] = -torch.inf


def draw(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """Draw a token at a temperature above 0; logits (vocabulary,)."""
    shares = torch.softmax(logits.cpu() / temperature, dim=-1)
    return int(torch.multinomial(shares, 1, generator=generator))
