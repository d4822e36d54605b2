"""Chooses which tools a message is offered, where there are more than a model reads well.

Knows words only: BM25 (Robertson and Zaragoza, 2009), as SQLite's full-text search has it, over
the names, descriptions, keywords and arguments of tools. Knows no model and no process.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from mimetypes import guess_type
from typing import Any, Protocol

from llmos_kernel.abi import ToolSpec

# A tool's name says more of what it does than its description, its arguments less.
NAME_WEIGHT, ARGUMENTS_WEIGHT = 3.0, 0.5
MOST_WORDS = 64
# Words that every request and description may hold: they say nothing of what a tool is for.
COMMON_WORDS = frozenset(
    """
    a about after all also am an and any are as at be been but by can could did do does for from get
    give had has have he her here him his how i if in into is it its just let like me my need no not
    of on one or our out please she should so some such tell than that the their them then there
    these they this to up us want was we were what when where which who will with would you your
    """.split()
)
# What is always offered unless the settings say otherwise; the embedded model is trained on it.
USUAL_TOOLS = (
    "browse",
    "calculate",
    "list_files",
    "now",
    "python",
    "read_file",
    "recall",
    "remember",
    "schedule",
    "search",
    "write_file",
)


class ChoosesTools(Protocol):
    """Whatever chooses the tools of a message; see `ToolChoice`."""

    def names(
        self,
        specs: Sequence[ToolSpec],
        message: str,
        kept: frozenset[str] = ...,
        called: Sequence[str] = ...,
    ) -> frozenset[str] | None: ...


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """At most `most` tools are offered: those `always` named, then what fits a message best."""

    always: frozenset[str]
    most: int

    def names(
        self,
        specs: Sequence[ToolSpec],
        message: str,
        kept: frozenset[str] = frozenset(),
        called: Sequence[str] = (),
    ) -> frozenset[str] | None:
        """Return the names of the tools that a message is offered, None where that is all of them.

        Half of the room beside `always` is for the best fits. Then comes what was `called` in the
        turn before, the last one first: the message may refer to its result. Behind the other fits
        stays, where there is room, what the conversation has been offered so far, `kept`.
        """
        if len(specs) <= self.most:
            return None
        chosen = [spec.name for spec in specs if spec.name in self.always][: self.most]
        others = {spec.name: spec for spec in specs if spec.name not in self.always}
        room = self.most - len(chosen)
        fitting = ranked(list(others.values()), message)
        half = (room + 1) // 2
        wanted = [*fitting[:half], *called, *fitting[half:], *sorted(kept)]
        found = dict.fromkeys(name for name in wanted if name in others)
        return frozenset([*chosen, *list(found)[:room]])


def ranked(specs: Sequence[ToolSpec], text: str) -> list[str]:
    """Return the names of the tools that share a telling word with the text, the best first.

    A file's name also says what it holds: `photo.png` finds tools that tell of an image.
    """
    said = re.findall(r"\w+", text.lower())
    words = [*_media(text), *(word for word in said if word not in COMMON_WORDS)]
    if not words:
        return []
    with closing(sqlite3.connect(":memory:")) as index:
        index.execute(
            "CREATE VIRTUAL TABLE tool USING fts5(words, about, takes, tokenize='porter')"
        )
        index.executemany(
            "INSERT INTO tool (rowid, words, about, takes) VALUES (?, ?, ?, ?)",
            (
                (i, _spaced(spec.name), _about(spec), _arguments(spec))
                for i, spec in enumerate(specs)
            ),
        )
        found = index.execute(
            "SELECT rowid FROM tool WHERE tool MATCH ? ORDER BY bm25(tool, ?, 1.0, ?), rowid",
            (
                " OR ".join(f'"{word}"' for word in words[:MOST_WORDS]),
                NAME_WEIGHT,
                ARGUMENTS_WEIGHT,
            ),
        )
        return [specs[rowid].name for (rowid,) in found]


def _media(text: str) -> list[str]:
    """Return `image`, `audio` or `video` for each file of such a kind that is named."""
    types = (guess_type(word.strip("\"'`.,:;!?()"), strict=False)[0] or "" for word in text.split())
    kinds = (name.partition("/")[0] for name in types)
    return [kind for kind in kinds if kind in ("image", "audio", "video")]


def _about(spec: ToolSpec) -> str:
    return " ".join([spec.description, *spec.keywords])


def _arguments(spec: ToolSpec) -> str:
    """Return the names and descriptions of a tool's arguments."""
    properties: Any = spec.parameters.get("properties", {})
    return " ".join(
        f"{_spaced(name)} {schema.get('description', '') if isinstance(schema, dict) else ''}"
        for name, schema in properties.items()
    )


def _spaced(name: str) -> str:
    """Return a name's words apart: `sendMail`, `send_mail` and `mail.send` hold two."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_.-]+", " ", name)
