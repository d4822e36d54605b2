"""Trains the embedded model's tokenizer: byte-level BPE that keeps spaces apart from letters.

A word is then the same tokens wherever it stands (after a space, a quote or a slash), so copying
is one to one. The finished file names the pre-tokenizer that llama.cpp calls `smollm`; since no
merge joins a space to a letter, it splits as the training did.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

CONTROL_TOKENS = (
    "<|pad|>",
    "<|end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    *(f"<|reserved_{index}|>" for index in range(6)),
)
# Qwen's convention: what a tool-call parser must see in decoded text is added, but not special.
VISIBLE = {"<think>", "</think>", "<tool_call>", "</tool_call>"}


def train_tokenizer(texts: Iterable[str], *, size: int) -> Tokenizer:
    """Return a tokenizer of `size` entries, control tokens first."""
    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+| |\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(text, special=text not in VISIBLE) for text in CONTROL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _as_shipped(tokenizer)


def _as_shipped(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    state = json.loads(tokenizer.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["content"] not in VISIBLE
    return Tokenizer.from_str(json.dumps(state))
