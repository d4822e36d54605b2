"""A small tokenizer for every family: bytes, a few merges, the family's control tokens."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llmos_kernel.dialects.dialect import Dialect
from llmos_kernel.dialects.families import DIALECTS
from llmos_kernel.dialects.renderer import Renderer

# Tokens that reach over the edges of delimiters, as real ones do.
MERGES = [("<", "/"), ('"', ">"), (">", "Ċ"), ("{", '"'), ('"', "}"), ("'", ")"), ('"', ":")]


def tokenizer_of(dialect: Dialect) -> Tokenizer:
    """Return a byte-level tokenizer with every control token of the dialect."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *("".join(pair) for pair in MERGES)]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    controls = dict.fromkeys([*dialect.controls, *dialect.optional_controls, "<|pad|>"])
    tokenizer.add_special_tokens(list(controls))
    return tokenizer


def without(dialect: Dialect, control: str) -> Dialect:
    rest = tuple(c for c in dialect.controls if c != control)
    return replace(dialect, controls=rest)


@cache
def renderer_of(dialect: Dialect) -> Renderer:
    return Renderer(tokenizer_of(dialect), dialect)


@pytest.fixture(scope="session", params=DIALECTS, ids=lambda dialect: dialect.name)
def family(request: pytest.FixtureRequest) -> Renderer:
    """Each family in turn, over its own small tokenizer."""
    return renderer_of(request.param)
