"""The embedded Whisper: its size, the tokens that it learns, and its export to a stock checkpoint.

Of Whisper's 51,864 tokens it learns those that occur. All others share one more row of the
embedding, counted as often in the softmax as it will stand there, so that what is exported means
exactly what was trained. Knows no sound and no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

from media_training.spoken import JOINT

NUM_TOKENS: Final = 51_864
WIDTH: Final = 160
HEADS: Final = 5
DIMENSIONS: Final = ModelDimensions(80, 1500, WIDTH, HEADS, 4, NUM_TOKENS, 448, WIDTH, HEADS, 2)
LETTERS: Final = " 'abcdefghijklmnopqrstuvwxyz"
TIMESTAMP_STEPS: Final = 60
TIMESTAMP_S: Final = 0.2


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    return get_tokenizer(multilingual=False)


def tokens_of(written: str) -> list[int]:
    """Encode a sentence as Whisper begins one, with a space; each piece between joints alone."""
    return [token for piece in f" {written}".split(JOINT) for token in tokenizer().encode(piece)]


def timestamp(seconds: float) -> int:
    """Return the token of a time, to `TIMESTAMP_S`."""
    step = min(round(seconds / TIMESTAMP_S), TIMESTAMP_STEPS)
    return tokenizer().timestamp_begin + round(step * TIMESTAMP_S / 0.02)


def special_tokens() -> set[int]:
    """What frames a text: its start, its end, times, and the token of no speech."""
    encoder = tokenizer()
    assert encoder.no_speech is not None
    times = {timestamp(step * TIMESTAMP_S) for step in range(TIMESTAMP_STEPS + 1)}
    return times | {encoder.sot, encoder.eot, encoder.no_timestamps, encoder.no_speech}


class CompactWhisper(nn.Module):
    """Whisper over the tokens in `vocabulary` and one row for all others; reads letters as well."""

    def __init__(self, vocabulary: Sequence[int]) -> None:
        super().__init__()
        self.vocabulary = list(vocabulary)
        self.whisper = Whisper(replace(DIMENSIONS, n_vocab=len(vocabulary) + 1))
        self.letters = nn.Linear(WIDTH, len(LETTERS) + 1)
        nn.init.normal_(self.whisper.decoder.token_embedding.weight, std=0.02)
        nn.init.normal_(self.whisper.decoder.positional_embedding, std=0.01)
        self._others = math.log(NUM_TOKENS - len(vocabulary))

    def encode(self, mel: Tensor) -> Tensor:
        """Return (batch, frames / 2, width) of (batch, 80, frames), at most a whole window."""
        encoder = self.whisper.encoder
        positions: Any = encoder.positional_embedding
        x = gelu(encoder.conv2(gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        x = x + positions[: x.shape[1]]
        for block in encoder.blocks:
            x = block(x)
        return encoder.ln_post(x)

    def decode(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Return logits (batch, length, vocabulary + 1) of the tokens' places in the vocabulary."""
        logits = self.whisper.decoder(tokens, features)
        return torch.cat([logits[..., :-1], logits[..., -1:] + self._others], -1)

    def export(self, path: Path) -> None:
        """Write a checkpoint that `whisper.load_model(path)` takes, in half precision."""
        state = {name: value.clone() for name, value in self.whisper.state_dict().items()}
        rows = state["decoder.token_embedding.weight"]
        whole = rows[-1].repeat(NUM_TOKENS, 1)
        whole[torch.tensor(self.vocabulary)] = rows[:-1]
        state["decoder.token_embedding.weight"] = whole
        halves = {name: value.half() for name, value in state.items()}
        torch.save({"dims": asdict(DIMENSIONS), "model_state_dict": halves}, path)
