from pathlib import Path

import pytest
import torch

from llmos_kernel.engine.torch import precision
from llmos_kernel.engine.torch.precision import autocast, default_dtype, has_bfloat16

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("size", "device", "is_fast", "memory", "expected"),
    [
        (1 << 20, CPU, True, 8 << 30, torch.float32),
        (1 << 20, CPU, False, 8 << 30, torch.float32),
        (1 << 20, GPU, True, 8 << 30, torch.bfloat16),
        (2 << 30, CPU, True, 64 << 30, torch.bfloat16),
        (2 << 30, CPU, False, 64 << 30, torch.float32),
        (2 << 30, CPU, False, 8 << 30, torch.bfloat16),
    ],
    ids=["small", "small-slow", "gpu", "large", "large-slow", "large-slow-no-room"],
)
def test_a_model_is_run_in_what_its_device_computes_fast(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    size: int,
    device: torch.device,
    is_fast: bool,
    memory: int,
    expected: torch.dtype,
) -> None:
    with (tmp_path / "model.safetensors").open("wb") as weights:
        weights.truncate(size)  # a hole: no disk is used
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: is_fast)  # pyright: ignore
    monkeypatch.setattr(precision, "_memory_bytes", lambda: memory)
    assert default_dtype(tmp_path, device) == expected


def test_a_gpu_computes_in_bfloat16() -> None:
    assert has_bfloat16(GPU)


@pytest.mark.parametrize("is_fast", [True, False])
def test_training_casts_to_bfloat16_only_where_that_is_fast(
    monkeypatch: pytest.MonkeyPatch, *, is_fast: bool
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: is_fast)  # pyright: ignore
    matrix = torch.ones(2, 2)
    with autocast():
        assert (matrix @ matrix).dtype == (torch.bfloat16 if is_fast else torch.float32)
