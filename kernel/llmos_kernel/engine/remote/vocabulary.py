"""The private vocabulary in which a conversation with an endpoint is held: bytes and marks.

An endpoint hides its own tokens, so a text is the ids of its UTF-8 bytes, and what frames
messages and calls is a mark, an id that no text can have. Knows no server.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

NUM_BYTES = 256


class Mark(IntEnum):
    """The ids beyond the bytes."""

    SYSTEM = NUM_BYTES
    TOOLS = NUM_BYTES + 1
    USER = NUM_BYTES + 2
    ASSISTANT = NUM_BYTES + 3
    RESULT = NUM_BYTES + 4
    CALL = NUM_BYTES + 5
    END_CALL = NUM_BYTES + 6
    THOUGHT = NUM_BYTES + 7
    END_THOUGHT = NUM_BYTES + 8
    END = NUM_BYTES + 9

    @property
    def literal(self) -> str:
        """How a dialect spells it."""
        return f"<|{self.name.lower()}|>"


def text_ids(text: str) -> list[int]:
    """Return the ids of a text; half of a surrogate pair, which has no bytes, becomes '?'."""
    return list(text.encode("utf-8", "replace"))


def text_of(ids: Sequence[int]) -> str:
    """Return the text of byte ids; what is no UTF-8 becomes the replacement character."""
    return bytes(ids).decode("utf-8", "replace")


def make_tokenizer() -> Tokenizer:
    """Build the tokenizer of this vocabulary: byte-level BPE without merges."""
    tokenizer = Tokenizer(models.BPE(vocab=_byte_tokens(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark.literal, special=True) for mark in Mark])
    return tokenizer


def _byte_tokens() -> dict[str, int]:
    """Map the character by which byte-level BPE writes each byte to the byte (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = [byte for byte in range(NUM_BYTES) if byte not in printable]
    tokens = {chr(byte): byte for byte in printable}
    return tokens | {chr(NUM_BYTES + index): byte for index, byte in enumerate(others)}
