"""The functions that an expression may call, by name. What is not here cannot be called.

Every argument is a sympy value, or a list, tuple or dict of them; never a string, so nothing
reaches sympy's own parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from math import isqrt
from typing import Any, cast

import sympy as _sympy

from llmos.sdk import ToolFailed
from llmos_tools.calculate import sizes
from llmos_tools.calculate.errors import DIVISION_BY_ZERO, too_large
from llmos_tools.calculate.limits import MOST_DECIMALS
from llmos_tools.calculate.plots import plot

sympy = cast(Any, _sympy)

Function = Callable[..., Any]

PLAIN = """
    sqrt root exp log ln sin cos tan sec csc cot asin acos atan acot atan2 sinh cosh tanh
    asinh acosh atanh Abs floor ceiling Eq Ne factor simplify apart together cancel trigsimp radsimp
    collect isprime nextprime prevprime factorint divisors primepi totient sign re im arg conjugate
    solve nsolve diff integrate limit series gamma erf zeta LambertW summation
    product roots quo rem
"""
FINEST_ROUNDING = 1000
WIDEST_RANGE = 100_000
ZERO, ONE, USUAL_DIGITS = (sympy.Integer(number) for number in (0, 1, 15))


def flat(values: Iterable[Any]) -> list[Any]:
    """Return the numbers among arguments of which some are lists: `max([1, 2], 3)`."""
    numbers: list[Any] = []
    for value in values:
        numbers += flat(cast(Iterable[Any], value)) if isinstance(value, list | tuple) else [value]
    return numbers


def _some(values: Iterable[Any], name: str) -> list[Any]:
    numbers = flat(values)
    if not numbers:
        raise ToolFailed(f"{name} of no numbers")
    return numbers


def largest(*values: Any) -> Any:
    return sympy.Max(*_some(values, "max"))


def smallest(*values: Any) -> Any:
    return sympy.Min(*_some(values, "min"))


def add(*values: Any) -> Any:
    return sympy.Add(*flat(values))


def multiply(*values: Any) -> Any:
    return sympy.Mul(*flat(values))


def mean(*values: Any) -> Any:
    numbers = _some(values, "mean")
    return sympy.Add(*numbers) / len(numbers)


def median(*values: Any) -> Any:
    numbers = sorted(_some(values, "median"), key=sympy.N)
    middle = len(numbers) // 2
    if len(numbers) % 2:
        return numbers[middle]
    return (numbers[middle - 1] + numbers[middle]) / 2


def gcd(*values: Any) -> Any:
    return reduce(sympy.gcd, _some(values, "gcd"))


def lcm(*values: Any) -> Any:
    return reduce(sympy.lcm, _some(values, "lcm"))


def remainder(left: Any, right: Any) -> Any:
    if right.is_zero:
        raise ToolFailed(DIVISION_BY_ZERO)
    return sympy.Mod(left, right)


def power(base: Any, exponent: Any, modulus: Any = None) -> Any:
    if modulus is None:
        return sizes.power(base, exponent)
    return sympy.Integer(pow(int(base), int(exponent), int(modulus)))


def cbrt(value: Any) -> Any:
    return sympy.real_root(value, 3) if value.is_Rational else sympy.cbrt(value)


def log10(value: Any) -> Any:
    return sympy.log(value, 10)


def log2(value: Any) -> Any:
    return sympy.log(value, 2)


def rational(numerator: Any, denominator: Any = ONE) -> Any:
    return sizes.divide(numerator, denominator)


def round_half_up(value: Any, digits: Any = ZERO) -> Any:
    """Round as at school: a half goes away from zero.

    Raises:
        ToolFailed: it is not a real number.
    """
    if not (value.is_number and value.is_real):
        raise ToolFailed(f"only a number can be rounded, not {value}")
    decimals = sizes.digits_asked(digits, FINEST_ROUNDING)
    scale = sympy.Integer(10) ** decimals
    steps = sympy.floor(abs(value) * scale + sympy.Rational(1, 2))
    size = -steps / scale if value.is_negative else steps / scale
    # As a fraction, so many decimals would not be shown.
    return sympy.Float(size, len(str(steps))) if decimals > MOST_DECIMALS else size


def numeric(value: Any, digits: Any = USUAL_DIGITS, **options: Any) -> Any:
    """Return a value, or each value of a list, as a float of so many digits."""
    if isinstance(value, list):
        return [numeric(item, digits) for item in cast(list[Any], value)]
    return sympy.N(value, max(sizes.digits_asked(options.get("n", digits)), 1))


def sum_of(term: Any, *ranges: Any) -> Any:
    """Return a sum over ranges `Sum(k, (k, 1, 10))`, or of plain numbers."""
    if ranges and all(isinstance(item, tuple) for item in ranges):
        return sympy.Sum(term, *ranges).doit()
    return add(term, *ranges)


def product_of(term: Any, *ranges: Any) -> Any:
    if ranges and all(isinstance(item, tuple) for item in ranges):
        return sympy.Product(term, *ranges).doit()
    return multiply(term, *ranges)


def substitute(value: Any, *what: Any) -> Any:
    return value.subs(*what)


def determinant(matrix: Any) -> Any:
    return matrix.det()


def inverse(matrix: Any) -> Any:
    if matrix.det() == 0:
        raise ToolFailed("the matrix has no inverse: its determinant is 0")
    return matrix.inv()


def variance(*values: Any) -> Any:
    """Return the variance of a sample, over one less than there are numbers."""
    numbers = _some(values, "variance")
    if len(numbers) < 2:
        raise ToolFailed("the variance of one number is not defined")
    middle = mean(numbers)
    return sympy.Add(*((number - middle) ** 2 for number in numbers)) / (len(numbers) - 1)


def deviation(*values: Any) -> Any:
    return sympy.sqrt(variance(*values))


def percent(value: Any) -> Any:
    return value / 100


def permutations(total: Any, chosen: Any) -> Any:
    return sizes.binomial(total, chosen) * sizes.factorial(chosen)


def inverse_modulo(number: Any, modulus: Any) -> Any:
    return sympy.Integer(pow(int(number), -1, int(modulus)))


def primes_between(low: Any, high: Any) -> Any:
    """Return the primes from low up to, not including, high."""
    low, high = int(low), int(high)
    if high - low > WIDEST_RANGE:
        raise too_large(f"the primes between {low} and {high}")
    return list(sympy.primerange(low, high))


def integral(term: Any, low: Any, high: Any) -> Any:
    """Return an integral over the one variable of a term."""
    (symbol,) = term.free_symbols or {sympy.Symbol("x")}
    return sympy.integrate(term, (symbol, low, high))


def hypotenuse(*sides: Any) -> Any:
    return sympy.sqrt(sympy.Add(*(side**2 for side in sides)))


def whole_root(value: Any) -> Any:
    return sympy.Integer(isqrt(int(value)))


def radians(value: Any) -> Any:
    return value * sympy.pi / 180


def degrees(value: Any) -> Any:
    return value * 180 / sympy.pi


def solutions_of_linear(equations: Any, *symbols: Any) -> Any:
    """Return the solutions as `solve` does; sympy's own function gives them as a set."""
    return sympy.solve(equations, *symbols)


def matrix_method(name: str) -> Function:
    """Return a function that calls a method of a matrix that takes no argument."""

    def call(matrix: Any) -> Any:
        if not isinstance(matrix, sympy.MatrixBase):
            raise ToolFailed(f"{name} needs a matrix: write Matrix([[1, 2], [3, 4]])")
        return getattr(matrix, name)()

    return call


def dot(left: Any, right: Any) -> Any:
    return left.dot(right)


def cross(left: Any, right: Any) -> Any:
    return left.cross(right)


MATRIX_METHODS = ("transpose", "rank", "trace", "eigenvals", "rref", "nullspace", "norm")

FUNCTIONS: Mapping[str, Function] = {
    **{name: getattr(sympy, name) for name in PLAIN.split()},
    "Add": add, "Matrix": sympy.ImmutableMatrix, "Max": largest, "Min": smallest,
    "Mod": remainder, "Mul": multiply, "N": numeric, "Pow": power, "Product": product_of,
    "Rational": rational,
    "Sum": sum_of, "abs": sympy.Abs, "binomial": sizes.binomial, "cbrt": cbrt,
    "ceil": sympy.ceiling, "det": determinant, "evalf": numeric, "expand": sizes.expand,
    "factorial": sizes.factorial, "factorial2": sizes.factorial2, "fibonacci": sizes.fibonacci,
    "gcd": gcd, "inv": inverse, "lcm": lcm, "log10": log10, "log2": log2,
    "max": largest, "mean": mean, "median": median, "min": smallest, "pow": power,
    "comb": sizes.binomial, "degrees": degrees, "dot": dot,
    "cross": cross, "hypot": hypotenuse, "integral": integral, "isqrt": whole_root,
    "linsolve": solutions_of_linear, "mod_inverse": inverse_modulo,
    "nonlinsolve": solutions_of_linear,
    "percent": percent, "perm": permutations, "plot": plot, "primerange": primes_between,
    "radians": radians, "std": deviation, "stdev": deviation, "variance": variance,
    **{name: matrix_method(name) for name in MATRIX_METHODS},
    "prime": sizes.prime, "round": round_half_up, "subs": substitute, "sum": sum_of,
}  # fmt: skip

METHODS: Mapping[str, Function] = {
    **{name: FUNCTIONS[name] for name in ("subs", "evalf", "det", "inv", "diff", "integrate")},
    **{name: FUNCTIONS[name] for name in ("limit", "series", "simplify", "factor", "expand")},
    "n": numeric,
    **{name: FUNCTIONS[name] for name in (*MATRIX_METHODS, "dot", "cross")},
}

GREEK = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu nu xi omicron rho sigma tau
    upsilon phi chi psi omega
"""
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

NAMES: Mapping[str, Any] = {
    **{name: sympy.Symbol(name) for name in (*LETTERS, *GREEK.split())},
    "pi": sympy.pi, "E": sympy.E, "e": sympy.E, "I": sympy.I, "oo": sympy.oo,
    "GoldenRatio": sympy.GoldenRatio, "EulerGamma": sympy.EulerGamma,
}  # fmt: skip
