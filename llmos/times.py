"""What people write for times: durations, times of day, days and moments, in English.

Strict: a text that is not understood to its last word is not a time. (Of the libraries, dateparser
reads "tomorrow at 9" as this hour of tomorrow and "1 hour and 30 minutes" as a date.) Knows no
recurrences.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

UNITS = {
    "second": 1, "seconds": 1, "secs": 1, "sec": 1, "s": 1,
    "minute": 60, "minutes": 60, "mins": 60, "min": 60, "m": 60,
    "hour": 3600, "hours": 3600, "hrs": 3600, "hr": 3600, "h": 3600,
    "day": 86_400, "days": 86_400, "d": 86_400,
    "week": 604_800, "weeks": 604_800, "w": 604_800,
}  # fmt: skip
NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20,
    "twenty-five": 25, "thirty": 30, "forty": 40, "forty-five": 45, "fifty": 50, "sixty": 60,
    "ninety": 90,
}  # fmt: skip
PHRASES = {
    r"\b(an|one|1) hour and a half\b": "90 minutes",
    r"\bhalf( an| a)? hour\b|\bhalf-hour\b": "30 minutes",
    r"\b(a )?quarter of an hour\b": "15 minutes",
    r"\b(a )?couple of\b": "2",
    r"(?<=\d)h(\d\d)$": r"h \1min",
}
PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})(?![a-z])(?:\s*(?:,|and)\s*|\s*)")
NAMED_TIMES = {
    "midnight": time(0), "morning": time(8), "noon": time(12), "midday": time(12),
    "afternoon": time(15), "evening": time(18), "tonight": time(20), "night": time(22),
}  # fmt: skip
DEFAULT_TIME = time(9)
CLOCK = re.compile(
    r"(?:\bat\s+)?\b(\d{1,2})(?:[:.](\d\d))?\s*([ap]\.?m\b\.?)"
    r"|(?:\bat\s+)?\b(\d{1,2}):(\d\d)(?![\d:])"
    r"|\bat\s+(\d{1,2})(?:\s*o'?clock)?(?![\w:./-])"
)
NAMED = re.compile(rf"(?:\b(?:at|in the|this)\s+)?\b({'|'.join(NAMED_TIMES)})\b")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y")


def parse_duration(text: str) -> timedelta | None:
    """Return the length of "10 minutes", "1h30", "90 s", "half an hour", None of anything else."""
    spelled = _spelled(text)
    if not spelled or not re.fullmatch(rf"(?:{PART.pattern})+", spelled):
        return None
    seconds = sum(float(number) * UNITS[unit] for number, unit in PART.findall(spelled))
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return None


def parse_moment(text: str, now: datetime) -> datetime | None:
    """Return the moment of "in 10 minutes", "18:30", "tomorrow at 9", "friday 5pm", "24 December".

    `now` has a zone, which the moment is in. A time of day without a day is the next one; a day
    without a time is meant at nine. What names a day that has passed gives a moment that has.
    """
    said = re.sub(r"(?<=\d)t(?=\d)", " ", text.casefold().strip().rstrip(".!"))
    length = parse_duration(re.sub(r"^(in|after)\s+|\s+from now$", "", said))
    if length is not None:
        return after(now, length)
    rest, clock = split_clock(said)
    day = _day(rest, now.date(), clock is not None)
    if day is None:
        return None
    moment = datetime.combine(day, clock or DEFAULT_TIME, now.tzinfo)
    if moment <= now and (not rest or rest in WEEKDAYS):
        return moment + timedelta(days=7 if rest else 1)
    return moment


def after(now: datetime, length: timedelta) -> datetime:
    """Return the moment that comes so much later, whatever clocks are put forward or back."""
    try:
        return (now.astimezone(UTC) + length).astimezone(now.tzinfo)
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)


def split_clock(said: str) -> tuple[str, time | None]:
    """Take the time of day out of a text in lower case; None where there is none."""
    part = NAMED.search(said)
    rest = NAMED.sub(" ", said, count=1)
    named = NAMED_TIMES[part[1]] if part else None
    found = CLOCK.search(rest)
    if found is None:
        return _tidied(rest), named
    clock = _clock(found, is_late=named is not None and named.hour >= 12)
    return _tidied(CLOCK.sub(" ", rest, count=1)) if clock else said, clock


def _clock(found: re.Match[str], *, is_late: bool) -> time | None:
    """Return the time that was found; a late one, as "8 tonight", is after noon."""
    hour, minute = int(found[1] or found[4] or found[6]), int(found[2] or found[5] or 0)
    if found[3]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * found[3].startswith("p")
    elif is_late and 1 <= hour < 12:
        hour += 12
    return time(hour % 24, minute) if hour <= 24 and minute < 60 else None


def _tidied(text: str) -> str:
    text = re.sub(r"^\s*(on|at|by)\b|\b(on|at)\s*$|,", " ", text)
    return " ".join(text.split())


def _day(said: str, today: date, has_clock: bool) -> date | None:
    match said:
        case "" | "today":
            return today if said or has_clock else None
        case "tomorrow":
            return today + timedelta(days=1)
        case "the day after tomorrow" | "day after tomorrow":
            return today + timedelta(days=2)
        case "next week":
            return today + timedelta(days=7)
        case _:
            return _weekday(said, today) or _date(said, today) or _days_ahead(said, today)


def _weekday(said: str, today: date) -> date | None:
    """Return the next day of this name; "monday" may be today, "next monday" is not."""
    name = re.sub(r"^(next|this|coming)\s+", "", said)
    if name not in WEEKDAYS:
        return None
    ahead = (WEEKDAYS.index(name) - today.weekday()) % 7
    return today + timedelta(days=7 if said.startswith("next") and not ahead else ahead)


def _days_ahead(said: str, today: date) -> date | None:
    length = parse_duration(said.removeprefix("in "))
    is_days = length is not None and length.seconds == 0 and length < timedelta(days=36_500)
    return today + length if length and is_days else None


def _date(said: str, today: date) -> date | None:
    """Return a date; one without a year is the next of its kind."""
    plain = re.sub(r"(?<=\d)(st|nd|rd|th)\b|\bthe\b|\bof\b", " ", said)
    plain = " ".join(plain.split())
    for form in DATES:
        for text in (plain, f"{plain} {today.year}", f"{plain} {today.year + 1}"):
            try:
                found = datetime.strptime(text, form).date()
            except ValueError:
                continue
            if text == plain or found >= today:
                return found
    return None


def _spelled(text: str) -> str:
    """Write number words as digits, and phrases as plain amounts."""
    said = " ".join(text.casefold().replace("½", ".5").split())
    for pattern, plain in PHRASES.items():
        said = re.sub(pattern, plain, said)
    said = re.sub(r"\b(twenty|forty) five\b", r"\1-five", said)
    return " ".join(str(NUMBERS.get(word, word)) for word in said.split())
