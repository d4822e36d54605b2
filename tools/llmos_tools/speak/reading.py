"""How text is read aloud: Markdown, code, paths, addresses, dates, money, units and numbers.

Markdown is taken off in every language, numbers are spelled out in English and left to the voice
in others. Knows no voice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from llmos_tools.speak.english import code_in_words, in_words
from llmos_tools.speak.scripts import script_of

LONGEST_PIECE = 400
LONGEST_CODE = 5  # lines
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["code", "entity"])
# A star between two values multiplies; Markdown would take two of them for emphasis.
_TIMES = re.compile(r"(?<=[\w)\]])(\*{1,2})(?=[\w(\[])")
_SENTENCE = re.compile(r"(?<=[.!?。！？…])\s+|\n+")


def spoken(text: str, language: str) -> str:
    """Return what is to be said for a text, sentences and blocks ended by full stops."""
    is_english = language == "en" and script_of(text) in ("LATIN", "")
    escaped = _TIMES.sub(lambda match: match[1].replace("*", r"\*"), text)
    blocks = _blocks(_MARKDOWN.parse(escaped), is_english=is_english)
    return "\n".join(block for block in blocks if any(c.isalnum() for c in block))


def pieces(said: str) -> list[str]:
    """Split what is to be said at the ends of sentences, and at spaces where those are far."""
    found: list[str] = []
    for sentence in _SENTENCE.split(said):
        rest = sentence.strip()
        while len(rest) > LONGEST_PIECE:
            cut = rest.rfind(" ", 0, LONGEST_PIECE)
            cut = LONGEST_PIECE if cut <= 0 else cut
            found.append(rest[:cut])
            rest = rest[cut:].strip()
        if rest:
            found.append(rest)
    return found


def _blocks(tokens: list[Token], *, is_english: bool) -> Iterator[str]:
    number, cells, is_in_row = "", list[str](), False
    for token in tokens:
        match token.type:
            case "tr_open":
                is_in_row = True
            case "inline" if is_in_row:
                cells.append(_inline(token, is_english=is_english))
            case "inline":
                yield _ended(f"{number}{_inline(token, is_english=is_english)}")
                number = ""
            case "list_item_open":
                number = f"{token.info}: " if token.info else ""
                number = in_words(number) if is_english else number
            case "tr_close":
                yield _ended(", ".join(cells))
                cells, is_in_row = [], False
            case "fence":
                yield _ended(_code_block(token.content, is_english=is_english))
            case _:
                pass


def _inline(token: Token, *, is_english: bool) -> str:
    """Return the words of a line of text; runs of plain text are read as one."""
    parts: list[str] = []
    plain = ""
    for child in token.children or []:
        if child.type == "code_inline" and is_english:
            parts += [in_words(plain), f" {code_in_words(child.content)} "]
            plain = ""
        elif child.type in ("text", "code_inline"):
            plain += child.content
        elif child.type == "softbreak":
            plain += " "
        elif child.type == "hardbreak":
            plain += ".\n"
        elif child.type == "image":
            plain += child.content
    parts.append(in_words(plain) if is_english else plain)
    return re.sub(r" +", " ", "".join(parts)).strip()


def _code_block(code: str, *, is_english: bool) -> str:
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    if not is_english:
        return "\n".join(lines[:LONGEST_CODE])
    if len(lines) > LONGEST_CODE:
        return in_words(f"{len(lines)} lines of code, which are not read")
    return ".\n".join(map(code_in_words, lines))


def _ended(text: str) -> str:
    return text if not text or text[-1] in ".!?:;。！？…" else f"{text}."
