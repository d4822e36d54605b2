"""How the benchmarks measure: rounds, ratios and what is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.continuous_batching import steady_step_s
from benchmarks.method import (
    NUM_ROUNDS,
    OURS,
    Comparison,
    Variant,
    check_equal,
    measure_rounds,
    save,
    table,
)


def recorded(name: str, runs: list[tuple[int, str]]) -> Variant:
    async def run(index: int) -> Mapping[str, float]:
        runs.append((index, name))
        return {name: 10.0 * index + len(name)}

    return run


async def test_every_round_runs_each_variant_once_and_begins_with_another_one() -> None:
    runs: list[tuple[int, str]] = []
    rounds = await measure_rounds([recorded(name, runs) for name in ("a", "bb", "ccc")])
    assert [index for index, _ in runs] == sorted(list(range(NUM_ROUNDS)) * 3)
    assert [name for _, name in runs[::3]] == ["a", "bb", "ccc", "a", "bb"]
    assert [list(each.items()) for each in rounds] == [
        [("a", 10.0 * i + 1), ("bb", 10.0 * i + 2), ("ccc", 10.0 * i + 3)]
        for i in range(NUM_ROUNDS)
    ]


def test_ratios_are_taken_within_a_round_before_their_median() -> None:
    rounds = [{OURS: 1.0, "peer": 2.0}, {OURS: 4.0, "peer": 12.0}, {OURS: 2.0, "peer": 20.0}]
    ratio = Comparison("t", "s", rounds).ratios()["peer"]
    assert (ratio.median, ratio.low, ratio.high) == (3, 2, 10)


def test_a_comparison_without_llmos_has_no_ratios() -> None:
    comparison = Comparison("t", "µs", [{"one": 1500.0}])
    assert comparison.ratios() == {}
    assert table([comparison])[-1] == "| t | one | 1,500 (1,500 to 1,500) µs |  |"


def test_a_step_is_timed_only_while_all_streams_are_at_work() -> None:
    early = [0.0, 1.0, 10.0, 12.0, 14.0]
    late = [10.0, 12.0, 14.0, 100.0]
    assert steady_step_s([early, late]) == pytest.approx(2.0)


def test_streams_that_were_never_at_work_together_have_no_step_time() -> None:
    with pytest.raises(RuntimeError, match="2 streams were never at work together"):
        steady_step_s([[0.0, 1.0], [2.0, 3.0]])


def test_a_variant_that_says_something_else_is_named_and_not_timed() -> None:
    check_equal({"right": [1, 2]}, [1, 2])
    with pytest.raises(RuntimeError, match=r"^wrong: the greedy"):
        check_equal({"right": [1, 2], "wrong": [1, 3]}, [1, 2])


def test_what_is_saved_has_the_table_the_plot_and_every_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = [{OURS: 1.0, "peer": 2.5}, {OURS: 1.0, "peer": 3.5}]
    comparisons = [Comparison(f"size {size}", "ms", rounds) for size in range(5)]
    save("speed", "How\nit is done.", comparisons, {"commit": "abc"}, folder=tmp_path)
    text = (tmp_path / "speed.md").read_text()
    assert "How it is done." in text
    assert "| size 4 | peer | 3 (2.5 to 3.5) ms | 3 (2.5 to 3.5) |" in text
    assert "- commit: abc" in text
    assert "| size 4 | peer |" in capsys.readouterr().out
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    raw = json.loads((tmp_path / "speed.json").read_text())
    assert raw["comparisons"][0] == {"title": "size 0", "unit": "ms", "rounds": rounds}
