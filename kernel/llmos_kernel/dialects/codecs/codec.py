"""What every codec shares: pieces to write, verdicts on what was read, limits.

A codec turns calls into pieces and a closed body back into calls. Control tokens that may stand
in a body reach it as marks: single surrogate code units, which decoded text can never hold, so
text that spells a delimiter is no delimiter. Knows no token ids and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from llmos_kernel.abi import JsonObject, ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.lark import FIRST_MARK, Rules
from llmos_kernel.errors import ModelError

MAX_DEPTH = 64
MAX_NAME_CHARS = 128

MalformedReason: TypeAlias = Literal[
    "bad_json",  # the body breaks the syntax of its codec, JSON or not
    "bad_shape",
    "arguments_not_object",
    "duplicate_key",
    "non_finite",
    "lone_surrogate",
    "too_deep",
    "too_large",
    "trailing_garbage",
    "nested_open",
    "unknown_tool",
    "schema_violation",
    "truncated",
    "ambiguous_delimiter",
    "skipped_after_error",
]

Call: TypeAlias = tuple[str, JsonObject]


class Markup(str):
    """Text of the runtime itself, in which control literals become control tokens.

    Joined to an ordinary string it gives an ordinary string: data stays data.
    """

    __slots__ = ()


Pieces: TypeAlias = list[str]


class Refused(Exception):
    """A body that is no call. `offset` is where in the body, in characters."""

    def __init__(self, reason: MalformedReason, detail: str, offset: int = 0) -> None:
        super().__init__(detail)
        self.reason: MalformedReason = reason
        self.detail = detail
        self.offset = offset


class Codec(Protocol):
    """The grammar of a body. `marks` are the control literals that may stand inside it."""

    @property
    def marks(self) -> tuple[str, ...]: ...

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        """Decode a closed body strictly: all of its calls or none.

        Raises:
            Refused: it is not what the codec writes.
        """
        ...

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        """Return the bodies that hold the calls, in order.

        Raises:
            ModelError: a name, key or value cannot be told from the codec's own delimiters.
        """
        ...

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        """Return an expression for the bodies that call these tools, at least one."""
        ...


def mark(index: int) -> str:
    """Return the character that stands in a body for the codec's control literal `index`."""
    return chr(FIRST_MARK + index)


def refuse_marks(body: str, start: int = 0, end: int | None = None) -> None:
    """Refuse a body with a control token in [start, end), where none may stand."""
    try:
        body[start:end].encode()
    except UnicodeEncodeError as error:
        detail = "a control token stands inside the call"
        raise Refused("ambiguous_delimiter", detail, start + error.start) from error


def check_value(value: Any, depth: int = 0) -> None:
    """Refuse what JSON can spell and a call may not hold."""
    if depth > MAX_DEPTH:
        raise Refused("too_deep", f"a call is nested {MAX_DEPTH} levels deep at most")
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                detail = "a string holds half of a surrogate pair"
                raise Refused("lone_surrogate", detail) from error
        case float() if value in (float("inf"), float("-inf")):
            raise Refused("non_finite", "a number is too large")
        case dict():
            for key, item in value.items():  # pyright: ignore
                check_value(key, depth + 1)
                check_value(item, depth + 1)
        case list():
            for item in value:  # pyright: ignore
                check_value(item, depth + 1)
        case _:
            return


def is_name(text: str) -> bool:
    """Whether a tool's name or an argument's key can stand bare in any family's markup."""
    is_short = 0 < len(text) <= MAX_NAME_CHARS
    return is_short and text.isascii() and all(c.isalnum() or c in "_.-" for c in text)


def checked_name(text: str) -> str:
    if not is_name(text):
        raise ModelError(
            f"{text!r} cannot be the name of a tool; use letters, digits and any of '_.-'"
        )
    return text


def checked_key(text: str) -> str:
    if not is_name(text):
        raise ModelError(
            f"{text!r} cannot be the key of an argument in this model's form of calls; "
            "use letters, digits and any of '_.-'"
        )
    return text
