"""Evaluation: the value of an expression, by a walk over its syntax tree.

Covered: only the kinds of node, names, functions and methods listed here and in `functions` are
evaluated, and every value is built from integers, so no text is ever executed or sympified.
Not covered: time and memory, which the worker process bounds.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import sympy as _sympy

from llmos.sdk import RetryCall
from llmos_tools.calculate import sizes
from llmos_tools.calculate.errors import too_large, unreadable
from llmos_tools.calculate.functions import FUNCTIONS, METHODS, NAMES, numeric, remainder
from llmos_tools.calculate.limits import LONGEST_EXPRESSION
from llmos_tools.calculate.notation import PERCENT, to_python
from llmos_tools.calculate.units import (
    Conversion,
    conversion_of,
    converted,
    quantity_of,
    symbol_of_unit,
    zero_converted,
)
from llmos_tools.calculate.words import numbers_written, operators_written

sympy = cast(Any, _sympy)

Binary = Callable[[Any, Any], Any]

BINARY: Mapping[type[ast.operator], Binary] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: sizes.divide,
    ast.FloorDiv: lambda left, right: sympy.floor(sizes.divide(left, right)),
    ast.Mod: remainder,
    ast.Pow: sizes.power,
}
COMPARISONS: Mapping[type[ast.cmpop], Binary] = {
    ast.Eq: sympy.Eq,
    ast.NotEq: sympy.Ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A value, and whether the expression held decimals, in which case the answer does too.

    `unit` is what a converted quantity is counted in, empty for a plain value.
    """

    value: Any
    has_decimals: bool
    unit: str = ""


def evaluate(expression: str) -> object:
    """Return the value of an expression: a sympy value, or a list, tuple or dict of them.

    Not bounded in time: the tool runs it in a process of its own.

    Raises:
        RetryCall: it is not in the notation.
        ToolFailed: it has no value, or one that is too large.
    """
    return work_out(expression).value


def work_out(expression: str) -> Evaluated:
    """Do what `evaluate` does, and say how the answer is to be written."""
    if len(expression) > LONGEST_EXPRESSION:
        raise too_large(f"it has {len(expression)} characters")
    text = numbers_written(expression)
    conversion = conversion_of(text)
    if conversion is not None:
        return _converted(conversion)
    try:
        return _evaluated(operators_written(text), NAMES.get)
    except RetryCall:
        quantity = quantity_of(text)
        if quantity is None:
            raise
        return _converted(quantity)


def _converted(conversion: Conversion) -> Evaluated:
    left, first_unit, target = (
        _evaluated(text, symbol_of_unit).value
        for text in (conversion.left, conversion.first_unit, conversion.target)
    )
    value = (
        zero_converted(first_unit, target, conversion.shown)
        if left.is_zero
        else converted(left, target, conversion.shown)
    )
    return Evaluated(value, has_decimals=False, unit=conversion.shown)


def _evaluated(expression: str, named: Callable[[str], Any]) -> Evaluated:
    notation = to_python(expression)
    try:
        tree = ast.parse(notation.source.strip(), mode="eval")
    except (MemoryError, RecursionError) as error:
        raise too_large("it is too long or nested too deeply") from error
    except SyntaxError as error:
        raise unreadable(expression, "it is not complete or not in order") from error
    value = _Walk(expression, named).scalar(tree.body)
    return Evaluated(value, notation.has_decimals)


class _Walk:
    """Evaluates nodes; holds the expression only to name it in errors, and what names mean."""

    def __init__(self, expression: str, named: Callable[[str], Any]) -> None:
        self._expression = expression
        self._value_named = named

    def scalar(self, node: ast.expr) -> Any:
        """Return a node's value where a list has no place; the result of a call may be one."""
        match node:
            case ast.Constant(value=bool(truth)):
                return sympy.true if truth else sympy.false
            case ast.Constant(value=int(number)):
                return sympy.Integer(number)
            case ast.Name(id=name):
                return self._named(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._operand(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._operand(operand)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparison([left, *rights], ops)
            case ast.Call():
                return _as_sympy(self._call(node))
            case ast.Tuple() | ast.List() | ast.Dict():
                why = "a list, or a comma, stands outside of a function's brackets"
                raise self._not_understood(node, why)
            case _:
                raise self._not_understood(node)

    def _operand(self, node: ast.expr) -> Any:
        value = self.scalar(node)
        if not isinstance(value, sympy.Expr | sympy.MatrixBase):
            raise self._not_understood(node, "it is not a number that can be calculated with")
        return value

    def _binary(self, node: ast.BinOp) -> Any:
        """Walk down the left side in a loop, since a long sum nests to the left."""
        spine = [node]
        while isinstance(left := spine[-1].left, ast.BinOp):
            spine.append(left)
        value = self._operand(spine[-1].left)
        for step in reversed(spine):
            apply = BINARY.get(type(step.op))
            if apply is None:
                raise self._not_understood(step)
            right = self._operand(step.right)
            if _is_percentage(step.right) and not _is_percentage(step.left):
                right = _share(step.op, value, right)
            value = apply(value, right)
        return value

    def _comparison(self, nodes: list[ast.expr], ops: list[ast.cmpop]) -> Any:
        values = [self._operand(node) for node in nodes]
        claims: list[Any] = []
        for op, left, right in zip(ops, values, values[1:], strict=False):
            claims.append(COMPARISONS[type(op)](left, right))
        return sympy.And(*claims)

    def _call(self, node: ast.Call) -> Any:
        match node.func:
            case ast.Name(id=name) if name in FUNCTIONS:
                function, receivers = FUNCTIONS[name], []
            case ast.Attribute(value=receiver, attr=name) if name in METHODS:
                function, receivers = METHODS[name], [self.scalar(receiver)]
            case ast.Name(id=name) if name in NAMES:
                why = f"{name} is not a function; for a product write {name}*(...)"
                raise unreadable(self._expression, why)
            case ast.Name(id=name):
                raise RetryCall(f"unknown function {name[:80]!r}")
            case _:
                raise self._not_understood(node.func)
        arguments = [*receivers, *(self._argument(item) for item in node.args)]
        if not node.keywords:
            return function(*arguments)
        if function is not numeric or [item.arg for item in node.keywords] != ["n"]:
            raise self._not_understood(node)
        return numeric(*arguments, n=self._operand(node.keywords[0].value))

    def _argument(self, node: ast.expr) -> Any:
        match node:
            case ast.List(elts=items):
                return [self._argument(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(self._argument(item) for item in items)
            case ast.Dict(keys=keys, values=values):
                return {
                    self._operand(key): self._argument(value)
                    for key, value in zip(keys, values, strict=True)
                    if key is not None
                }
            case _:
                return self.scalar(node)

    def _named(self, name: str) -> Any:
        value = self._value_named(name)
        if value is not None:
            return value
        if name in FUNCTIONS:
            raise unreadable(self._expression, f"{name} is a function: write {name}(...)")
        raise RetryCall(f"unknown name {name[:80]!r}")

    def _not_understood(self, node: ast.expr, why: str = "it is not understood") -> RetryCall:
        return unreadable(self._expression, f"{ast.unparse(node)[:80]!r}: {why}")


def _is_percentage(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name == PERCENT
        case _:
            return False


def _share(op: ast.operator, whole: Any, percentage: Any) -> Any:
    """Return what is added by `80 + 15%`: that share of the whole, as on a pocket calculator."""
    return whole * percentage if isinstance(op, ast.Add | ast.Sub) else percentage


def _as_sympy(value: Any) -> Any:
    """Return a function's result with its Python numbers as sympy's, lists kept as lists."""
    match value:
        case list():
            return [_as_sympy(item) for item in cast(list[Any], value)]
        case tuple():
            return tuple(_as_sympy(item) for item in cast(tuple[Any, ...], value))
        case dict():
            pairs = cast(dict[Any, Any], value).items()
            return {_as_sympy(key): _as_sympy(item) for key, item in pairs}
        case bool() | int():
            return sympy.sympify(value)
        case _:
            return value
