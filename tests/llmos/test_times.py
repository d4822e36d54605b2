"""Durations and moments as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.times import parse_duration, parse_moment

OSLO = ZoneInfo("Europe/Oslo")
NOW = datetime(2026, 11, 24, 22, 30, tzinfo=OSLO)  # a Tuesday


@pytest.mark.parametrize(
    ("said", "minutes"),
    [
        ("10 minutes", 10), ("1h30", 90), ("1h30m", 90), ("90 s", 1.5), ("1.5 hours", 90),
        ("1 hour and 30 minutes", 90), ("1 hour, 2 minutes", 62), ("an hour and a half", 90),
        ("half an hour", 30), ("ten minutes", 10), ("an hour", 60), ("Forty-five minutes", 45),
        ("twenty five min", 25), ("2 days", 2880), ("a quarter of an hour", 15), ("a week", 10080),
    ],
)  # fmt: skip
def test_a_duration_is_read(said: str, minutes: float) -> None:
    assert parse_duration(said) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "said",
    ["", "10", "minutes", "10 minutes or so", "1:30", "-5 m", "9" * 400 + " weeks", "5 moons"],
)
def test_what_is_no_duration_is_none(said: str) -> None:
    assert parse_duration(said) is None


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("in 10 minutes", "2026-11-24 22:40"),
        ("2 hours from now", "2026-11-25 00:30"),
        ("23:15", "2026-11-24 23:15"),
        ("18:30", "2026-11-25 18:30"),
        ("at 9", "2026-11-25 09:00"),
        ("9am", "2026-11-25 09:00"),
        ("12 pm", "2026-11-25 12:00"),
        ("noon", "2026-11-25 12:00"),
        ("tomorrow", "2026-11-25 09:00"),
        ("tomorrow at 9", "2026-11-25 09:00"),
        ("Tomorrow morning.", "2026-11-25 08:00"),
        ("tonight at 11", "2026-11-24 23:00"),
        ("on friday at 5pm", "2026-11-27 17:00"),
        ("monday 18:00", "2026-11-30 18:00"),
        ("tuesday at 8", "2026-12-01 08:00"),
        ("tuesday at 23:00", "2026-11-24 23:00"),
        ("next tuesday at 23:00", "2026-12-01 23:00"),
        ("in 2 days at 8", "2026-11-26 08:00"),
        ("2026-12-24 18:00", "2026-12-24 18:00"),
        ("2026-12-24T18:00", "2026-12-24 18:00"),
        ("Dec 24th at 6 p.m.", "2026-12-24 18:00"),
        ("1 January", "2027-01-01 09:00"),
        ("the 1st of March at 10:15", "2027-03-01 10:15"),
        ("today at 8", "2026-11-24 08:00"),
        ("24 december 2025", "2025-12-24 09:00"),
    ],
)
def test_a_moment_is_read(said: str, moment: str) -> None:
    found = parse_moment(said, NOW)
    assert found == datetime.fromisoformat(moment).replace(tzinfo=OSLO)


@pytest.mark.parametrize(
    "said",
    ["", "9", "banana", "banana at 9", "25:00", "at 99", "13pm", "12/24/2026", "30 february"],
)
def test_what_is_no_moment_is_none(said: str) -> None:
    assert parse_moment(said, NOW) is None


def test_hours_pass_also_where_clocks_are_put_back() -> None:
    before = datetime(2026, 10, 25, 1, 30, tzinfo=OSLO)
    found = parse_moment("in 3 hours", before)
    assert found is not None
    assert found.timestamp() - before.timestamp() == 3 * 3600
    assert (found.hour, found.minute) == (3, 30)


@given(
    st.text(max_size=30)
    | st.from_regex(r"(in |at )?\d{1,4}[ :.]?(\d\d|am|pm|days)?", fullmatch=True)
)
def test_no_text_breaks_the_reader(said: str) -> None:
    parse_duration(said)
    parse_moment(said, NOW)
