"""What a file that is not text is, by its first bytes, else by its name."""

from __future__ import annotations

import mimetypes

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive (or a document packed as one)",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x7fELF": "a program",
    b"SQLite format 3\0": "an SQLite database",
    b"OggS": "an Ogg recording",
    b"fLaC": "a FLAC recording",
    b"ID3": "an MP3 recording",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
RIFF = {b"WAVE": "a WAV recording", b"WEBP": "a WebP picture", b"AVI ": "an AVI film"}


def kind_of(head: bytes, name: str) -> str:
    """Return the kind in words, `binary data` where nothing tells it."""
    if head.startswith(b"RIFF") and head[8:12] in RIFF:
        return RIFF[head[8:12]]
    known = next((kind for start, kind in SIGNATURES.items() if head.startswith(start)), None)
    by_name, _ = mimetypes.guess_type(name)
    return known or (f"{by_name} by its name" if by_name else "binary data")
