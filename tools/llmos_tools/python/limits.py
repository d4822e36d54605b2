"""How much of what sandboxed code says is read."""

from __future__ import annotations

from llmos.sandbox.limits import MIB

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
