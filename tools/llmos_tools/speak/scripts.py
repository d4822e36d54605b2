"""Which script a text is written in. Knows no language."""

from __future__ import annotations

import unicodedata
from collections import Counter


def script_of(text: str) -> str:
    """Return the script of the most letters, as Unicode's names begin: 'LATIN', 'CYRILLIC'."""
    names = (unicodedata.name(letter, "").split("-")[0] for letter in text if letter.isalpha())
    counted = Counter(name.split()[0] for name in names if name)
    # Kana tell Japanese from Chinese, also where there are more of the characters they share.
    if counted["HIRAGANA"]:
        return "HIRAGANA"
    return counted.most_common(1)[0][0] if counted else ""
