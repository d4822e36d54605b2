"""When a schedule is due: a moment, an interval or a cron expression, from what a person wrote.

Knows no tasks and keeps nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Protocol

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from llmos.times import DEFAULT_TIME, WEEKDAYS, parse_duration, parse_moment, split_clock
from llmos_kernel.errors import ConfigError

EXAMPLES = "'in 10 minutes', 'tomorrow at 9', 'every monday 18:00' or a cron expression '0 8 * * *'"
SHORTEST = timedelta(minutes=1)
CRON = re.compile(r"[\d*/,-]+(?: [\d*/,a-z-]+){4}")
ADVERBS = {
    "hourly": "every hour",
    "daily": "every day",
    "weekly": "every monday",
    "monthly": "every month",
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
MONTHLY = re.compile(r"month(?: on)?(?: the)?(?: (\d{1,2})(?:st|nd|rd|th)?)?")
CRON_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAYS = {"day": "*", "weekday": "mon-fri", "weekend": "sat,sun"} | {
    name: name[:3] for name in WEEKDAYS
}


class Trigger(Protocol):
    """Tells when it is due next; `Once` or one of APScheduler's."""

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Once:
    """A moment, which is not due again once it is past."""

    moment: datetime

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        return self.moment if now <= self.moment else None


def read_timing(when: str, now: datetime) -> Trigger:
    """Return the trigger that is meant; it is due for the first time after `now`.

    Raises:
        ConfigError: it is not understood, is past, never comes, or comes too often.
    """
    said = " ".join(when.casefold().split()).rstrip(".!")
    head, _, tail = said.partition(" ")
    said = f"{ADVERBS.get(head, head)} {tail}".strip()
    trigger = _cron(said, now) or _recurring(said, now) or _once(said, now)
    if trigger is None:
        raise ConfigError(f"the time {when!r} is not understood; write such as {EXAMPLES}")
    if next_due(trigger, now) is None:
        raise ConfigError(f"the time {when!r} is past or never comes; give one to come")
    return trigger


def next_due(trigger: Trigger, moment: datetime) -> datetime | None:
    """Return when a trigger is due first after a moment, None if never again."""
    return trigger.get_next_fire_time(None, moment + timedelta(microseconds=1))


def _once(said: str, now: datetime) -> Trigger | None:
    moment = parse_moment(said, now)
    return None if moment is None else Once(moment)


def _cron(said: str, now: datetime) -> Trigger | None:
    """Read five fields as cron does: there day 0 is Sunday, for APScheduler it is Monday."""
    if not CRON.fullmatch(said):
        return None
    *fields, days = said.split(" ")
    named = re.sub(r"(?<![\d/])[0-7](?!\d)", lambda found: CRON_DAYS[int(found[0])], days)
    try:
        return CronTrigger.from_crontab(" ".join([*fields, named]), timezone=now.tzinfo)
    except ValueError as error:
        raise ConfigError(f"{said!r} is no cron expression: {error}") from error


def _recurring(said: str, now: datetime) -> Trigger | None:
    rest, clock = split_clock(said)
    days = re.sub(r"^every\s*", "", rest)
    if not rest.startswith("every"):
        is_plural = all(name.endswith("s") for name in _names(days))
        return _on_days(days, clock, now) if is_plural else None
    if days == "day" or (clock and not days):
        return _at(clock or DEFAULT_TIME, now)
    if clock is None and (length := parse_duration(_counted(days))):
        return _interval(said, length, now)
    if month := MONTHLY.fullmatch(days):
        day = int(month[1] or 1)
        return _at(clock or DEFAULT_TIME, now, day=str(day)) if 1 <= day <= 31 else None
    return _on_days(days, clock, now)


def _on_days(days: str, clock: time | None, now: datetime) -> Trigger | None:
    """Return the trigger of "monday", "mondays and fridays", "weekday", None of anything else."""
    chosen = [DAYS.get(name.removesuffix("s"), "") for name in _names(days)]
    return _at(clock or DEFAULT_TIME, now, day_of_week=",".join(chosen)) if all(chosen) else None


def _names(days: str) -> list[str]:
    return [name for name in days.split() if name != "and"] or [""]


def _counted(days: str) -> str:
    return days if days[:1].isdigit() or " " in days else f"1 {days}"


def _interval(said: str, length: timedelta, now: datetime) -> Trigger:
    if length < SHORTEST:
        raise ConfigError(f"{said!r} is too often; a task can run every minute at most")
    return IntervalTrigger(
        seconds=int(length.total_seconds()), start_date=now + length, timezone=now.tzinfo
    )


def _at(clock: time, now: datetime, **fields: str) -> Trigger:
    return CronTrigger(hour=clock.hour, minute=clock.minute, timezone=now.tzinfo, **fields)
