"""PDF documents as the tests want them, written by pypdf and matplotlib."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

FONT = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}


def document(pages: Sequence[str], *, password: str | None = None, algorithm: str = "RC4-128") -> bytes:
    """Return a document with these texts; a line of a page for each of its lines."""
    writer = PdfWriter()
    for text in pages:
        _add_page(writer, _shown(text))
    if password is not None:
        writer.encrypt(password, "owner", algorithm=algorithm)
    return _bytes(writer)


def bomb(num_bytes: int) -> bytes:
    """Return a document whose second page holds so many bytes of nothing, packed small."""
    writer = PdfWriter()
    _add_page(writer, _shown("before it"))
    page = _add_page(writer, b"")
    _add_page(writer, _shown("after it"))
    packed = zlib.compress(b"q Q " * (num_bytes // 4), 9)
    stream = DecodedStreamObject()
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    stream._data = packed
    page[NameObject("/Contents")] = writer._add_object(stream)
    return _bytes(writer)


def nested(depth: int) -> bytes:
    """Return a document whose page tree doubles on each of its levels."""
    kids = b"".join(
        b"%d 0 obj <</Type/Pages/Count 2/Kids[%d 0 R %d 0 R]>> endobj\n" % (n, n + 1, n + 1)
        for n in range(2, depth + 2)
    )
    last = b"%d 0 obj <</Type/Page/MediaBox[0 0 9 9]>> endobj\n" % (depth + 2)
    return b"%PDF-1.4\n1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj\n" + kids + last + b"trailer <</Root 1 0 R>>\n%%EOF"


def picture() -> bytes:
    """Return a document of one page with a picture and no text, as a scanner writes it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow([[0, 1], [1, 0]])
    return _saved(figure)


def report() -> bytes:
    """Return a document as matplotlib writes it, with a title in one of its embedded fonts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 2))
    figure.suptitle("Kites sold: 42 in Zürich")
    return _saved(figure)


def _saved(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="pdf")
    return file.getvalue()


def _add_page(writer: PdfWriter, content: bytes):
    page = writer.add_blank_page(600, 800)
    font = DictionaryObject({NameObject(key): NameObject(value) for key, value in FONT.items()})
    fonts = DictionaryObject({NameObject("/F1"): font})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream = DecodedStreamObject()
    stream.set_data(content)
    page[NameObject("/Contents")] = writer._add_object(stream)
    return page


def _shown(text: str) -> bytes:
    lines = "".join(f"({line}) Tj T*\n" for line in text.splitlines())
    return f"BT /F1 9 Tf 10 TL 20 780 Td\n{lines}ET".encode("latin-1")


def _bytes(writer: PdfWriter) -> bytes:
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()
