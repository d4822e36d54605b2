"""How much sandboxed code may take, and how much of what it says is read."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

OUTPUT_CHARS = 1_000_000
PICTURES = 20
PICTURE_BYTES = 20 * MIB
# A message above this ends the connection, and with it the kernel that sent it.
MESSAGE_BYTES = 16 * MIB
# How many messages wait to be read; the others wait in the sandbox, at its own cost.
WAITING_MESSAGES = 16
DISPLAYED_VALUES = 500

# Files between the workspace and the sandbox: each, those of one run, and how they are sent.
FILE_BYTES = 32 * MIB
FILES_BYTES = 128 * MIB
MOST_FILES = 200
MOST_SHOWN = 2000
PART_BYTES = 4 * MIB


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
