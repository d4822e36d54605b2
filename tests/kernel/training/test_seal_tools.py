"""Seal-Tools' development half: its cases are whole, and neither they nor their tools are trained on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from llmos_kernel.training.dialogues import DialogueMaker
from llmos_kernel.training.seal_tools import called_functions, cases

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the public data")


@needs_data
def test_every_called_tool_stands_in_its_table_and_no_call_takes_anothers_result() -> None:
    made = list(cases(DATA))
    assert len(made) > 500
    for case in made:
        names = [tool["name"] for tool in case["tools"]]
        assert len(set(names)) == len(names)
        assert {call["name"] for call in case["expect"]} <= set(names)
        assert "API_call_" not in str(case["expect"])


@needs_data
def test_training_offers_no_function_that_the_measure_calls() -> None:
    measured = called_functions(DATA)
    maker = DialogueMaker(DATA, seed=3)
    groups = itertools.islice(maker, 400)
    offered = {tool.name for group in groups for tool in group.tools}
    assert offered and not offered & measured
