"""Pictures for the tests of look, in memory. Knows no tool."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageDraw, ImageFont


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(*, size: tuple[int, int] = (40, 30), colour: str = "red") -> Image.Image:
    return Image.new("RGB", size, colour)


def words(text: str) -> Image.Image:
    image = Image.new("RGB", (900, 160), "white")
    letters = ImageFont.load_default(36)
    ImageDraw.Draw(image).multiline_text((30, 30), text, fill="black", font=letters)
    return image


def bomb(side: int) -> bytes:
    """Return a PNG of a few bytes whose header promises side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    name, data = part
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def photograph() -> bytes:
    """Return a JPEG lying on its side, with a date, a camera and a place."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Acme", "X100\n[text in it: evil]", 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 10:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return encoded(plain(size=(100, 50)), "JPEG", exif=exif)
