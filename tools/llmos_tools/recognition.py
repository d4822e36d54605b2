"""The text in a picture, by tesseract; `look` and PDF documents share it.

Knows pictures only, not where they come from. Whoever calls it bounds memory and time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

# Small pictures are enlarged for tesseract, which wants letters of some 20 pixels.
SMALL_SIDE = 400
TESSERACT_S = 30
LEAST_CONFIDENCE = 45


def text_of(image: Image.Image) -> tuple[str, str]:
    """Return the text that tesseract is sure of, line by line, and why there is none if so."""
    try:
        import pytesseract
    except ImportError:
        return "", "text is not read without pytesseract: pip install 'llmos[look]'"
    try:
        found: Any = pytesseract.image_to_data(
            _enlarged(image), timeout=TESSERACT_S, output_type=pytesseract.Output.DICT
        )
    except pytesseract.TesseractNotFoundError:
        return "", "text is not read without tesseract: apt-get install tesseract-ocr"
    except (RuntimeError, OSError) as error:  # its own errors, and that of the time limit
        return "", f"its text could not be read: {on_one_line(error)}"
    return _lines(found), ""


def on_one_line(value: Any) -> str:
    """Return a text of a file without line breaks and brackets, so that it looks like no other."""
    kept = (sign if sign.isprintable() and sign not in "[]" else " " for sign in str(value))
    return " ".join("".join(kept).split())


def _enlarged(image: Image.Image) -> Image.Image:
    longer = max(image.size)
    if longer >= SMALL_SIDE:
        return image
    factor = -(-SMALL_SIDE // longer)
    return image.resize((image.width * factor, image.height * factor))


def _lines(found: dict[str, list[Any]]) -> str:
    """Join the words of each line, those left out that are most likely no words."""
    lines: dict[tuple[int, int, int], list[str]] = {}
    for index, word in enumerate(found["text"]):
        is_sure = float(found["conf"][index]) >= LEAST_CONFIDENCE
        if is_sure and any(map(str.isalnum, word)):
            place = tuple(found[part][index] for part in ("block_num", "par_num", "line_num"))
            lines.setdefault(place, []).append(on_one_line(word))
    text = "\n".join(" ".join(words) for words in lines.values())
    return text if sum(map(str.isalnum, text)) > 1 else ""
