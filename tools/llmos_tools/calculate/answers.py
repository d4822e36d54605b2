"""Answers: how a value reads. Exact first, with an approximation where that helps.

Knows values only, not the expression they came from.
"""

from __future__ import annotations

from typing import Any, cast

import sympy as _sympy

from llmos.sdk import ToolFailed
from llmos_tools.calculate.errors import DIVISION_BY_ZERO
from llmos_tools.calculate.limits import LONGEST_ANSWER, MOST_DECIMALS

sympy = cast(Any, _sympy)

LONGEST_FRACTION = 25
LONGEST_EXACT = 100
FEWEST_DIGITS = 6
LARGEST_PLAIN = 10**13
HEAD = 1000


def answer_text(value: Any, *, has_decimals: bool) -> str:
    """Return what the model reads.

    Raises:
        ToolFailed: the value is undefined.
    """
    text = _text(value, has_decimals=has_decimals)
    if len(text) <= LONGEST_ANSWER:
        return text
    if text.lstrip("-").isdigit():
        return f"{text[:HEAD]}... ({len(text.lstrip('-'))} digits)"
    return f"{text[:HEAD]}... ({len(text)} characters)"


def quantity_text(value: Any, unit: str) -> str:
    """Return a number of units, exact where a short decimal is."""
    if not value.is_number:
        raise ToolFailed(f"{value} is not a number of {unit}")
    decimal = _decimal(value) if value.is_Rational else None
    return f"{decimal} {unit}" if decimal is not None else f"{_about(value).strip()} {unit}"


def _text(value: Any, *, has_decimals: bool) -> str:
    match value:
        case [item]:
            text = _item(item, has_decimals=has_decimals)
            return f"[{text}]{_about(item)}" if _is_irrational(item) else f"[{text}]"
        case list() | tuple() | dict():
            return _item(value, has_decimals=has_decimals)
        case _:
            return _single(value)


def _single(value: Any) -> str:
    if value is sympy.nan or value is sympy.zoo:
        why = f"{DIVISION_BY_ZERO}, or infinite" if value is sympy.zoo else "0/0 or the like"
        raise ToolFailed(f"undefined: {why}")
    if value.is_Rational:
        return _rational(value)
    if value.is_number and value.has(sympy.I) and not _is_irrational(value):
        return _plain(sympy.expand_complex(value))
    if _is_irrational(value):
        text = _plain(value)
        return f"{text}{_about(value)}" if len(text) <= LONGEST_EXACT else _about(value).strip()
    return _plain(value)


def _item(value: Any, *, has_decimals: bool) -> str:
    """Return a value inside a list: without approximation, decimal where the question was."""
    match value:
        case list() | tuple():
            parts = [_item(v, has_decimals=has_decimals) for v in cast(list[Any], value)]
            comma = "," if isinstance(value, tuple) and len(parts) == 1 else ""
            return (
                f"[{', '.join(parts)}]"
                if isinstance(value, list)
                else f"({', '.join(parts)}{comma})"
            )
        case dict():
            pairs = cast(dict[Any, Any], value).items()
            parts = [f"{_plain(k)}: {_item(v, has_decimals=has_decimals)}" for k, v in pairs]
            return f"{{{', '.join(parts)}}}"
        case _ if value.has(sympy.CRootOf):
            return _plain(sympy.N(value, FEWEST_DIGITS))
        case _ if has_decimals and value.is_Rational:
            return _decimal(value) or _plain(value)
        case _:
            return _plain(value)


def _rational(value: Any) -> str:
    decimal = _decimal(value)
    if decimal is not None:
        return decimal
    exact = str(value)
    if len(exact) <= LONGEST_FRACTION:
        return f"{exact}{_about(value)}"
    return f"≈ {_plain(sympy.N(value, MOST_DECIMALS))}"


def _decimal(value: Any) -> str | None:
    """Return a rational number as a decimal, or None if that takes more than 12 decimals."""
    scaled = value * 10**MOST_DECIMALS
    if not scaled.is_Integer:
        return None
    sign = "-" if scaled < 0 else ""
    digits = str(abs(scaled)).rjust(MOST_DECIMALS + 1, "0")
    whole, decimals = digits[:-MOST_DECIMALS], digits[-MOST_DECIMALS:].rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def _is_irrational(value: Any) -> bool:
    """Tell numbers that an approximation helps to read, not `2 + 3*I` and not floats."""
    if not getattr(value, "is_number", False) or value.is_Rational or value.has(sympy.Float):
        return False
    if value.is_infinite or not isinstance(value, sympy.Expr):
        return False
    return not all(part.is_Rational for part in value.as_real_imag())


def _about(value: Any) -> str:
    """Return ` ≈ 1.41421`, or nothing where no number comes out."""
    rough = sympy.N(value, FEWEST_DIGITS)
    if not all(part.is_number and part.is_Number for part in rough.as_real_imag()):
        return ""
    digits = FEWEST_DIGITS
    if rough.is_Float and abs(rough) < LARGEST_PLAIN:
        digits = max(FEWEST_DIGITS, len(str(int(abs(rough)))) + 2)
    return f" ≈ {_plain(sympy.N(value, digits, chop=not rough.is_Float))}"


def _plain(value: Any) -> str:
    """Return sympy's text on one line, floats without trailing zeros."""
    if isinstance(value, sympy.MatrixBase):
        return f"Matrix({_item(value.tolist(), has_decimals=False)})"
    text = sympy.sstr(value, full_prec=False)
    if value.is_Float and "." in text:
        mantissa, e, exponent = text.partition("e")
        return mantissa.rstrip("0").rstrip(".") + e + exponent
    return text
