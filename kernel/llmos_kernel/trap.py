"""Reads a model's token ids as they come: text for the user, and calls that trap into the kernel.

A control token counts only as its id; text that spells one is text. A call exists once it is
closed and its body has decoded strictly. Knows neither tools nor processes: whether a tool exists
and its arguments fit is `syscalls`' business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias

from llmos_kernel.abi import JsonObject
from llmos_kernel.dialects.renderer import Renderer

MAX_BODY_CHARS = 1_000_000
MAX_DEPTH = 64

MalformedReason: TypeAlias = Literal[
    "bad_json",
    "bad_shape",
    "arguments_not_object",
    "duplicate_key",
    "non_finite",
    "lone_surrogate",
    "too_deep",
    "too_large",
    "nested_open",
    "truncated",
]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Trap:
    """A closed, decoded call, not yet checked against any tool."""

    name: str
    arguments: JsonObject


@dataclass(frozen=True, slots=True)
class Malformed:
    """A call that never ran and never will. `raw` is its body as the model wrote it."""

    reason: MalformedReason
    detail: str
    raw: str


Event: TypeAlias = Text | Trap | Malformed


class _Refused(Exception):
    def __init__(self, reason: MalformedReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: MalformedReason = reason
        self.detail = detail


class TrapParser:
    """Turns one step's token ids into events. `feed` each id, then `finish` once."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._pending: list[int] = []
        self._body: list[int] | None = None
        self._is_nested = False

    def feed(self, token_id: int) -> list[Event]:
        """Return the events that this id completes; usually none or one text."""
        renderer = self._renderer
        if token_id == renderer.call_open_id:
            if self._body is not None:
                self._is_nested = True
                return []
            events = self._flush_text()
            self._body = []
            return events
        if token_id == renderer.call_close_id:
            if self._body is None:
                return []
            return [self._close()]
        if token_id in renderer.control_ids:
            return []
        if self._body is not None:
            self._body.append(token_id)
            return []
        self._pending.append(token_id)
        text = renderer.text(self._pending)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return []
        self._pending.clear()
        return [Text(text)] if text else []

    def finish(self) -> list[Event]:
        """End the step; a call that is still open is truncated, however whole it looks."""
        events = self._flush_text()
        if self._body is not None:
            raw = self._renderer.text(self._body)
            self._body = None
            events.append(Malformed("truncated", "the call was cut off before its end", raw))
        return events

    def _flush_text(self) -> list[Event]:
        text = self._renderer.text(self._pending)
        self._pending.clear()
        return [Text(text)] if text else []

    def _close(self) -> Event:
        raw = self._renderer.text(self._body or [])
        is_nested, self._body, self._is_nested = self._is_nested, None, False
        if is_nested:
            return Malformed("nested_open", "a call was opened inside a call", raw)
        try:
            name, arguments = decode_call(raw)
        except _Refused as error:
            return Malformed(error.reason, error.detail, raw)
        return Trap(name, arguments)


def decode_call(raw: str) -> tuple[str, JsonObject]:
    """Decode `{"name": ..., "arguments": {...}}` strictly (RFC 8259, no duplicate keys)."""
    if len(raw) > MAX_BODY_CHARS:
        raise _Refused("too_large", f"a call may have {MAX_BODY_CHARS} characters at most")
    try:
        value = json.loads(raw, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _Refused("bad_json", f"the call is not valid JSON: {error}") from error
    except RecursionError as error:
        raise _Refused("too_deep", "the call is nested too deeply") from error
    _check(value, 0)
    if not isinstance(value, dict) or set(value) != {"name", "arguments"}:  # pyright: ignore
        raise _Refused("bad_shape", "a call is an object with 'name' and 'arguments'")
    name, arguments = value["name"], value["arguments"]  # pyright: ignore
    if not isinstance(name, str):
        raise _Refused("bad_shape", "a call's 'name' is a string")
    if not isinstance(arguments, dict):
        raise _Refused("arguments_not_object", "a call's 'arguments' are an object")
    return name, arguments  # pyright: ignore


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("duplicate_key", "a key occurs twice in the call")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise _Refused("non_finite", f"{text} is not a JSON number")


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Refused("too_deep", f"a call is nested {MAX_DEPTH} levels deep at most")
    match value:
        case str():
            if any("\ud800" <= char <= "\udfff" for char in value):
                raise _Refused("lone_surrogate", "a string holds half of a surrogate pair")
        case float() if value in (float("inf"), float("-inf")):
            raise _Refused("non_finite", "a number is too large")
        case dict():
            for key, item in value.items():  # pyright: ignore
                _check(key, depth + 1)
                _check(item, depth + 1)
        case list():
            for item in value:  # pyright: ignore
                _check(item, depth + 1)
        case _:
            return
