"""Time zones by what people call them: cities, countries, abbreviations, offsets.

The names are those of the IANA data base, which has one city for each zone; `CITIES` adds large
ones that it lacks. Knows no clock.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from datetime import UTC, timedelta, timezone, tzinfo
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo, available_timezones

from llmos.sdk import RetryCall

CITIES = {
    "Asia/Shanghai": "beijing, peking, shenzhen, guangzhou, chengdu, wuhan, china",
    "Asia/Kolkata": "mumbai, bombay, delhi, new delhi, bangalore, bengaluru, chennai, hyderabad",
    "Asia/Karachi": "islamabad, lahore",
    "Asia/Ho_Chi_Minh": "hanoi",
    "Asia/Tokyo": "osaka, kyoto",
    "Asia/Dubai": "abu dhabi",
    "Asia/Riyadh": "mecca, jeddah",
    "Asia/Jerusalem": "tel aviv, haifa",
    "Europe/Istanbul": "ankara",
    "Europe/Berlin": "munich, hamburg, frankfurt, cologne, stuttgart, leipzig, dresden, germany",
    "Europe/Zurich": "geneva, bern, basel",
    "Europe/Rome": "milan, naples, turin, florence, venice",
    "Europe/Madrid": "barcelona, valencia, seville, spain",
    "Europe/Paris": "lyon, marseille, nice",
    "Europe/Lisbon": "porto",
    "Europe/Amsterdam": "rotterdam, the hague",
    "Europe/Oslo": "bergen, trondheim",
    "Europe/Stockholm": "gothenburg",
    "Europe/London": "manchester, birmingham, edinburgh, glasgow, liverpool, cardiff, england, "
    "scotland, wales, uk",
    "Europe/Moscow": "st petersburg, saint petersburg",
    "Europe/Kyiv": "odessa, kharkiv, lviv",
    "America/New_York": "washington, washington dc, boston, miami, philadelphia, atlanta, "
    "new york city, nyc, orlando, est, edt, eastern time",
    "America/Chicago": "dallas, houston, austin, new orleans, minneapolis, cst, cdt, central time",
    "America/Denver": "salt lake city, mst, mdt, mountain time",
    "America/Los_Angeles": "san francisco, seattle, san diego, las vegas, portland, california, "
    "silicon valley, la, pst, pdt, pacific time",
    "America/Toronto": "ottawa, montreal, quebec",
    "America/Edmonton": "calgary",
    "America/Sao_Paulo": "rio de janeiro, rio, brasilia",
    "America/Argentina/Buenos_Aires": "buenos aires",
    "America/Bogota": "medellin",
    "America/Guayaquil": "quito",
    "Pacific/Honolulu": "hawaii",
    "Pacific/Auckland": "wellington, christchurch, new zealand",
    "Africa/Johannesburg": "cape town, pretoria, durban",
    "Africa/Lagos": "abuja",
    "Africa/Casablanca": "rabat, marrakesh",
    "Australia/Sydney": "canberra",
}
OFFSET = re.compile(r"(?:utc|gmt)?\s*([+-])(\d{1,2})(?::?([0-5]\d))?")
MOST_OFFERED = 4


def find_zone(name: str) -> tuple[str, tzinfo]:
    """Return the full name and the zone that a person means.

    Raises:
        RetryCall: there is none of this name, or several; the message names the nearest.
    """
    wanted = _plain(re.sub(r"\btime\s+in\b|^in\b", " ", name))
    if wanted in ("utc", "gmt", "z", "zulu"):
        return "UTC", UTC
    if offset := OFFSET.fullmatch(name.casefold().strip()):
        return _fixed(offset, name)
    names = _names()
    parts = [wanted, *(_plain(part) for part in re.split(r"[,(]", name)[:1])]
    for part in (*parts, wanted.removesuffix(" time"), wanted.removesuffix(" city")):
        if found := names.get(part):
            return _only(found, name)
    near = difflib.get_close_matches(wanted, names, n=MOST_OFFERED, cutoff=0.6)
    hint = f"; near it are {', '.join(near).title()}" if near else ""
    raise RetryCall(f"there is no zone or city {name!r}{hint}; name a large city of the same zone")


def _fixed(offset: re.Match[str], name: str) -> tuple[str, tzinfo]:
    sign, hours, minutes = offset.groups()
    length = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if length > timedelta(hours=14):
        raise RetryCall(f"{name!r} is no offset of a zone: they go from -12:00 to +14:00")
    zone = timezone(-length if sign == "-" else length)
    return str(zone), zone


def _only(found: frozenset[str], name: str) -> tuple[str, tzinfo]:
    if len(found) > 1:
        some = ", ".join(sorted(found)[:MOST_OFFERED])
        raise RetryCall(f"{name!r} has {len(found)} zones, such as {some}; name a city")
    (key,) = found
    return key, ZoneInfo(key)


@cache
def _names() -> dict[str, frozenset[str]]:
    """Return the zones by their plain names: full names, cities, countries."""
    names = _countries()
    names["usa"] = names["us"] = names["united states"]
    for key in sorted(available_timezones()):
        names[_plain(key)] = {key}
        if "/" in key and not key.startswith(("Etc/", "SystemV/", "posix/", "right/", "US/")):
            names.setdefault(_plain(key.rpartition("/")[2]), {key})
    for key, cities in CITIES.items():
        for city in cities.split(", "):
            names[city] = {key}
    return {name: frozenset(zones) for name, zones in names.items()}


def _countries() -> dict[str, set[str]]:
    """Return the zones of each country, by its plain name."""
    data = files("tzdata") / "zoneinfo"
    lines = [line.split("\t") for line in (data / "zone.tab").read_text().splitlines()]
    zones: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        if not line[0].startswith("#"):
            zones[line[0]].add(line[2])
    codes = (data / "iso3166.tab").read_text().splitlines()
    pairs = [line.split("\t") for line in codes if not line.startswith("#")]
    return {_plain(country): zones[code] for code, country in pairs if zones[code]}


def _plain(name: str) -> str:
    """Return a name in small letters, without accents and punctuation."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[^\w+-]|_", " ", kept).split())
