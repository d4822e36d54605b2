"""Now and timer: reading a clock, and waiting by it.

A timer ends at a moment that follows from when its call was journalled, so that one that runs
again after a crash ends when the first would have.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, tzinfo

from tzlocal import get_localzone

from llmos.sdk import CallContext, Label, Output, RetryCall, tool
from llmos.times import after, parse_duration, parse_moment
from llmos_tools.clock.zones import find_zone

LONGEST = timedelta(days=1)
# The event loop's clock stands still while a computer sleeps, so the wall clock is read again.
LOOK_S = 20.0


class Clock:
    """Tells and waits; `clock` gives Unix time, `sleep` waits so many seconds."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep

    @tool(effects=(), is_repeatable=True, max_concurrent=None)
    async def now(self, zone: str | None = None) -> Output:
        """Tell the date and the time.

        Args:
            zone: a city or time zone
        """
        name, found = find_zone(zone) if zone and zone.strip() else _local()
        moment = datetime.fromtimestamp(self._clock(), found)
        return Output(_described(moment, name), label=Label.TRUSTED)

    @tool(
        effects=(),
        is_repeatable=True,
        timeout_s=LONGEST.total_seconds() + 60,
        max_concurrent=None,
        keywords=(
            "minute", "hour", "second", "countdown", "count", "pause", "rest", "sleep", "alarm",
            "ring", "beep", "bell", "ping", "ding", "hold", "break", "wake", "nap", "idle", "half",
            "stopwatch", "delay", "passed", "elapsed", "silent",
        ),
    )  # fmt: skip
    async def timer(self, duration: str, context: CallContext) -> Output:
        """Wait, then go on.

        Args:
            duration: such as 10 minutes
        """
        asked_at = datetime.fromtimestamp(context.asked_at, get_localzone())
        end = _end(duration, asked_at).timestamp()
        while (left := end - self._clock()) > 0:
            await self._sleep(min(left, LOOK_S))
        moment = datetime.fromtimestamp(self._clock(), get_localzone())
        return Output(f"time is up: it is {moment:%H:%M:%S}", label=Label.TRUSTED)


def _local() -> tuple[str, tzinfo]:
    zone = get_localzone()
    return str(zone), zone


def _described(moment: datetime, name: str) -> str:
    offset = f"UTC{moment:%z}"
    offset = f"{offset[:-2]}:{offset[-2:]}"
    about = name if name.startswith("UTC") else f"{name}, {offset}"
    return f"{moment:%A}, {moment.day} {moment:%B %Y}, {moment:%H:%M:%S} ({about})"


def _end(said: str, asked_at: datetime) -> datetime:
    """Return when a timer ends.

    Raises:
        RetryCall: it is not understood, over at once, or longer than a day.
    """
    text = said.strip().casefold()
    length = parse_duration(re.sub(r"^(for|in)\s+", "", text))
    if length is None:
        until = re.sub(r"^until\s+", "", text)
        end = parse_moment(until, asked_at)
    else:
        end = after(asked_at, length)
    if end is None:
        raise RetryCall(f"{said!r} is no duration; write such as '10 minutes' or 'until 18:30'")
    if end <= asked_at:
        raise RetryCall(f"{said!r} is over already; give a time that is still to come")
    if end > after(asked_at, LONGEST):
        raise RetryCall(f"{said!r} is longer than a day; use schedule for that")
    return end
