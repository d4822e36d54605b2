"""Collects the rules of a grammar in llguidance's Lark dialect, as codecs write them.

Literals may hold marks, which stand for control tokens. Strings that must be grounded are spans of
the lines that the process has seen. Knows the notation only: nothing is compiled here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.schemas import Argument, arguments_of, narrowed
from llmos_kernel.grounding import chunks, grounded_keys

FIRST_MARK = 0xDC00
MARKS = re.compile("([\udc00-\udfff])")
ANY_TEXT = "/(?s:.*)/"
QUOTE = r'"\""'
MAX_COUNTED = 1_000
LINE_END = "\x1e"  # stands between lines, in no span


class Rules:
    """A grammar that grows. Expressions are strings of Lark; rules are named as they come."""

    def __init__(
        self,
        mark_ids: Mapping[str, int],
        lines: Sequence[str] = (),
        *,
        is_compilable: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`mark_ids` are the control tokens that marks stand for; `lines` have been seen."""
        self.mark_ids = mark_ids
        self._lines = lines
        self._is_compilable = is_compilable
        self._rules: list[str] = []
        self._names: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return an expression for a literal, control tokens for its marks; empty for none."""
        return " ".join(map(self._literal, filter(None, MARKS.split(text))))

    def _literal(self, part: str) -> str:
        return f"<[{self.mark_ids[part]}]>" if MARKS.match(part) else quoted(part)

    def tokens(self, token_ids: Iterable[int]) -> str:
        """Return an expression for any one of these tokens."""
        return f"<[{','.join(map(str, sorted(token_ids)))}]>"

    def rule(self, expression: str) -> str:
        """Return the name of a rule; equal expressions share one."""
        return self._named("rule", ": ", expression)

    def terminal(self, expression: str) -> str:
        """Return the name of a lexeme, which ends where it can go on no more."""
        return self._named("TEXT", ": ", expression)

    def shortest(self, expression: str) -> str:
        """Return the name of a rule for a lexeme that ends as soon as it can."""
        return self._named("short", "[lazy]: ", self.terminal(expression))

    def _named(self, kind: str, joint: str, expression: str) -> str:
        body = f"{joint}{expression}"
        if body not in self._names:
            self._names[body] = f"{kind}_{len(self._names)}"
            self._rules.append(self._names[body] + body)
        return self._names[body]

    def recursive(self, name: str, write: Callable[[str], str]) -> str:
        """Return the name of a rule that may hold itself; `write` gets that name."""
        if name not in self._names:
            self._names[name] = name
            self._rules.append(f"{name}: {write(name)}")
        return name

    def json(
        self,
        schema: Mapping[str, Any],
        separators: tuple[str, str] = (", ", ": "),
        *,
        otherwise: Mapping[str, Any] | None = None,
        text_pattern: str = "",
    ) -> str:
        """Return a rule for JSON of a schema, or of `otherwise` where it cannot be compiled."""
        schema = narrowed(schema, text_pattern)
        if not self._is_compilable(json.dumps(schema)):
            schema = dict(otherwise or {})
        item, key = separators
        options = {"whitespace_flexible": False, "item_separator": item, "key_separator": key}
        return self.rule(f"%json {json.dumps({**schema, 'x-guidance': options})}")

    def span(self, escape: Callable[[str], str], *, without: Sequence[str] = ()) -> str:
        """Return a lexeme for a span of what has been seen, word by word, as `escape` writes it.

        No span holds one of `without`.
        """
        lines: Iterable[str] = self._lines
        for delimiter in without:
            lines = [part for line in lines for part in line.split(delimiter)]
        parts: list[str] = []
        for line in dict.fromkeys(lines):
            parts += [*map(escape, chunks(line)), LINE_END]
        span = self.terminal(f"%regex {json.dumps({'substring_chunks': parts})}")
        return self.terminal(rf"{span} & /[^\x1e]*\w[^\x1e]*/")

    def lark(self, start: str) -> str:
        return "\n".join([f"start: {start}", *self._rules])


def json_call(
    rules: Rules,
    spec: ToolSpec,
    separators: tuple[str, str] = (", ", ": "),
    arguments_key: str = "arguments",
) -> str:
    """Return an expression for an object of a name and arguments, without its end."""
    item, key = separators
    head = f'{{"name"{key}{quoted(spec.name)}{item}{quoted(arguments_key)}{key}'
    return f"{quoted(head)} {json_arguments(rules, spec, separators)}"


def json_arguments(rules: Rules, spec: ToolSpec, separators: tuple[str, str] = (", ", ": ")) -> str:
    """Return an expression for a JSON object of a tool's arguments."""
    if not grounded_keys(spec):
        return rules.json(spec.parameters, separators, otherwise={"type": "object"})
    item, key = separators
    members = [
        (
            f"{quoted(quoted(each.key) + key)} {_json_argument(rules, each, separators)}",
            each.is_required,
        )
        for each in arguments_of(spec)
    ]
    return f'"{{" {sequence(rules, members, quoted(item))} "}}"'


def _json_argument(rules: Rules, argument: Argument, separators: tuple[str, str]) -> str:
    if argument.is_grounded:
        return f"{QUOTE} {rules.span(json_inner)} {QUOTE}"
    return rules.json(argument.schema, separators)


def json_inner(text: str) -> str:
    """Return how JSON writes a string, without its quotes."""
    return quoted(text)[1:-1]


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def either(expressions: Iterable[str]) -> str:
    return f"({' | '.join(expressions)})"


def characters(schema: Mapping[str, Any], unit: str = "(?s:.)") -> str:
    """Return a regular expression for as many units as a schema wants of a string.

    A length past MAX_COUNTED, which would cost too much, is left to the check after the call.
    """
    lower, upper = schema.get("minLength", 0), schema.get("maxLength", MAX_COUNTED + 1)
    lower, upper = min(lower, MAX_COUNTED), upper if upper <= MAX_COUNTED else ""
    return ANY_TEXT if (lower, upper, unit) == (0, "", "(?s:.)") else f"/{unit}{{{lower},{upper}}}/"


def text_without(delimiters: Sequence[str]) -> str:
    """Return a regular expression for text that holds none of these.

    Each begins with `<` and holds no other. What begins as one and goes on otherwise is text;
    as long as it does not, another `<` may follow.
    """
    followers: dict[str, str] = {}
    for delimiter in delimiters:
        for end in range(1, len(delimiter)):
            begun = delimiter[:end]
            followers[begun] = followers.get(begun, "") + delimiter[end]
    begun = f"({'|'.join(map(_escaped, followers))})"
    broken = "|".join(
        f"{_escaped(begun)}[^<{_escaped(next_)}]" for begun, next_ in followers.items()
    )
    return f"([^<]|{begun}*({broken}))*{begun}*"


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", r"\/")


def sequence(rules: Rules, members: Sequence[tuple[str, bool]], separator: str) -> str:
    """Return an expression for members in order, with separators; each with whether it must be."""
    later, first = "", ""
    for expression, is_required in reversed(members):
        joined = f"{separator} {expression}" if separator else expression
        begun = f"{expression} {later}"
        first = begun if is_required else either([begun, first or '""'])
        later = f"{joined if is_required else f'({joined})?'} {later}"
        later, first = rules.rule(later), rules.rule(first)
    return first
