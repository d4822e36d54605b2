"""Packs dialogues into rows of fixed length, with a weight for each token's loss.

Several dialogues share a row; attention stays within a dialogue, positions start again at 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch

from llmos_kernel.abi import Role
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.training.dialogues import Dialogue

PROMPT_WEIGHT = 0.05
ANSWER_WEIGHT = 1.0
POOL_SIZE = 64

Sample: TypeAlias = tuple[list[int], list[float]]


@dataclass(frozen=True, slots=True)
class Batch:
    """All of shape (rows, length). `weights[i, t]` weighs the prediction of `tokens[i, t]`."""

    tokens: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    documents: torch.Tensor

    def attention_mask(self) -> torch.Tensor:
        """Return a (rows, 1, length, length) bool mask: causal, and within one dialogue."""
        length = self.tokens.shape[1]
        same = self.documents[:, None, :, None] == self.documents[:, None, None, :]
        return same & torch.ones(length, length, dtype=torch.bool).tril()


def tokenize(dialogue: Dialogue, renderer: Renderer) -> Sample:
    """Return a dialogue's ids and the loss weight of each."""
    ids: list[int] = []
    weights: list[float] = []

    def add(new: list[int], weight: float) -> None:
        ids.extend(new)
        weights.extend([weight] * len(new))

    add(renderer.system_ids(SYSTEM_PROMPT, dialogue.tools), PROMPT_WEIGHT)
    for message in dialogue.messages:
        match message.role:
            case Role.ASSISTANT:
                add(renderer.assistant_open_ids(), 0.0)
                add(renderer.assistant_ids(message), ANSWER_WEIGHT)
                add(renderer.after_stop_ids(), 0.0)
            case Role.TOOL:
                add(renderer.results_ids([message.content]), PROMPT_WEIGHT)
            case Role.USER:
                add(renderer.user_ids(message.content), PROMPT_WEIGHT)
            case Role.SYSTEM:
                raise ValueError("a dialogue's system message is made from its tools")
    return ids, weights


def batches(
    dialogues: Iterator[Dialogue], renderer: Renderer, *, rows: int, length: int, pad_id: int
) -> Iterator[Batch]:
    """Yield batches without end; a dialogue longer than a row is cut at its end."""
    pool: list[Sample] = []
    while True:
        yield _batch([_row(pool, dialogues, renderer, length) for _ in range(rows)], length, pad_id)


def _row(
    pool: list[Sample], dialogues: Iterator[Dialogue], renderer: Renderer, length: int
) -> list[Sample]:
    """Take from the pool what fills a row best: the oldest, then the largest that still fits."""
    while len(pool) < POOL_SIZE:
        ids, weights = tokenize(next(dialogues), renderer)
        pool.append((ids[:length], weights[:length]))
    row = [pool.pop(0)]
    space = length - len(row[0][0])
    while fitting := [i for i, (ids, _) in enumerate(pool) if len(ids) <= space]:
        row.append(pool.pop(max(fitting, key=lambda i: len(pool[i][0]))))
        space -= len(row[-1][0])
    return row


def _batch(rows: list[list[Sample]], length: int, pad_id: int) -> Batch:
    tokens = torch.full((len(rows), length), pad_id)
    weights = torch.zeros(len(rows), length)
    positions = torch.zeros(len(rows), length, dtype=torch.long)
    documents = torch.full((len(rows), length), -1)
    for index, row in enumerate(rows):
        start = 0
        for number, (ids, weight) in enumerate(row):
            span = slice(start, start + len(ids))
            tokens[index, span] = torch.tensor(ids)
            weights[index, span] = torch.tensor(weight)
            weights[index, start] = 0.0
            positions[index, span] = torch.arange(len(ids))
            documents[index, span] = number
            start += len(ids)
    return Batch(tokens, weights, positions, documents)
