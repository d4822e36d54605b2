"""Drawn tools: every call fits its schema, and a seed fixes what is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from llmos_kernel.abi import Role
from llmos_kernel.training.dialogues import Dialogue, DialogueMaker

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the public training data are not at hand"
)


def drawn(seed: int, num_groups: int) -> Iterator[Dialogue]:
    for group in itertools.islice(DialogueMaker(DATA, seed=seed), num_groups):
        yield from itertools.islice(group.dialogues, 5)


def test_every_call_names_a_tool_of_its_table_and_fits_its_schema() -> None:
    num_calls = 0
    for dialogue in drawn(seed=9, num_groups=250):
        validators = {
            tool.name: Draft202012Validator(dict(tool.parameters)) for tool in dialogue.tools
        }
        for message in dialogue.messages:
            for call in message.calls:
                assert not list(validators[call.name].iter_errors(dict(call.arguments))), call
                num_calls += 1
    assert num_calls > 500


def test_the_same_seed_draws_the_same_dialogues() -> None:
    assert list(drawn(4, 30)) == list(drawn(4, 30))
    assert list(drawn(4, 30)) != list(drawn(5, 30))


def test_some_requests_to_drawn_tools_fit_none_and_some_lack_an_argument() -> None:
    first_replies = [
        message
        for dialogue in drawn(seed=2, num_groups=150)
        if dialogue.tools
        for message in dialogue.messages[:2]
        if message.role is Role.ASSISTANT and not message.calls
    ]
    assert any("tool" in message.content for message in first_replies)
    assert any(message.content.endswith("?") for message in first_replies)
