"""Attention in blocks gives what PyTorch's own gives, forward and backward."""

from __future__ import annotations

import pytest
import torch

from llmos_kernel.training.attention import BLOCK, attend_in_blocks


@pytest.mark.parametrize("length", [7, BLOCK, BLOCK + 1, 2 * BLOCK + 30])
def test_blocks_attend_as_one_product_does(length: int) -> None:
    generator = torch.Generator().manual_seed(length)

    def drawn(heads: int) -> torch.Tensor:
        values = torch.randn(2, heads, length, 16, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    query, key, value = drawn(4), drawn(2), drawn(2)
    mask = torch.rand(2, 1, length, length, generator=generator) < 0.5
    mask = (mask | torch.eye(length, dtype=torch.bool)).tril()
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=0.25, enable_gqa=True
    ).transpose(1, 2)
    attended, _ = attend_in_blocks(torch.nn.Module(), query, key, value, mask, scaling=0.25)
    torch.testing.assert_close(attended, expected)
    signal = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    inputs = (query, key, value)
    for ours, theirs in zip(
        torch.autograd.grad(attended, inputs, signal),
        torch.autograd.grad(expected, inputs, signal),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
