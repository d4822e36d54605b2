"""Made-up arguments that fit a tool's schema, plain ones and odd ones.

Knows the common words of JSON schema; where others are used, what it makes may not fit.
"""

from __future__ import annotations

from typing import Any

from llmos_kernel.abi import Json, JsonObject

ODD: dict[str, list[Json]] = {
    "string": ["", "ä\n\u2028" * 200],
    "integer": [0, -1],
    "number": [0.0, -1e300],
}
PLAIN: dict[str, Json] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


def sample_arguments(schema: JsonObject) -> list[JsonObject]:
    """Return plain arguments first, then some of which one is odd."""
    properties: dict[str, Any] = dict(schema.get("properties") or {})  # pyright: ignore
    required: list[str] = list(schema.get("required") or [])  # pyright: ignore
    kinds: dict[str, Any] = {name: _resolved(properties[name], schema) for name in required}
    plain = {name: _plain(kind, schema) for name, kind in kinds.items()}
    odd = [
        {**plain, name: value}
        for name, kind in kinds.items()
        if "enum" not in kind
        for value in ODD.get(str(kind.get("type")), [])
    ]
    return [plain, *odd]


def _resolved(kind: dict[str, Any], schema: JsonObject) -> dict[str, Any]:
    definitions: Any = schema.get("$defs", {})
    reference = str(kind.get("$ref", "")).rpartition("/")[2]
    return definitions.get(reference, kind)


def _plain(kind: dict[str, Any], schema: JsonObject) -> Json:
    kind = _resolved(kind, schema)
    for key in ("examples", "enum"):
        if kind.get(key):
            return kind[key][0]
    match kind.get("type"):
        case _ if "const" in kind or "default" in kind:
            return kind.get("const", kind.get("default"))
        case "array":
            return [_plain(kind.get("items", {}), schema)]
        case "object":
            properties = kind.get("properties", {})
            return {name: _plain(properties[name], schema) for name in kind.get("required", [])}
        case "integer" | "number" if "minimum" in kind:
            return kind["minimum"]
        case None if kind.get("anyOf"):
            return _plain(kind["anyOf"][0], schema)
        case name:
            return PLAIN.get(str(name), "text")
