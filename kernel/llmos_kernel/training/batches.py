"""Packs dialogues into rows of fixed length, with a weight for each token's loss.

A row holds groups: a tool table, then dialogues that see the table and themselves, as if each came
alone behind it; so a table is computed once for many dialogues.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from llmos_kernel.abi import Message, Role
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.training.dialogues import Group

PROMPT_WEIGHT = 0.05
ANSWER_WEIGHT = 1.0
LEAST_SPACE = 64

Sample: TypeAlias = tuple[list[int], list[float]]


@dataclass(frozen=True, slots=True)
class Batch:
    """All of shape (rows, length). `weights[i, t]` weighs the prediction of `tokens[i, t]`.

    `groups` numbers a row's tool tables with their dialogues, `documents` the dialogues of a
    group from 1; 0 is the table. Padding is in group -1.
    """

    tokens: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    groups: torch.Tensor
    documents: torch.Tensor

    def attention_mask(self) -> torch.Tensor:
        """Return a (rows, 1, length, length) bool mask: causal, to one's table and dialogue."""
        length = self.tokens.shape[1]
        groups, documents = self.groups[:, None], self.documents[:, None]
        is_same_group = groups[..., :, None] == groups[..., None, :]
        is_same_document = documents[..., :, None] == documents[..., None, :]
        is_seen = is_same_document | (documents == 0)[..., None, :]
        return is_same_group & is_seen & torch.ones(length, length, dtype=torch.bool).tril()


@dataclass(slots=True)
class Row:
    """A row as it is filled; its lists have one entry a token."""

    tokens: list[int] = field(default_factory=list[int])
    weights: list[float] = field(default_factory=list[float])
    positions: list[int] = field(default_factory=list[int])
    groups: list[int] = field(default_factory=list[int])
    documents: list[int] = field(default_factory=list[int])

    def add(self, sample: Sample, *, position: int, group: int, document: int) -> None:
        """Append a table or a dialogue; what stands before it does not predict its first token."""
        ids, weights = sample
        self.tokens += ids
        self.weights += [0.0, *weights[1:]]
        self.positions += range(position, position + len(ids))
        self.groups += [group] * len(ids)
        self.documents += [document] * len(ids)


def tokenize(messages: Sequence[Message], renderer: Renderer) -> Sample:
    """Return the ids of a dialogue behind its tool table, and the loss weight of each."""
    ids: list[int] = []
    weights: list[float] = []

    def add(new: list[int], weight: float) -> None:
        ids.extend(new)
        weights.extend([weight] * len(new))

    for message in messages:
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
    groups: Iterator[Group], renderer: Renderer, *, rows: int, length: int, pad_id: int
) -> Iterator[Batch]:
    """Yield batches without end; what does not fit at a row's end is cut off."""
    while True:
        yield _batch([_row(groups, renderer, length) for _ in range(rows)], length, pad_id)


def _row(groups: Iterator[Group], renderer: Renderer, length: int) -> Row:
    row = Row()
    number = 0
    while length - len(row.tokens) > LEAST_SPACE:
        group = next(groups)
        table = renderer.system_ids(SYSTEM_PROMPT, group.tools)
        if row.tokens and len(row.tokens) + len(table) + LEAST_SPACE > length:
            break
        row.add((table, [PROMPT_WEIGHT] * len(table)), position=0, group=number, document=0)
        for document, dialogue in enumerate(group.dialogues, 1):
            sample = tokenize(dialogue.messages, renderer)
            row.add(sample, position=len(table), group=number, document=document)
            if length - len(row.tokens) < LEAST_SPACE:
                break
        number += 1
    return row


def _batch(rows: list[Row], length: int, pad_id: int) -> Batch:
    def padded(lists: list[list[Any]], value: float) -> torch.Tensor:
        cut = [entries[:length] for entries in lists]
        return torch.tensor([entries + [value] * (length - len(entries)) for entries in cut])

    return Batch(
        padded([row.tokens for row in rows], pad_id),
        padded([row.weights for row in rows], 0.0),
        padded([row.positions for row in rows], 0),
        padded([row.groups for row in rows], -1),
        padded([row.documents for row in rows], 0),
    )
