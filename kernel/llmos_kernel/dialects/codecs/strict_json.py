"""JSON as calls are written: RFC 8259, no duplicate keys, no NaN, bounded depth.

Framing is the decoder's own: a delimiter inside a string is data. Knows no shape of a call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from llmos_kernel.abi import Json, JsonObject
from llmos_kernel.dialects.codecs.codec import Call, Refused, check_value

BLANKS = " \t\n\r"


def read_value(text: str, start: int = 0) -> tuple[Json, int]:
    """Return the value that begins at or after `start`, and where it ends.

    Raises:
        Refused: there is none, or it holds what a call may not.
    """
    start = skip_blanks(text, start)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise Refused("bad_json", f"the call is not valid JSON: {error}", error.pos) from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise Refused("too_large", f"a number is too long: {error}", start) from error
    except RecursionError as error:
        raise Refused("too_deep", "the call is nested too deeply", start) from error
    check_value(value)
    return value, end


def read_whole(text: str, start: int = 0) -> Json:
    """Return the one value that fills `text` from `start`."""
    value, end = read_value(text, start)
    refuse_rest(text, end)
    return value


def read_arguments(text: str, start: int = 0) -> JsonObject:
    """Return the object that fills `text` from `start`."""
    return as_arguments(read_whole(text, start), start)


def as_arguments(value: Any, offset: int) -> JsonObject:
    if not isinstance(value, dict):
        raise Refused("arguments_not_object", "a call's arguments are an object", offset)
    return cast("JsonObject", value)


def as_call(value: Json, offset: int, *, arguments_key: str, also: frozenset[str]) -> Call:
    """Return the call that an object `{"name": ..., arguments_key: {...}}` is.

    `also` are keys that may stand beside these two and are not read.
    """
    if not isinstance(value, Mapping) or set(value) - also != {"name", arguments_key}:
        detail = f"a call is an object with 'name' and {arguments_key!r}"
        raise Refused("bad_shape", detail, offset)
    name = value["name"]
    if not isinstance(name, str):
        raise Refused("bad_shape", "a call's 'name' is a string", offset)
    return name, as_arguments(value[arguments_key], offset)


def refuse_rest(text: str, start: int) -> None:
    end = skip_blanks(text, start)
    if end != len(text):
        raise Refused("trailing_garbage", "something follows the call inside its frame", end)


def skip_blanks(text: str, start: int) -> int:
    while start < len(text) and text[start] in BLANKS:
        start += 1
    return start


def dump(value: Any, separators: tuple[str, str] = (", ", ": ")) -> str:
    return json.dumps(value, ensure_ascii=False, separators=separators)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("duplicate_key", "a key occurs twice in the call")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise Refused("non_finite", f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
