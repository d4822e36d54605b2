"""How confidence is fitted and measured: on outcomes whose probabilities are known."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from benchmarks.calibration import Reading, draw, figures_of, fit, opening_of, words
from llmos_kernel.confidence import Calibration, scaled

TRUTH = Calibration(0.5, 2.0)


def readings(count: int) -> list[Reading]:
    """Return calls that come out as likely as the model says at the temperatures of TRUTH."""
    rng = random.Random(3)
    made: list[Reading] = []
    for _ in range(count):
        log_tool, log_arguments = math.log(rng.random()), math.log(rng.random())
        has_right_tool = rng.random() < scaled(log_tool, TRUTH.tool)
        is_right = has_right_tool and rng.random() < scaled(log_arguments, TRUTH.arguments)
        made.append(Reading(log_tool, log_arguments, 1.0, has_right_tool, is_right, is_wanted=True))
    return made


def opened(opening: float, *, is_right: bool, is_wanted: bool = True) -> Reading:
    return Reading(0.0, 0.0, opening, is_right, is_right, is_wanted)


def test_calls_are_given_up_below_what_tells_the_unwanted_from_the_right_ones() -> None:
    unwanted = [opened(0.4 + 0.01 * i, is_right=False, is_wanted=False) for i in range(20)]
    right = [opened(0.7 + 0.01 * i, is_right=True) for i in range(20)]
    wrong = [opened(0.5, is_right=False)]
    readings = [*unwanted, *right, *wrong]
    found = opening_of(readings)
    assert 0.57 < found <= 0.71
    assert words(readings, found) == {"instead_of_calls": 19, "unwanted": 18, "right": 0}


def test_no_call_is_given_up_where_all_are_wanted() -> None:
    assert opening_of([opened(0.3, is_right=True), opened(0.35, is_right=False)]) == 0


def test_the_temperatures_that_made_outcomes_are_found_again() -> None:
    found = fit(readings(4000))
    assert found.tool == pytest.approx(TRUTH.tool, rel=0.15)
    assert found.arguments == pytest.approx(TRUTH.arguments, rel=0.15)


def test_the_error_tells_a_fitted_reading_from_a_plain_one(tmp_path: Path) -> None:
    made = readings(2000)
    fitted = figures_of([reading.judged(TRUTH) for reading in made])
    plain = figures_of([reading.judged(Calibration(2.0, 0.3)) for reading in made])
    assert fitted["ece"][10] < 0.04
    assert plain["ece"][10] > 0.08
    assert fitted["ece"][10] < 3 * fitted["ece_by_chance"]
    asked = fitted["asked"][0.5]
    assert asked["asked"] + asked["made"] == 2000
    assert asked["of_them_right"] / asked["made"] > fitted["right"] / 2000
    draw({"made": [reading.judged(TRUTH) for reading in made]}, tmp_path / "diagram.png")
    assert (tmp_path / "diagram.png").stat().st_size > 5000
