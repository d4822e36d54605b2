"""The tool table as the embedded model reads it."""

from __future__ import annotations

from llmos_kernel.abi import Json, ToolSpec
from llmos_kernel.dialects.tool_table import compact_table


def test_a_table_shows_the_fields_of_objects_and_the_words_of_lists() -> None:
    address: dict[str, Json] = {
        "type": "object",
        "description": "where to",
        "properties": {"city": {"type": "string", "description": "the town"}},
        "required": ["city"],
    }
    parcel: dict[str, Json] = {"type": "object", "properties": {"kg": {"type": "number"}}}
    options: dict[str, Json] = {"type": "string", "enum": ["fast", "insured"]}
    properties: dict[str, Json] = {
        "address": address,
        "parcels": {"type": "array", "items": parcel},
        "options": {"type": "array", "items": options},
    }
    schema: dict[str, Json] = {"type": "object", "properties": properties, "required": ["address"]}
    assert compact_table([ToolSpec("ship", "Send parcels.", schema)]).splitlines() == [
        "ship: Send parcels.",
        "- address (object): where to",
        "  - city (string): the town",
        "- parcels (array of object, optional)",
        "  - kg (number, optional)",
        '- options (array of "fast" | "insured", optional)',
    ]
