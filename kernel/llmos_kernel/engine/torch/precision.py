"""Chooses what a processor computes in: float32, or bfloat16 where it has instructions for it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

SMALL_MODEL_BYTES = 1 << 30
MOST_OF_MEMORY = 0.5


def has_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are at least as fast as in float32.

    On processors with AVX2 alone PyTorch emulates them, at four to twelve times the cost for a
    prompt. The operator that tells is private to PyTorch and missing where it is built without
    oneDNN; nothing is known there, and the answer is yes.
    """
    if device.type != "cpu":
        return True
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except AttributeError:
        return True


def autocast() -> torch.autocast:
    """Return a context in which training on the CPU computes in bfloat16, if that is fast."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu")))


def default_dtype(folder: Path, device: torch.device) -> torch.dtype:
    """Return float32 for a small model on the CPU, so that greedy output is exact.

    A larger one is float32, too, where bfloat16 is slow and half of the memory holds it.
    """
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    is_exact = device.type == "cpu" and size < SMALL_MODEL_BYTES
    if is_exact or (not has_bfloat16(device) and 2 * size < MOST_OF_MEMORY * _memory_bytes()):
        return torch.float32
    return torch.bfloat16


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
