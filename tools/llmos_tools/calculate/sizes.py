"""Operations that are checked before they are done, since their results can be huge.

Knows estimates only; what slips through is ended by the worker's time and memory limits.
"""

from __future__ import annotations

from math import comb, log2
from typing import Any, cast

import sympy as _sympy

from llmos.sdk import ToolFailed
from llmos_tools.calculate.errors import DIVISION_BY_ZERO, too_large
from llmos_tools.calculate.limits import MOST_BITS, MOST_DIGITS, MOST_TERMS

sympy = cast(Any, _sympy)

LARGEST_FACTORIAL = 25_000
LARGEST_FIBONACCI = 480_000
LARGEST_PRIME_INDEX = 10**7
LARGEST_FLOAT_EXPONENT = 10**15
FLOAT_DIGITS = 40


def power(base: Any, exponent: Any) -> Any:
    """Return base**exponent, as a float where the exact fraction would be too long.

    Raises:
        ToolFailed: the result has too many digits, or is a division by zero.
    """
    if base.is_zero and exponent.is_negative:
        raise ToolFailed(DIVISION_BY_ZERO)
    if not exponent.is_Rational or base in (0, 1, -1):
        return base**exponent
    if not base.is_number and not (exponent.is_Integer and base.is_Mul):
        return base**exponent
    numbers = base.atoms(sympy.Rational)
    bits = max((log2(max(abs(n.p), n.q, 2)) for n in numbers), default=0.0)
    size = bits * abs(exponent)
    if size <= MOST_BITS:
        return base**exponent
    if base.is_Rational and not base.is_Integer and abs(exponent) < LARGEST_FLOAT_EXPONENT:
        return sympy.N(sympy.Float(base, FLOAT_DIGITS) ** exponent)
    raise too_large(f"{_short(base)} to the power of {_short(exponent)}")


def divide(left: Any, right: Any) -> Any:
    """Return left/right.

    Raises:
        ToolFailed: it is a division by zero.
    """
    if right.is_zero:
        raise ToolFailed(DIVISION_BY_ZERO)
    return left / right


def factorial(number: Any) -> Any:
    _refuse_above("factorial", number, LARGEST_FACTORIAL)
    return sympy.factorial(number)


def factorial2(number: Any) -> Any:
    _refuse_above("factorial2", number, 2 * LARGEST_FACTORIAL)
    return sympy.factorial2(number)


def fibonacci(number: Any) -> Any:
    _refuse_above("fibonacci", number, LARGEST_FIBONACCI)
    return sympy.fibonacci(number)


def prime(index: Any) -> Any:
    _refuse_above("prime", index, LARGEST_PRIME_INDEX)
    return sympy.prime(index)


def binomial(total: Any, chosen: Any) -> Any:
    if not (total.is_Integer and chosen.is_Integer and 0 <= chosen <= total):
        return sympy.binomial(total, chosen)
    fewer = int(min(chosen, total - chosen))
    if fewer and fewer * (log2(int(total)) - log2(fewer) + 1.45) > MOST_BITS:
        raise too_large(f"binomial({_short(total)}, {_short(chosen)})")
    return sympy.Integer(comb(int(total), fewer))


def expand(value: Any) -> Any:
    for item in value.atoms(sympy.Pow):
        base, exponent = item.base, item.exp
        if base.is_Add and exponent.is_Integer and exponent > 1:
            terms = len(base.args)
            if exponent > MOST_TERMS or comb(int(exponent) + terms - 1, terms - 1) > MOST_TERMS:
                raise too_large(f"the expansion of {_short(item)} has more than {MOST_TERMS} terms")
    return sympy.expand(value)


def digits_asked(number: Any, most: int = MOST_DIGITS) -> int:
    """Return a precision as an int.

    Raises:
        ToolFailed: it is not a whole number of digits within bounds.
    """
    if not number.is_Integer or abs(number) > most:
        raise too_large(f"{_short(number)} digits")
    return int(number)


def _refuse_above(name: str, number: Any, largest: int) -> None:
    if number.is_number and number.is_extended_real and number > largest:
        raise too_large(f"{name}({_short(number)})")


def _short(value: Any) -> str:
    if value.is_Integer and abs(value) >= 10**20:
        return f"a number of {value.p.bit_length() * 30103 // 100000} digits or more"
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
