"""How much memory there is, what a process holds of it, and what a checkpoint will take.

Knows no model's kind: a checkpoint is its files of weights.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

MB = 1_000_000
# Python with torch and diffusers or transformers, before any weights.
BASE_BYTES = 500 * MB
# Half-precision weights take twice their size in single precision, which is what CPUs compute in.
LOAD_FACTOR = 2
WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx"})


def machine_bytes() -> int:
    """Return the memory of the machine, or of the control group that this process is in."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _limit_files():
        with suppress(OSError, ValueError):  # no such file, or the word "max"
            limits.append(int(path.read_text()))
    return min(limits)


def _limit_files() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    paths = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, _, group = line.split(":", 2)
            paths.append(root / group.lstrip("/") / "memory.max")
    return paths


def resident_bytes() -> int:
    """Return what this process holds in memory."""
    num_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return num_pages * os.sysconf("SC_PAGE_SIZE")


def held_bytes() -> int:
    """Return what this process holds, in memory or on its GPU, whichever is more."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return resident_bytes()
    return max(resident_bytes(), torch.cuda.memory_reserved())


def expected_bytes(checkpoint: Path | None) -> int:
    """Return what a process will hold with this checkpoint, as far as its files tell."""
    if checkpoint is None:
        return BASE_BYTES
    return BASE_BYTES + LOAD_FACTOR * _weights_bytes(checkpoint)


def _weights_bytes(checkpoint: Path) -> int:
    if checkpoint.is_file():
        return checkpoint.stat().st_size
    total = 0
    for folder, _, names in os.walk(checkpoint):
        files = [Path(folder, name) for name in names if Path(name).suffix in WEIGHTS]
        # A folder that has its weights in two forms is read in one.
        chosen = [file for file in files if file.suffix == ".safetensors"] or files
        total += sum(file.stat().st_size for file in chosen)
    return total
