"""Now and timer, over a clock of the test's own."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llmos.sdk import CallContext, Driver, Label, Output, RetryCall, tools_of
from llmos_tools.clock import Clock, clock
from llmos_tools.clock.zones import find_zone

OSLO = ZoneInfo("Europe/Oslo")
NOW = datetime(2026, 11, 24, 22, 30, 5, tzinfo=OSLO).timestamp()


class FakeTime:
    """A clock that goes on only while it is slept by."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture(autouse=True)
def in_oslo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "get_localzone", lambda: OSLO)


def asked_at(moment: float) -> CallContext:
    return CallContext(1, Path("/workspace"), asked_at=moment)


async def timer(said: str, time: FakeTime, *, asked: float = NOW) -> str:
    output: Output = await Clock(time, time.sleep).timer(said, asked_at(asked))
    return output.text


def test_the_kernel_reads_the_words_that_the_model_was_trained_on() -> None:
    specs = {driver.spec.name: driver.spec for driver in tools_of(Clock)}
    assert specs["now"].description == "Tell the date and the time."
    assert specs["now"].parameters["properties"] == {
        "zone": {"type": "string", "description": "a city or time zone"}
    }
    assert specs["now"].parameters["required"] == []
    assert specs["timer"].description == "Wait, then go on."
    assert specs["timer"].parameters["properties"] == {
        "duration": {"type": "string", "description": "such as 10 minutes"}
    }
    assert specs["timer"].timeout_s > 86_400
    assert all(spec.is_repeatable and not spec.effects for spec in specs.values())


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        (None, "Tuesday, 24 November 2026, 22:30:05 (Europe/Oslo, UTC+01:00)"),
        ("", "Tuesday, 24 November 2026, 22:30:05 (Europe/Oslo, UTC+01:00)"),
        ("Tokyo", "Wednesday, 25 November 2026, 06:30:05 (Asia/Tokyo, UTC+09:00)"),
        ("New York", "Tuesday, 24 November 2026, 16:30:05 (America/New_York, UTC-05:00)"),
        ("+05:30", "Wednesday, 25 November 2026, 03:00:05 (UTC+05:30)"),
        ("UTC", "Tuesday, 24 November 2026, 21:30:05 (UTC)"),
    ],
)
async def test_now_tells_date_weekday_time_and_zone(zone: str | None, text: str) -> None:
    output: Output = await Clock(FakeTime()).now(zone)
    assert (output.text, output.label) == (text, Label.TRUSTED)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("oslo", "Europe/Oslo"), ("europe/paris", "Europe/Paris"), ("São Paulo", "America/Sao_Paulo"),
        ("Zürich", "Europe/Zurich"), ("San Francisco", "America/Los_Angeles"), ("Japan", "Japan"),
        ("Norway", "Europe/Oslo"), ("Germany", "Europe/Berlin"), ("time in London", "Europe/London"),
        ("Oslo, Norway", "Europe/Oslo"), ("Paris (France)", "Europe/Paris"), ("GMT+3", "UTC+03:00"),
        ("PST", "America/Los_Angeles"), ("Buenos Aires", "America/Argentina/Buenos_Aires"),
        ("New York City", "America/New_York"), ("mexico city", "America/Mexico_City"),
    ],
)  # fmt: skip
def test_a_zone_is_found_by_what_people_call_it(name: str, key: str) -> None:
    assert find_zone(name)[0] == key


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Olso", "no zone or city 'Olso'; near it are Oslo"),
        ("USA", r"'USA' has \d\d zones, such as America/Adak.*; name a city"),
        ("xqzt", "no zone or city 'xqzt'; name a large city"),
        ("UTC+99", "they go from -12:00 to"),
    ],
)
def test_an_unknown_zone_is_one_line_with_what_is_near(name: str, told: str) -> None:
    with pytest.raises(RetryCall, match=told) as raised:
        find_zone(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("10 minutes", 600), ("90 s", 90), ("1h30", 5400), ("for half an hour", 1800),
     ("until 23:00", 1795), ("until 6:30", 28_795), ("22:31", 55), ("0.5 seconds", 0.5)],
)  # fmt: skip
async def test_a_timer_waits_by_the_clock(said: str, seconds: float) -> None:
    time = FakeTime()
    assert (await timer(said, time)).startswith("time is up: it is ")
    assert sum(time.slept) == pytest.approx(seconds, abs=1e-3)


async def test_a_timer_that_runs_again_ends_when_the_first_would_have() -> None:
    late = FakeTime(NOW + 595)
    assert await timer("10 minutes", late) == "time is up: it is 22:40:05"
    assert late.slept == [5]
    over = FakeTime(NOW + 9000)
    assert await timer("10 minutes", over) == "time is up: it is 01:00:05"
    assert over.slept == []


async def test_a_timer_ends_soon_after_a_sleeping_computer_wakes() -> None:
    time = FakeTime()

    async def sleep(seconds: float) -> None:
        await time.sleep(seconds)
        time.now += 3600  # the event loop's clock did not see this hour

    await Clock(time, sleep).timer("10 minutes", asked_at(NOW))
    assert len(time.slept) == 1
    assert time.slept[0] < 60


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("banana", "'banana' is no duration; write such as '10 minutes'"),
        ("", "'' is no duration"),
        ("25 hours", "longer than a day; use schedule"),
        ("0 seconds", "is over already"),
        ("until today at 8", "is over already"),
    ],
)
async def test_a_time_that_cannot_be_waited_for_is_the_model_s_to_mend(
    said: str, told: str
) -> None:
    with pytest.raises(RetryCall, match=told):
        await timer(said, FakeTime())


def only(name: str) -> Driver:
    return next(driver for driver in tools_of(Clock) if driver.spec.name == name)


async def test_a_timer_waits_through_its_driver() -> None:
    output = await only("timer").call({"duration": "0.01 s"}, CallContext(1, Path("/workspace")))
    assert output.text.startswith("time is up")
