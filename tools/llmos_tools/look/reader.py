"""Opens a picture in a process of its own: what it is, the text in it, and a small clean copy.

Covered: what is no picture, is cut off, is called what it is not, or would fill the memory when
decoded; metadata: format, size, date, camera and orientation are told, a place only that it is
there, and the copy carries none.
Not covered: mistakes of the libraries that decode; they run here, within limits on memory.
"""

from __future__ import annotations

import mimetypes
import resource
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.sdk import ToolFailed
from llmos_kernel.abi import JsonObject
from llmos_tools.files.kinds import kind_of
from llmos_tools.recognition import READ_SIDE, on_one_line, text_of

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "TGA", "AVIF")
MOST_MEMORY = 3 << 30
SHOWN_SIDE = 1024  # of what a model is shown: pixels of the longer side
TESSERACT_S = 30
MOST_TEXT_CHARS = 1500
MOST_FACT_CHARS = 60
MAKE, MODEL, ORIENTATION, CHANGED, EXIF_FOLDER, GPS_FOLDER, TAKEN = (
    0x010F, 0x0110, 0x0112, 0x0132, 0x8769, 0x8825, 0x9003,
)  # fmt: skip
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)
FILMS = {b"\x1a\x45\xdf\xa3": "a film", b"\x00\x00\x01\xba": "a film", b"FLV\x01": "a film"}
BOXES = {
    b"heic": "an HEIC picture", b"heix": "an HEIC picture", b"mif1": "an HEIC picture",
    b"M4A ": "a recording",
}  # fmt: skip


class Reader:
    """The guest of the model host that opens pictures and lets tesseract read them."""

    def __init__(self, checkpoint: str, report: Callable[[str], None]) -> None:
        try:
            from PIL import Image
        except ImportError as error:
            raise ToolFailed("pictures need Pillow: pip install 'llmos[look]'") from error
        Image.MAX_IMAGE_PIXELS = None  # they are counted by the header, before decoding
        warnings.simplefilter("ignore")
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = MOST_MEMORY if most == resource.RLIM_INFINITY else min(MOST_MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))

    def answer(
        self, request: JsonObject, folder: Path, report: Callable[[str], None]
    ) -> JsonObject:
        """Return `facts`, `text` and `problem` (why there is no text); leave `out/picture.png`."""
        name, most = str(request["name"]), request["most_megapixels"]
        assert isinstance(most, int)
        path = folder / "picture"
        image, facts = _opened(path, name, most)
        report("reading the text in it")
        text, problem = text_of(image, TESSERACT_S)
        if len(text) > MOST_TEXT_CHARS:
            text = text[:MOST_TEXT_CHARS] + "..."
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        image.save(folder / "out" / "picture.png")
        return {"facts": facts, "text": text, "problem": problem}


def _opened(path: Path, name: str, most_megapixels: int) -> tuple[Image.Image, str]:
    """Return a picture, upright and without metadata, and what is to be said about its file.

    Raises:
        ToolFailed: it is none, too large or damaged.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as image:
            size = image.size
            # A JPEG is decoded at a fraction of its size, which is all that is needed.
            image.draft("RGB", (READ_SIDE, READ_SIDE))
            _check_size(image.size, name, most_megapixels)
            # Only now: for some formats even metadata is decoded with the pixels.
            facts = _facts(image, size, name)
            return _clean(image), facts
    except UnidentifiedImageError as error:
        raise ToolFailed(_no_picture(path, name)) from error
    except MemoryError as error:
        raise ToolFailed(f"{name!r} needs too much memory: scale it down first") from error
    except DAMAGED as error:
        kind = kind_of(path.read_bytes()[:16], name)
        raise ToolFailed(f"{name!r} is {kind}, but damaged or cut off: {error}") from error


def _check_size(size: tuple[int, int], name: str, most_megapixels: int) -> None:
    width, height = size
    if width * height > most_megapixels * 1_000_000:
        raise ToolFailed(
            f"{name!r} has {width:,} x {height:,} pixels, more than {most_megapixels} million: "
            "scale it down, or raise the setting look.most_megapixels"
        )


def _clean(image: Image.Image) -> Image.Image:
    """Return the pixels alone: upright, bounded, what is transparent on white."""
    from PIL import Image, ImageOps

    image.load()
    image.thumbnail((READ_SIDE, READ_SIDE), reducing_gap=2.0)
    upright = ImageOps.exif_transpose(image)
    if "A" in upright.getbands() or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright)
    if upright.mode.startswith(("I", "F")):
        upright = ImageOps.autocontrast(upright.convert("F").convert("L"))
    clean = Image.new("RGB", upright.size)
    clean.paste(upright.convert("RGB"))
    return clean


def _facts(image: Image.Image, size: tuple[int, int], name: str) -> str:
    from PIL import Image

    width, height = size
    exif = image.getexif()
    if exif.get(ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    kind = image.format or "picture"
    by_name, _ = mimetypes.guess_type(name)
    wrong = by_name is not None and by_name != Image.MIME.get(kind)
    facts = [f"{kind}{f', though named {Path(name).suffix}' if wrong else ''}"]
    facts.append(f"{width} x {height} pixels")
    if getattr(image, "is_animated", False):
        facts.append("animated, the first picture of it")
    taken = exif.get_ifd(EXIF_FOLDER).get(TAKEN) or exif.get(CHANGED)
    camera = " ".join(_shown(exif[tag]) for tag in (MAKE, MODEL) if exif.get(tag))
    facts += [f"taken {_shown(taken)}"] if taken else []
    facts += [f"camera {camera}"] if camera else []
    facts += ["has a place, which is not shown"] if exif.get_ifd(GPS_FOLDER) else []
    return ", ".join(facts)


def _shown(value: Any) -> str:
    return on_one_line(value)[:MOST_FACT_CHARS]


def _no_picture(path: Path, name: str) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if b"<svg" in head:
        return f"{name!r} is an SVG drawing, which is text: read_file shows it; convert it to PNG"
    kind = next((kind for start, kind in FILMS.items() if head.startswith(start)), None)
    if head[4:8] == b"ftyp":
        kind = BOXES.get(head[8:12], "a film")
    kind = kind or ("text" if _is_text(head) else kind_of(head, name))
    if kind.endswith("picture") and kind not in BOXES.values():
        return f"{name!r} is {kind}, but damaged or cut off"
    is_readable = kind in ("text", "a PDF document")
    remedy = "read_file shows it" if is_readable else "give a PNG, JPEG, GIF or WebP picture"
    return f"{name!r} is not a picture that can be opened, but {kind}: {remedy}"


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and head.decode(errors="ignore").encode() == head
