"""Units: a quantity converted to another unit, exactly, by pint.

Knows what units are worth; the arithmetic between quantities is that of `evaluation`, in which a
unit is a symbol. Not covered: currencies, whose worth changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, cast

import sympy as _sympy

from llmos.sdk import RetryCall, ToolFailed

sympy = cast(Any, _sympy)

LONGEST_UNIT = 60
# The last `in`, `to`, `into` or `as` that something like a unit follows.
CONVERSION = re.compile(
    r"^(?P<left>.*\S)\s+(?:in|to|into|as)\s+(?P<target>[A-Za-z°µ][\w°µ²³\s/*^.-]*)$", re.DOTALL
)
CALLED = re.compile(r"^convert(?:_to)?\((?P<left>.+?)(?:,\s*(?P<unit>[^,]+))?,(?P<target>[^,]+)\)$")
HOW_MANY = re.compile(
    r"^how many (?P<target>.+?) (?:are )?(?:there )?in (?P<left>.+)$", re.IGNORECASE
)
NEVER_CONVERTED = ("plot", "draw", "graph", "solve", "limit")
LEADING = re.compile(r"^\s*(?:convert|express)\s+(?!\()", re.IGNORECASE)
NAME = re.compile(r"[A-Za-zµ_]+")
TEMPERATURES = {"c": "degC", "f": "degF", "k": "kelvin"}
TEMPERATURE = re.compile(
    r"(?:\b(?:degrees?|deg)\s*|°\s*)(?P<letter>[cfk])(?:elsius|ahrenheit|elvin)?\b"
    r"|\b(?P<word>[cfk])(?:elsius|ahrenheit|elvin)\b",
    re.IGNORECASE,
)
BARE_TEMPERATURE = re.compile(r"(?<=[0-9])\s*([CFKcfk])$")
RAISED = re.compile(r"\b(square|cubic|sq)\s+([A-Za-z]+)", re.IGNORECASE)
TWO_WORDS = re.compile(r"\b(light|nautical|metric|troy|astronomical)\s+([a-z]+)", re.IGNORECASE)
FLUID_OUNCE = re.compile(r"\b(?:fl\.?|fluid)\s*(?:oz|ounces?)\b", re.IGNORECASE)
# A unit right after its number binds more tightly than what stands between two quantities.
QUANTITY = re.compile(
    r"(?<![\w.])(?P<number>[0-9]+\s*/\s*[0-9]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*"
    r"(?P<unit>(?!(?:in|to|into|as|e|E|mod)\s+[A-Za-z])[A-Za-zµ_]+)(?!\w|\()"
    r"(?P<power>\s*(?:\^|\*\*)\s*-?[0-9]+|[²³])?"
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is to be converted, and the unit to be reached in the words that were used for it.

    `first_unit` of what is converted is what it is counted in should it come out as zero.
    """

    left: str
    first_unit: str
    target: str
    shown: str


def conversion_of(text: str) -> Conversion | None:
    """Return the conversion that a text asks for, None where it asks for none."""
    text = LEADING.sub("", text.rstrip("?= "))
    if text.startswith(NEVER_CONVERTED):
        return None
    match = CALLED.match(text) or HOW_MANY.match(text) or CONVERSION.match(text)
    if match is None or len(match["target"]) > LONGEST_UNIT:
        return None
    left, shown = match["left"], match["target"].strip()
    if match.groupdict().get("unit"):
        left = f"{left} {match['unit']}"
    target = _plain_units(shown)
    left = _plain_units(re.sub(r"^an?\s+", "1 ", left))
    temperature = BARE_TEMPERATURE.search(left)
    if temperature and target.lower() in {*TEMPERATURES, "degc", "degf", "kelvin"}:
        left = left[: temperature.start()] + TEMPERATURES[temperature[1].lower()]
        target = TEMPERATURES.get(target.lower(), target)
    elif target.lower() in TEMPERATURES and re.search(r"deg[CF]|kelvin", left):
        target = TEMPERATURES[target.lower()]
    names = NAME.findall(target)
    if not names or not all(map(unit_named, names)):
        return None
    return Conversion(_bound(left), _first_unit(left), _bound(target), shown)


def _first_unit(text: str) -> str:
    match = QUANTITY.search(text)
    return "1" if match is None else _bound(f"1 {match['unit']}{match['power'] or ''}")


def _plain_units(text: str) -> str:
    text = TWO_WORDS.sub(r"\1_\2", FLUID_OUNCE.sub("floz", text))
    text = TEMPERATURE.sub(lambda m: " " + TEMPERATURES[(m["letter"] or m["word"]).lower()], text)

    def raised(match: re.Match[str]) -> str:
        return f"{match[2]}**{3 if match[1].lower() == 'cubic' else 2}"

    return re.sub(r"\s+per\s+", "/", RAISED.sub(raised, text))


def _bound(text: str) -> str:
    """Put brackets around each quantity; `in`, which is no name, becomes `inch`."""

    def quantity(match: re.Match[str]) -> str:
        power = (match["power"] or "").replace("²", "**2").replace("³", "**3")
        return f"({match['number']}*{match['unit']}{power})"

    text = QUANTITY.sub(quantity, text)
    text = re.sub(r"(?<=\*)in(?=\b)", "inch", text)
    text = re.sub(r"^\s*in\b", "inch", text)
    return re.sub(r"\)\s*(?=\()", ") + ", text)  # `5 ft 3 in`


@cache
def _registry() -> Any:
    """Return pint's registry in fractions; it takes some tenths of a second to make."""
    import pint

    return cast(Any, pint).UnitRegistry(non_int_type=Fraction, cache_folder=None)


@cache
def unit_named(name: str) -> Any:
    """Return the unit of a name in the singular or plural, None where it is none."""
    import pint

    for spelling in (name, name.lower()):
        try:
            return _registry().Unit(spelling)
        except (pint.UndefinedUnitError, ValueError, AttributeError):
            continue
    return None


def quantity_of(text: str) -> Conversion | None:
    """Return a sum of quantities as a conversion to the first of their units, if it has any."""
    text = _plain_units(text)
    match = QUANTITY.search(text)
    names = NAME.findall(text)
    if match is None or max(map(len, names)) == 1 or not all(map(unit_named, names)):
        return None
    unit = _first_unit(text)
    return Conversion(_bound(text), unit, unit, match["unit"] + (match["power"] or ""))


def symbol_of_unit(name: str) -> Any:
    """Return the symbol that stands for a unit in an expression.

    Raises:
        RetryCall: there is no such unit.
    """
    if name == "pi":
        return sympy.pi
    if unit_named(name) is None:
        raise RetryCall(f"unknown unit {name[:80]!r}")
    return sympy.Symbol(name)


def converted(value: Any, target: Any, shown: str) -> Any:
    """Return how many of the target unit a value is: both are expressions in unit symbols.

    Raises:
        ToolFailed: they measure different things.
    """
    terms = sympy.Add.make_args(sympy.expand(value))
    goal = _unit_of(target)
    parts = [_number_and_unit(term) for term in terms]
    if len(parts) > 1 and any(_is_offset(unit) for unit in (goal, *(unit for _, unit in parts))):
        raise ToolFailed("temperatures of two scales cannot be added: convert one at a time")
    return sympy.Add(*(in_unit(number, unit, goal, shown) for number, unit in parts))


def zero_converted(first_unit: Any, target: Any, shown: str) -> Any:
    """Return how many of the target unit none of another is: of temperatures it may be some."""
    return in_unit(sympy.S.Zero, _unit_of(first_unit), _unit_of(target), shown)


def in_unit(number: Any, unit: Any, goal: Any, shown: str) -> Any:
    """Return a number of one unit as a number of another, exactly where it is a fraction.

    Raises:
        ToolFailed: they measure different things.
    """
    import pint

    try:
        if _is_offset(unit) or _is_offset(goal):
            exact = Fraction(int(number.p), int(number.q)) if number.is_Rational else float(number)
            return _as_number(_registry().Quantity(exact, unit).to(goal).magnitude)
        factor = _registry().Quantity(Fraction(1), unit).to(goal).magnitude
    except pint.DimensionalityError as error:
        kind = "a plain number" if unit == _registry().dimensionless else unit
        raise ToolFailed(
            f"{kind} cannot be converted to {shown}: they measure different things"
        ) from error
    except pint.OffsetUnitCalculusError as error:
        raise ToolFailed("temperatures cannot be multiplied: convert one at a time") from error
    return number * _as_number(factor)


def _number_and_unit(term: Any) -> tuple[Any, Any]:
    if not term.free_symbols:
        return term, _registry().dimensionless
    number, rest = term.as_independent(*term.free_symbols)
    return number, _unit_of(rest)


def _is_offset(unit: Any) -> bool:
    return unit in (_registry().degC, _registry().degF)


def _unit_of(value: Any) -> Any:
    unit = _registry().dimensionless
    for base, power in sympy.sympify(value).as_powers_dict().items():
        if base == 1:
            continue
        if not (base.is_Symbol and power.is_Integer):
            raise RetryCall(f"{value} is no unit: write products and powers of units")
        named = unit_named(base.name)
        if _is_offset(named) and power != 1:
            raise ToolFailed("temperatures cannot be multiplied: convert one at a time")
        unit = unit * named ** int(power)
    return unit


def _as_number(value: Any) -> Any:
    if isinstance(value, Fraction):
        return sympy.Rational(value.numerator, value.denominator)
    return sympy.Float(value)
