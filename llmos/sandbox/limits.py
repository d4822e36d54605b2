"""How much sandboxed code may take."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use; `memory_bytes` and `cpu_s` hold for each process in it.

    The folders and shared memory are memory too, and come on top of it.
    """

    memory_bytes: int = 2048 * MIB
    processes: int = 128
    cpu_s: int = 1800
    open_files: int = 512
    folder_bytes: int = 256 * MIB
    shared_memory_bytes: int = 64 * MIB
