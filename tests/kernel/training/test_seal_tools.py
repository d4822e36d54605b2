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
    schemas = {
        (tool["name"], *sorted(tool["parameters"]["properties"]))
        for case in cases(DATA)
        for tool in case["tools"]
        if tool["name"] in measured
    }
    # A function drawn under another name may take a measured one's name, not all its arguments.
    groups = itertools.islice(DialogueMaker(DATA, seed=3), 400)
    offered = {
        (tool.name, *sorted(tool.parameters["properties"]))  # pyright: ignore
        for group in groups
        for tool in group.tools
    }
    assert len(offered) > 200
    assert not offered & schemas
