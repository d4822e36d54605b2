"""English words for what is written in digits and signs.

Each rule turns one form into words; what a rule has made is words, so that no later one takes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from num2words import num2words

Rule: TypeAlias = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

LONGEST_NUMBER = 15  # digits; those of longer ones are read one by one
MONTHS = (
    "January February March April May June July August September October November December"
).split()
# Sign or code: one, several, the hundredth's one and several.
MONEY = {
    "€": ("euro", "euros", "cent", "cents"),
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
# One, and what is put after a plural's s.
UNITS = {
    "km/h": ("kilometre", " per hour"), "m/s": ("metre", " per second"),
    "mph": ("mile", " per hour"),
    "km": ("kilometre", ""), "cm": ("centimetre", ""), "mm": ("millimetre", ""), "m": ("metre", ""),
    "km²": ("square kilometre", ""), "m²": ("square metre", ""), "m³": ("cubic metre", ""),
    "kg": ("kilogram", ""), "g": ("gram", ""), "mg": ("milligram", ""), "t": ("tonne", ""),
    "l": ("litre", ""), "L": ("litre", ""), "ml": ("millilitre", ""), "lb": ("pound", ""),
    "ms": ("millisecond", ""), "s": ("second", ""), "min": ("minute", ""), "h": ("hour", ""),
    "kB": ("kilobyte", ""), "KB": ("kilobyte", ""), "MB": ("megabyte", ""), "GB": ("gigabyte", ""),
    "TB": ("terabyte", ""), "KiB": ("kibibyte", ""), "MiB": ("mebibyte", ""),
    "GiB": ("gibibyte", ""), "MB/s": ("megabyte", " per second"), "B": ("byte", ""),
    "kHz": ("kilohertz", None), "MHz": ("megahertz", None), "GHz": ("gigahertz", None),
    "Hz": ("hertz", None), "W": ("watt", ""), "kW": ("kilowatt", ""), "kWh": ("kilowatt hour", ""),
    "V": ("volt", ""), "mA": ("milliampere", ""), "A": ("ampere", ""), "N": ("newton", ""),
    "J": ("joule", ""), "Pa": ("pascal", ""), "hPa": ("hectopascal", ""), "bar": ("bar", ""),
    "°C": ("degree", " Celsius"), "°F": ("degree", " Fahrenheit"), "°": ("degree", ""),
    "px": ("pixel", ""), "mi": ("mile", ""), "ft": ("foot", None), "%": ("percent", None),
}  # fmt: skip
CODE = {
    "+=": "plus equals", "-=": "minus equals", "*=": "times equals", "/=": "divide equals",
    "**": "to the power of", "==": "equals equals", "!=": "is not", "<=": "at most",
    ">=": "at least", "->": "arrow", "=>": "arrow", "&&": "and", "||": "or", "//": "slash slash",
    "::": "colon colon", "...": "dot dot dot",
    "+": "plus", "-": "minus", "*": "star", "/": "slash", "=": "equals", "<": "less than",
    ">": "greater than", "%": "percent", "&": "and", "|": "pipe", "^": "caret", "~": "tilde",
    "!": "bang", "?": "question mark", "@": "at", "#": "hash", "$": "dollar", "_": "underscore",
    ".": "dot", ",": "comma", ":": "colon", ";": "semicolon", "\\": "backslash",
    "(": "open bracket", ")": "close bracket", "[": "open square bracket",
    "]": "close square bracket", "{": "open brace", "}": "close brace", '"': "quote", "'": "quote",
    "`": "backtick",
}  # fmt: skip
MATHS = {
    "**": "to the power of", "==": "equals", "!=": "is not", "<=": "is at most",
    ">=": "is at least", "->": "to", "=": "equals", "+": "plus", "-": "minus", "−": "minus",
    "–": "minus", "*": "times", "×": "times", "·": "times", "/": "divided by", "÷": "divided by",
    "^": "to the power of", "<": "is less than", ">": "is greater than", "≤": "is at most",
    "≥": "is at least", "≠": "is not", "≈": "is about", "→": "to", "&": "and", "~": "about",
    "±": "plus or minus", "√": "the root of", "π": "pi",
}  # fmt: skip
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"


def in_words(text: str) -> str:
    """Return text as it is read aloud."""
    for pattern, words in RULES:
        text = pattern.sub(words, text)
    return re.sub(r" {2,}", " ", text)


def code_in_words(code: str) -> str:
    """Return code as it is read aloud, its signs by their names."""
    signs = "|".join(re.escape(sign) for sign in sorted(CODE, key=len, reverse=True))
    parts = re.split(rf"(\d+\.\d+|{signs})", code)
    return " ".join(in_words(" ".join(CODE.get(part, part) for part in parts)).split())


def number_in_words(digits: str) -> str:
    """Return a number with or without commas and a point; zeros in front are read too."""
    plain = digits.replace(",", "")
    whole, _, fraction = plain.partition(".")
    if len(whole) > LONGEST_NUMBER or (len(whole) > 1 and whole[0] == "0"):
        words = _one_by_one(whole)
    else:
        words = str(num2words(int(whole))).replace(",", "")
    return f"{words} point {_one_by_one(fraction)}" if fraction else words


def _one_by_one(digits: str) -> str:
    return " ".join(str(num2words(int(digit))) for digit in digits)


def _address(match: re.Match[str]) -> str:
    """Read the host and the path of an address; a query is for machines."""
    plain = re.sub(r"[?#].*", "", match[0].split("://", 1)[-1].removeprefix("www.")).rstrip("/")
    end = "." if match[0].endswith(".") else ""
    return f"{code_in_words(plain.rstrip('.,;:!'))}{end}"


def _date(match: re.Match[str]) -> str:
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return match[0]
    ordinal = num2words(day.day, to="ordinal")
    return f"the {ordinal} of {MONTHS[day.month - 1]} {num2words(day.year, to='year')}"


def _time(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    if hour > 23 or minute > 59:
        return match[0]
    words = number_in_words(str(hour))
    if minute:
        words += f"{' oh' if minute < 10 else ''} {number_in_words(str(minute))}"
    elif not match[4]:
        words += " o'clock" if 0 < hour < 13 else " hundred"
    if match[3]:
        words += f" and {number_in_words(str(int(match[3])))} seconds"
    return f"{words} {match[4][0].upper()} M" if match[4] else words


def _money(match: re.Match[str]) -> str:
    one, several, small_one, small_several = MONEY[match["sign"] or match["after"]]
    amount = Decimal((match["amount"] or match["before"]).replace(",", ""))
    if match["size"]:
        return f"{number_in_words(str(amount))} {match['size'].strip()} {several}"
    if amount != round(amount, 2):
        return f"{number_in_words(str(amount))} {several}"
    whole, cents = divmod(int(amount * 100), 100)
    words = f"{number_in_words(str(whole))} {one if whole == 1 else several}"
    if not cents:
        return words
    small = f"{number_in_words(str(cents))} {small_one if cents == 1 else small_several}"
    return f"{words} and {small}" if whole else small


def _unit(match: re.Match[str]) -> str:
    one, after = UNITS[match["unit"]]
    number = number_in_words(match["number"])
    if after is None:
        return f"{number} {'feet' if one == 'foot' and number != 'one' else one}"
    return f"{number} {one}{'' if number == 'one' else 's'}{after}"


def _sign(match: re.Match[str]) -> str:
    return f" {MATHS[match[0].strip()]} "


def _rule(pattern: str, words: Callable[[re.Match[str]], str]) -> Rule:
    return re.compile(pattern), words


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_SIGNS = _any_of(MONEY)
_AMOUNT = rf"(?P<sign>[{_SIGNS}]) ?(?P<amount>{_NUMBER})"
_BEFORE = rf"(?P<before>{_NUMBER}) ?(?P<after>[{_SIGNS}])"
_SPACED = r"==|!=|<=|>=|->|\*\*|[-=+*/<>−–&~]"

RULES: tuple[Rule, ...] = (
    _rule(r"\b(?:https?://|www\.)[^\s<>\"')\]]+", _address),
    _rule(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b", lambda match: code_in_words(match[0])),
    _rule(r"(?<![\w/])(?:~|\.{1,2})?(?:/[\w.+-]*\w)+/?", lambda match: code_in_words(match[0])),
    _rule(
        r"\b[A-Za-z_][\w-]*(?:/[\w.-]+)*\.[a-z][a-z0-9]{1,4}\b",
        lambda match: code_in_words(match[0]),
    ),
    _rule(r"\b(\d{4})-(\d\d)-(\d\d)\b", _date),
    _rule(r"\b(\d{1,2}):(\d\d)(?::(\d\d))?\b(?: ?([ap]\.?m)\b\.?)?", _time),
    _rule(r"(?<![\w)])[-−](?=\d)", lambda _: "minus "),
    _rule(rf"(?:{_AMOUNT}|{_BEFORE})(?P<size> (?:thousand|million|billion|trillion))?", _money),
    _rule(rf"(?<![\w.])(?P<number>{_NUMBER}) ?(?P<unit>{_any_of(UNITS)})(?![\w/])", _unit),
    _rule(r"\b(\d+)(?:st|nd|rd|th)\b", lambda match: str(num2words(int(match[1]), to="ordinal"))),
    _rule(
        rf"(?<=\b[ib]n |\bby )(1[1-9]\d\d|20\d\d)\b(?!{_NUMBER}| ?[%\w])",
        lambda match: str(num2words(int(match[1]), to="year")),
    ),
    _rule(
        r"\b(?:\d+\.){2,}\d+\b",
        lambda match: " point ".join(map(number_in_words, match[0].split("."))),
    ),
    _rule(rf"(?<=\s)(?:{_SPACED})(?=\s)|(?<=\d)(?:\*\*|[+*/^=])(?=[\d(])|[×·÷≤≥≠≈→±√π]", _sign),
    _rule(r"(?<=\d)[-–](?=\d)", lambda _: " to "),
    _rule(rf"(?<![\d.]){_NUMBER}", lambda match: f" {number_in_words(match[0])} "),
    _rule(r"(?<=\w) (?=[.,;:!?)])", lambda _: ""),
    _rule(r"#(?=\s?\w)", lambda _: "number "),
    _rule(r"[_*`|~^<>{}\[\]\\]", lambda _: " "),
)
