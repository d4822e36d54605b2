"""The text in a picture, by tesseract; `look` and PDF documents share it.

Knows pictures only, not where they come from. Nothing is written to a file, so that a process that
may write none can call it; memory is bounded by whoever calls it.
"""

from __future__ import annotations

import csv
import io
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

# In pixels of the longer side: tesseract wants letters of some 20 pixels, and no more to do.
SMALL_SIDE, READ_SIDE = 400, 2400
COMMAND = ("tesseract", "stdin", "stdout", "-c", "tessedit_create_tsv=1")
LEAST_CONFIDENCE = 45
LINE = ("block_num", "par_num", "line_num")


def text_of(image: Image.Image, limit_s: float) -> tuple[str, str]:
    """Return the text that tesseract is sure of, line by line, and why there is none if so."""
    file = io.BytesIO()
    _sized(image).save(file, "PNG", compress_level=1)
    try:
        found = subprocess.run(
            COMMAND, input=file.getvalue(), capture_output=True, timeout=limit_s, check=True
        ).stdout
    except FileNotFoundError:
        return "", "text is not read without tesseract: apt-get install tesseract-ocr"
    except subprocess.TimeoutExpired:
        return "", f"its text could not be read in {limit_s:.0f} s"
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace") or str(error)
        return "", f"its text could not be read: {on_one_line(said)[:200]}"
    return _lines(found.decode(errors="replace")), ""


def on_one_line(value: Any) -> str:
    """Return a text of a file without line breaks and brackets, so that it looks like no other."""
    kept = (sign if sign.isprintable() and sign not in "[]" else " " for sign in str(value))
    return " ".join("".join(kept).split())


def _sized(image: Image.Image) -> Image.Image:
    longer = max(image.size)
    if longer < SMALL_SIDE:
        factor = -(-SMALL_SIDE // longer)
        return image.resize((image.width * factor, image.height * factor))
    if longer > READ_SIDE:
        image = image.copy()
        image.thumbnail((READ_SIDE, READ_SIDE), reducing_gap=2.0)
    return image


def _lines(found: str) -> str:
    """Join the words of each line, those left out that are most likely no words."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in csv.DictReader(io.StringIO(found), delimiter="\t", quoting=csv.QUOTE_NONE):
        word = row["text"] or ""
        if any(map(str.isalnum, word)) and float(row["conf"]) >= LEAST_CONFIDENCE:
            lines.setdefault(tuple(row[part] for part in LINE), []).append(on_one_line(word))
    text = "\n".join(" ".join(words) for words in lines.values())
    return text if sum(map(str.isalnum, text)) > 1 else ""
