"""When schedules are due, from what people write."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.schedules.timing import next_due, read_timing
from llmos_kernel.errors import ConfigError

OSLO = ZoneInfo("Europe/Oslo")
NOW = datetime(2026, 11, 24, 22, 30, tzinfo=OSLO)  # a Tuesday


def dues(said: str, count: int, now: datetime = NOW) -> list[str]:
    """Return the first moments at which what is said is due."""
    trigger, moment, found = read_timing(said, now), now, list[str]()
    for _ in range(count):
        due = next_due(trigger, moment)
        if due is None:
            break
        moment = due
        found.append(f"{due:%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("said", "first", "second"),
    [
        ("every day at 8", "11-25 08:00", "11-26 08:00"),
        ("every day at noon", "11-25 12:00", "11-26 12:00"),
        ("Daily at 9 pm.", "11-25 21:00", "11-26 21:00"),
        ("every day", "11-25 09:00", "11-26 09:00"),
        ("every morning", "11-25 08:00", "11-26 08:00"),
        ("every monday 18:00", "11-30 18:00", "12-07 18:00"),
        ("mondays at 9", "11-30 09:00", "12-07 09:00"),
        ("every weekday at 7:30", "11-25 07:30", "11-26 07:30"),
        ("every monday, wednesday and friday at 6pm", "11-25 18:00", "11-27 18:00"),
        ("every weekend at 10am", "11-28 10:00", "11-29 10:00"),
        ("every 10 minutes", "11-24 22:40", "11-24 22:50"),
        ("every hour", "11-24 23:30", "11-25 00:30"),
        ("every 90 minutes", "11-25 00:00", "11-25 01:30"),
        ("every half hour", "11-24 23:00", "11-24 23:30"),
        ("every month on the 1st at 10", "12-01 10:00", "01-01 10:00"),
        ("every month on the 31st", "12-31 09:00", "01-31 09:00"),
        ("0 8 * * *", "11-25 08:00", "11-26 08:00"),
        ("30 18 * * 0", "11-29 18:30", "12-06 18:30"),
        ("0 8 * * 1-5", "11-25 08:00", "11-26 08:00"),
        ("0 8 * * mon,7", "11-29 08:00", "11-30 08:00"),
        ("*/15 * * * *", "11-24 22:45", "11-24 23:00"),
        ("@daily", "11-25 00:00", "11-26 00:00"),
    ],
)
def test_what_recurs_is_due_again_and_again(said: str, first: str, second: str) -> None:
    assert dues(said, 2) == [first, second]


@pytest.mark.parametrize(
    ("said", "due"),
    [
        ("in 10 minutes", "11-24 22:40"),
        ("tomorrow at 9", "11-25 09:00"),
        ("monday 18:00", "11-30 18:00"),
        ("2026-12-24 18:00", "12-24 18:00"),
    ],
)
def test_a_moment_is_due_once(said: str, due: str) -> None:
    assert dues(said, 3) == [due]


def test_eight_in_the_morning_is_eight_also_after_clocks_are_put_back() -> None:
    before = datetime(2026, 10, 24, 12, 0, tzinfo=OSLO)
    assert dues("every day at 8", 2, before) == ["10-25 08:00", "10-26 08:00"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "the time '' is not understood; write such as"),
        ("banana", "'banana' is not understood"),
        ("every", "not understood"),
        ("every other day", "not understood"),
        ("every month on the 99", "not understood"),
        ("0 9 * * 5#2", "not understood"),
        ("every 5 seconds", "too often; a task can run every minute at most"),
        ("61 8 * * *", "no cron expression: .*61"),
        ("0 0 30 2 *", "is past or never comes"),
        ("2020-01-01", "is past or never comes"),
        ("today at 8", "is past or never comes"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused_in_one_line(said: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        read_timing(said, NOW)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=30) | st.from_regex(r"(every )?[\d*/,a-f -]{1,14}", fullmatch=True))
def test_no_text_breaks_the_reader(said: str) -> None:
    with suppress(ConfigError):
        assert next_due(read_timing(said, NOW), NOW) is not None
