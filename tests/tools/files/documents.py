"""PDF documents as the tests want them, written by pypdf and matplotlib."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from pypdf import PdfReader, PdfWriter, Transformation
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

FONT = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}


def document(
    pages: Sequence[str], *, password: str | None = None, algorithm: str = "RC4-128"
) -> bytes:
    """Return a document with these texts; a line of a page for each of its lines."""
    writer = PdfWriter()
    for text in pages:
        _add_page(writer, _shown(text))
    if password is not None:
        writer.encrypt(password, "owner", algorithm=algorithm)
    return _bytes(writer)


def bomb(num_bytes: int) -> bytes:
    """Return a document whose second of three pages holds so many bytes, packed small."""
    return _with_second_page(b"q Q " * (num_bytes // 4))


def slow() -> bytes:
    """Return a document whose second of three pages takes more than ten seconds to read."""
    return _with_second_page(b"BT /F1 9 Tf (kite) Tj ET\n" * 1_000_000)


def nested(depth: int) -> bytes:
    """Return a document whose page tree doubles on each of its levels."""
    kids = [
        b"<</Type/Pages/Count 2/Kids[%d 0 R %d 0 R]>>" % (number, number)
        for number in range(3, depth + 3)
    ]
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", *kids, b"<</Type/Page/MediaBox[0 0 9 9]>>"]
    data, places = b"%PDF-1.4\n", b""
    for number, content in enumerate(objects, 1):
        places += b"%010d 00000 n \n" % len(data)
        data += b"%d 0 obj %s endobj\n" % (number, content)
    table = b"xref\n0 %d\n%010d 65535 f \n%s" % (len(objects) + 1, 0, places)
    trailer = b"trailer <</Root 1 0 R/Size %d>>" % (len(objects) + 1)
    return data + table + trailer + b"\nstartxref\n%d\n%%%%EOF" % len(data)


def picture() -> bytes:
    """Return a document of one page with a picture and no text, as a scanner writes it."""
    figure = Figure(figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow([[0, 1], [1, 0]])
    return _saved(figure)


def scanned(pages: Sequence[str], rotation: int = 0) -> bytes:
    """Return a document of pictures of pages with these texts, as a scanner writes it.

    `rotation` is by how many degrees a reader has to turn the pages.
    """
    sheets = [_sheet(text, (1000, 1400)).rotate(rotation, expand=True) for text in pages]
    file = io.BytesIO()
    sheets[0].save(file, format="PDF", save_all=True, append_images=sheets[1:])
    writer = PdfWriter(clone_from=file)
    for page in writer.pages:
        page.rotate(rotation)
    return _bytes(writer)


def strips(texts: Sequence[str]) -> bytes:
    """Return a document of one page that is put together of pictures of these texts."""
    writer = PdfWriter()
    for text in texts:
        file = io.BytesIO()
        _sheet(text, (600, 200)).save(file, format="PDF")
        page = PdfReader(file).pages[0]
        if not writer.pages:
            writer.add_blank_page(600, 200 * len(texts))
        place = Transformation().translate(ty=200 * len(texts))
        writer.pages[0].merge_transformed_page(page, place)
    return _bytes(writer)


def _sheet(text: str, size: tuple[int, int]) -> Image.Image:
    sheet = Image.new("L", size, "white")
    ImageDraw.Draw(sheet).text((80, 100), text, "black", ImageFont.load_default(40))
    return sheet


def report() -> bytes:
    """Return a document as matplotlib writes it, with a title in one of its embedded fonts."""
    figure = Figure(figsize=(4, 2))
    figure.suptitle("Kites sold: 42 in Zürich")
    return _saved(figure)


def _with_second_page(content: bytes) -> bytes:
    writer = PdfWriter()
    _add_page(writer, _shown("before it"))
    _add_page(writer, zlib.compress(content), packed_by="/FlateDecode")
    _add_page(writer, _shown("after it"))
    return _bytes(writer)


def _saved(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="pdf")
    return file.getvalue()


def _add_page(writer: PdfWriter, content: bytes, *, packed_by: str | None = None) -> None:
    page = writer.add_blank_page(600, 800)
    font = DictionaryObject({NameObject(key): NameObject(value) for key, value in FONT.items()})
    fonts = DictionaryObject({NameObject("/F1"): font})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream = DecodedStreamObject()
    stream.set_data(content)
    if packed_by is not None:
        stream[NameObject("/Filter")] = NameObject(packed_by)
    page[NameObject("/Contents")] = writer._add_object(stream)


def _shown(text: str) -> bytes:
    lines = "".join(f"({line}) Tj T*\n" for line in text.splitlines())
    return f"BT /F1 9 Tf 10 TL 20 780 Td\n{lines}ET".encode("latin-1")


def _bytes(writer: PdfWriter) -> bytes:
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()
