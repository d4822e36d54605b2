"""What was heard becomes what would have been typed: the names of files, above all.

Knows no recording; a transcript that the tool `listen` is asked for in a task stays as it is.
"""

from __future__ import annotations

import mimetypes
import re

_MORE_SUFFIXES = set("md toml yaml yml ini log cfg rs go com org net io dev".split())
SUFFIXES = {suffix[1:] for suffix in mimetypes.types_map} | _MORE_SUFFIXES
NOTHING_HEARD = "no speech"  # how listen begins, where it hears none
_TIMES = re.compile(r"\[[\d:.,\s>–→-]+\]\s*")
# "dot" and a word, or letters one by one: "dot t x t".
_SUFFIX = re.compile(
    r"(?<=\w) dot ((?:[a-z0-9][ -]){1,4}[a-z0-9]\b|[a-z0-9]{1,5}\b)", re.IGNORECASE
)


def as_typed(transcript: str) -> str:
    """Return the line that a transcript stands for; empty where nothing was said."""
    if transcript.startswith(NOTHING_HEARD):
        return ""
    text = " ".join(_TIMES.sub("", transcript).split())
    text = re.sub(r"(?<=\w) (?:forward )?slash (?=\w)", "/", text, flags=re.IGNORECASE)
    text = re.sub(r"(?<=\w) underscore (?=\w)", "_", text, flags=re.IGNORECASE)
    return _SUFFIX.sub(_suffix, text)


def _suffix(match: re.Match[str]) -> str:
    """Join the longest run of what follows that is a suffix; leave the rest of it apart."""
    words = match[1].replace("-", " ").split(" ")
    for end in range(len(words), 0, -1):
        suffix = "".join(words[:end]).lower()
        if suffix in SUFFIXES:
            return " ".join([f".{suffix}", *words[end:]])
    return match[0]
