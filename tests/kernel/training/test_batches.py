"""Rows of training: each dialogue sees its tool table and itself, as if it came alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

import llmos_kernel
from llmos_kernel.abi import Message, Role, ToolSpec
from llmos_kernel.dialects.dialect import EMBEDDED, SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.training.batches import batches, tokenize
from llmos_kernel.training.dialogues import Dialogue, Group, load_builtin_tools

MODEL = Path(llmos_kernel.__file__).parent / "model"


def group(tools: list[ToolSpec], *dialogues: list[Message]) -> Group:
    return Group(tools, (Dialogue(tools, messages) for messages in dialogues))


def fillers() -> Iterator[Group]:
    while True:
        yield group([], said("filler", "filler"))


def said(*texts: str) -> list[Message]:
    roles = (Role.USER, Role.ASSISTANT)
    return [Message(roles[i % 2], text) for i, text in enumerate(texts)]


def test_a_packed_dialogue_is_predicted_as_if_it_came_alone_behind_its_table() -> None:
    renderer = Renderer(Tokenizer.from_file(str(MODEL / "tokenizer.json")), EMBEDDED)
    tools = load_builtin_tools()[:2]
    dialogues = [said("hello", "hi"), said("say it again", "once more", "why?", "for fun")]
    groups = itertools.chain([group(tools, *dialogues)], fillers())
    batch = next(batches(groups, renderer, rows=1, length=256, pad_id=0))
    model = Qwen3ForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    with torch.no_grad():
        packed = model(
            input_ids=batch.tokens,
            attention_mask=batch.attention_mask(),
            position_ids=batch.positions,
        ).logits[0]
        for number, messages in enumerate(dialogues, 1):
            is_its = (batch.groups[0] == 0) & (batch.documents[0] == number)
            ids, _ = tokenize(messages, renderer)
            table = renderer.system_ids(SYSTEM_PROMPT, tools)
            alone = model(input_ids=torch.tensor([table + ids])).logits[0, len(table) :]
            assert batch.tokens[0][is_its].tolist() == ids
            torch.testing.assert_close(packed[is_its], alone, rtol=1e-3, atol=1e-3)


def test_only_what_the_model_says_weighs_fully_and_no_first_token_is_predicted() -> None:
    renderer = Renderer(Tokenizer.from_file(str(MODEL / "tokenizer.json")), EMBEDDED)
    groups = itertools.chain([group([], said("hello", "hi"), said("a", "b"))], fillers())
    batch = next(batches(groups, renderer, rows=1, length=256, pad_id=0))
    starts = batch.documents[0].diff(prepend=torch.tensor([-1])) != 0
    assert batch.weights[0][starts].sum() == 0
    is_said = batch.weights[0] == 1.0
    said_ids = renderer.assistant_ids(Message(Role.ASSISTANT, "hi"))
    assert batch.tokens[0][is_said][: len(said_ids)].tolist() == said_ids
