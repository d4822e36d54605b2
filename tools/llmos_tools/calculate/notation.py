"""Notation: what people and models write, turned into the Python syntax that `ast` parses.

Light and local: each rule looks at neighbouring tokens only. Knows no names and no maths.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from llmos_tools.calculate.errors import too_large, unreadable
from llmos_tools.calculate.limits import DEEPEST_NESTING, LONGEST_EXPRESSION, MOST_DIGITS

SIGNS = str.maketrans({
    "^": "**", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "−": "-", "–": "-",
    "π": " pi ", "∞": " oo ", "²": "**2 ", "³": "**3 ", "≤": "<=", "≥": ">=", "≠": "!=",
})  # fmt: skip

# An answer that is copied into the next expression brings its approximation: `2/3 ≈ 0.666667`.
APPROXIMATION = re.compile(r"(?<=[\w)\]])\s*≈\s*[-+]?[0-9.]+(?:e[-+]?[0-9]+)?(?:\*I\b)?")
ROOT = re.compile(r"([√∛])\s*([0-9.]+|[^\W\d_]+(?!\s*\())?")
ROOTS = {"√": "sqrt", "∛": "cbrt"}
PERCENT_OF = re.compile(r"%\s*of\b")
TOKEN = re.compile(
    r"(?P<gap>\s*)(?:"
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%!<>=.,:(){}\[\]]))"
)
PARTS_OF_NUMBER = re.compile(r"([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?")
NEVER_AN_OPERAND = frozenset(")]},:*/=<>") | {"**", "//", "%", "==", "!=", "<=", ">="}
PERCENT = "percent"
TAKES_PRECISION = ("N", "n", "evalf")

Kind: TypeAlias = Literal["number", "name", "operator"]


@dataclass(frozen=True, slots=True)
class Notation:
    """Python syntax, and whether a number was written as a decimal, which answers then are too."""

    source: str
    has_decimals: bool


@dataclass(frozen=True, slots=True)
class Token:
    """`has_gap` says that whitespace stands before it."""

    kind: Kind
    text: str
    has_gap: bool


@dataclass(frozen=True, slots=True)
class Bracket:
    """An open bracket: where it is among the parts, and the function that it belongs to."""

    position: int
    function: str | None


def to_python(expression: str) -> Notation:
    """Return an expression in Python syntax; numbers become integers and quotients of them.

    Raises:
        RetryCall: it holds a sign that is not understood, or multiplies in an unclear way.
        ToolFailed: it is nested too deeply, or a number has too many digits.
    """
    if len(expression) > LONGEST_EXPRESSION:
        raise too_large(f"it has {len(expression)} characters")
    plain = APPROXIMATION.sub("", expression).replace("≈", " ")
    plain = PERCENT_OF.sub("%*", ROOT.sub(_root, plain))
    plain = plain.translate(SIGNS).strip().rstrip("?= ").lstrip("= ")
    tokens = _tokens(plain, expression)
    source = _Rewriting(tokens, expression).source()
    has_decimals = any(t.kind == "number" and not t.text.isdigit() for t in tokens)
    return Notation(source, has_decimals)


def _root(match: re.Match[str]) -> str:
    return ROOTS[match[1]] + (f"({match[2]})" if match[2] else "")


def _tokens(text: str, expression: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise unreadable(expression, f"{text[position:].strip()[0]!r} is not understood")
        kind = cast(Kind, match.lastgroup)
        token = Token(kind, match[kind], bool(match["gap"]))
        if keyword.iskeyword(token.text) and token.text not in ("True", "False"):
            raise unreadable(expression, f"{token.text!r} is not understood")
        tokens.append(token)
        position = match.end()
    if not tokens:
        raise unreadable(expression, "it is empty")
    return tokens


class _Rewriting:
    """One pass over the tokens.

    `parts` is what has been written; where `parts[i]` ends an operand, that operand is
    `parts[starts[i] : i + 1]`. Nothing is inserted, so positions stay valid.
    """

    def __init__(self, tokens: list[Token], expression: str) -> None:
        self._tokens = tokens
        self._expression = expression
        self._parts: list[str] = []
        self._starts: list[int] = []
        self._open: list[Bracket] = []
        self._ends_operand = False

    def source(self) -> str:
        for index, token in enumerate(self._tokens):
            if self._ends_operand and (token.kind != "operator" or token.text == "("):
                self._multiply_if_implied(index)
            self._write(index, token)
        if self._open:
            raise unreadable(self._expression, "a bracket is not closed")
        return " ".join(self._parts)

    def _write(self, index: int, token: Token) -> None:
        text = token.text
        if token.kind == "number":
            self._append(_exact(text), ends_operand=True)
        elif token.kind == "name":
            is_attribute = len(self._parts) > 1 and self._parts[-1] == "."
            start = self._starts[-2] if is_attribute else None
            self._append(text, ends_operand=True, start=start)
        elif text in "([{":
            self._open_bracket(index, text)
        elif text in ")]}":
            self._close_bracket(text)
        elif text == "!":
            self._factorial(index)
        elif text == "%" and self._ends_operand and self._is_percent(index):
            self._wrap(f"{PERCENT}(", ")")
        elif text == "=":
            self._append("=" if self._is_precision(index) else "==", ends_operand=False)
        else:
            self._append(text, ends_operand=False)

    def _append(self, text: str, *, ends_operand: bool, start: int | None = None) -> None:
        self._starts.append(len(self._parts) if start is None else start)
        self._parts.append(text)
        self._ends_operand = ends_operand

    def _wrap(self, before: str, after: str) -> None:
        """Put text around the operand that ends here."""
        start = self._starts[-1]
        self._parts[start] = before + self._parts[start]
        self._parts[-1] += after

    def _open_bracket(self, index: int, text: str) -> None:
        if len(self._open) == DEEPEST_NESTING:
            raise too_large("it is nested too deeply")
        is_call = text == "(" and self._ends_operand
        function = self._tokens[index - 1].text if is_call else None
        self._open.append(Bracket(len(self._parts), function))
        self._append(text, ends_operand=False)

    def _close_bracket(self, text: str) -> None:
        if not self._open:
            raise unreadable(self._expression, f"{text!r} closes nothing")
        bracket = self._open.pop()
        start = self._starts[bracket.position - 1] if bracket.function else bracket.position
        self._append(text, ends_operand=True, start=start)

    def _factorial(self, index: int) -> None:
        if not self._ends_operand:
            raise unreadable(self._expression, "a '!' follows no number")
        following = self._tokens[index + 1 : index + 2]
        if following and following[0].text == "!":
            raise unreadable(self._expression, "'!!' can mean two things: write factorial2(n)")
        self._wrap("factorial(", ")")

    def _is_percent(self, index: int) -> bool:
        """Tell `50%` from the remainder `50 % 7`, which needs an operand on its right."""
        following = self._tokens[index + 1 : index + 3]
        if not following or following[0].text in NEVER_AN_OPERAND:
            return True
        if following[0].text not in ("+", "-"):
            return False
        is_tight = not self._tokens[index].has_gap
        return is_tight and len(following) == 2 and all(token.has_gap for token in following)

    def _is_precision(self, index: int) -> bool:
        """Tell the one keyword argument that exists, `N(x, n=30)`, from an equation.

        Raises:
            RetryCall: it is any other keyword argument.
        """
        before = self._tokens[max(index - 2, 0) : index]
        is_keyword = len(before) == 2 and before[1].kind == "name" and before[0].text in ("(", ",")
        if not is_keyword or not self._open or self._open[-1].function is None:
            return False
        name = before[1].text
        if name == "n" and self._open[-1].function in TAKES_PRECISION:
            return True
        why = f"{name}=... is not understood (write Eq({name}, ...) for an equation)"
        raise unreadable(self._expression, why)

    def _multiply_if_implied(self, index: int) -> None:
        token, last = self._tokens[index], self._tokens[index - 1]
        if last.kind == "name" and token.text == "(":
            return
        if token.kind == "number" and last.kind != "operator":
            why = f"an operator is missing between {last.text!r} and {token.text!r}"
            raise unreadable(self._expression, why)
        start = self._starts[-1]
        before = self._parts[start - 1] if start else ""
        is_tight_power = before == "**" and token.kind == "name" and not token.has_gap
        if before in ("/", "//", "%") or (is_tight_power and last.kind == "number"):
            why = f"write * and brackets around {last.text!r} and {token.text!r}"
            raise unreadable(self._expression, why)
        self._append("*", ends_operand=False)


def _exact(number: str) -> str:
    """Return a number as an integer or a quotient of integers: `2.50` is `(250/100)`."""
    match = PARTS_OF_NUMBER.fullmatch(number)
    assert match is not None, number
    whole, decimals, exponent = match[1], match[2], int(match[3] or 0)
    if abs(exponent) > MOST_DIGITS:
        raise too_large(f"{number} has too many digits")
    digits = (whole + decimals).lstrip("0") or "0"
    shift = exponent - len(decimals)
    if shift == 0:
        return digits
    return f"({digits}*10**{shift})" if shift > 0 else f"({digits}/10**{-shift})"
