"""The bytes of each token, so that text can be decoded one token at a time and never twice.

Knows the two alphabets that checkpoints use: GPT-2's characters for bytes, and SentencePiece's
underscores for blanks with byte tokens. Knows no dialect.
"""

from __future__ import annotations

import re

from tokenizers import Tokenizer

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class TokenBytes:
    """The tokens of one checkpoint as bytes. Safe across threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = tokenizer.get_added_tokens_decoder()
        self._is_byte_level = "ByteLevel" in str(tokenizer.decoder)
        self._known: dict[int, bytes] = {}

    def __call__(self, token_id: int) -> bytes:
        """Return a token's bytes; a character may need several tokens."""
        known = self._known.get(token_id)
        if known is None:
            known = self._known[token_id] = self._bytes(token_id)
        return known

    def _bytes(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].content.encode()
        token = self._tokenizer.id_to_token(token_id) or ""
        if self._is_byte_level:
            return b"".join(_BYTES.get(char) or char.encode() for char in token)
        if match := BYTE_TOKEN.fullmatch(token):
            return bytes([int(match[1], 16)])
        return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()


def _byte_characters() -> dict[str, bytes]:
    """Return GPT-2's alphabet: a printable character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    characters = {chr(byte): bytes([byte]) for byte in plain}
    return characters | {chr(256 + i): bytes([byte]) for i, byte in enumerate(others)}


_BYTES = _byte_characters()
