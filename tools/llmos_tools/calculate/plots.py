"""Plots: functions of one variable drawn as a picture.

Knows sympy expressions only; a point where a function has no real value is left out.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, cast

import sympy as _sympy

from llmos.sdk import RetryCall, ToolFailed

sympy = cast(Any, _sympy)

NUM_POINTS = 600
USUAL_RANGE = (-10, 10)
MOST_CURVES = 8
LONGEST_TITLE = 60
# Of a curve that runs off, such as tan(x), this share of its points is shown.
SHOWN_SHARE = 0.94
FAR = 8.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture in PNG, and what it shows."""

    png: bytes
    text: str


def plot(*items: Any) -> Plot:
    """Draw `plot(sin(x), cos(x), (x, 0, 10))`; without a range, from -10 to 10.

    Raises:
        RetryCall: it is not a function of one variable over a range of numbers.
        ToolFailed: it has no real values there, or matplotlib is missing.
    """
    curves = [curve for item in items if not isinstance(item, tuple) for curve in _curves(item)]
    ranges = [cast(tuple[Any, ...], item) for item in items if isinstance(item, tuple)]
    if not 1 <= len(curves) <= MOST_CURVES or len(ranges) > 1:
        raise RetryCall("write plot(function, (x, from, to)), with up to 8 functions")
    symbol, low, high = _range(curves, ranges)
    points = [low + (high - low) * step / (NUM_POINTS - 1) for step in range(NUM_POINTS)]
    drawn = [(sympy.sstr(curve), _values(curve, symbol, points)) for curve in curves]
    if not any(isfinite(value) for _, values in drawn for value in values):
        raise ToolFailed(f"nothing to plot: no real values for {symbol} from {low:g} to {high:g}")
    names = ", ".join(name for name, _ in drawn)
    shown = names if len(names) <= LONGEST_TITLE else f"{len(drawn)} functions"
    text = f"plot of {shown} for {symbol} from {low:g} to {high:g}"
    return Plot(_picture(str(symbol), points, drawn), text)


def _curves(item: Any) -> Sequence[Any]:
    curves = cast(list[Any], item) if isinstance(item, list) else [item]
    if not all(isinstance(curve, sympy.Expr) for curve in curves):
        raise RetryCall("only functions can be plotted: write plot(function, (x, from, to))")
    return curves


def _range(curves: Sequence[Any], ranges: Sequence[tuple[Any, ...]]) -> tuple[Any, float, float]:
    symbols = set[Any]().union(*(curve.free_symbols for curve in curves))
    usual = min(symbols, key=str, default=sympy.Symbol("x"))
    match [*ranges]:
        case [(symbol, low, high)] if symbol.is_Symbol:
            start, end = low, high
        case [(low, high)]:
            symbol, start, end = usual, low, high
        case []:
            symbol, start, end = usual, *map(sympy.Integer, USUAL_RANGE)
        case _:
            raise RetryCall("write the range as (x, from, to)")
    if symbols - {symbol}:
        others = ", ".join(sorted(map(str, symbols - {symbol})))
        raise RetryCall(f"a plot has one variable, {symbol}: give numbers for {others}")
    if not (start.is_extended_real and end.is_extended_real and start.is_finite and end.is_finite):
        raise RetryCall("the range must be two numbers")
    low, high = sorted((float(start), float(end)))
    if not (isfinite(low) and isfinite(high) and low < high):
        raise RetryCall("the range must be two different numbers")
    return symbol, low, high


def _values(curve: Any, symbol: Any, points: Sequence[float]) -> list[float]:
    function = cast(Callable[[float], Any], sympy.lambdify(symbol, curve, "mpmath"))
    return [_real(function, point) for point in points]


def _real(function: Callable[[float], Any], point: float) -> float:
    try:
        value = complex(function(point))
    except (ArithmeticError, ValueError, TypeError):
        return nan
    is_real = abs(value.imag) <= 1e-9 * max(1.0, abs(value.real))
    return value.real if is_real and isfinite(value.real) else nan


def _picture(
    variable: str, points: Sequence[float], drawn: Sequence[tuple[str, Sequence[float]]]
) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolFailed("plots need matplotlib: run `pip install 'llmos[calculate]'`") from error
    figure: Any = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    for name, values in drawn:
        axes.plot(points, values, label=name[:LONGEST_TITLE].replace("$", r"\$"))
    axes.grid(visible=True, alpha=0.4)
    axes.set_xlabel(variable)
    axes.legend()
    heights = sorted(value for _, values in drawn for value in values if isfinite(value))
    _leave_out_peaks(axes, heights)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def _leave_out_peaks(axes: Any, heights: Sequence[float]) -> None:
    """Show the bulk of the values where a few are far beyond them."""
    margin = int(len(heights) * (1 - SHOWN_SHARE) / 2)
    low, high = heights[margin], heights[-1 - margin]
    spread = high - low
    if spread > 0 and heights[-1] - heights[0] > FAR * spread:
        axes.set_ylim(low - spread / 10, high + spread / 10)
