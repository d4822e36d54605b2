"""`read_file` on PDF documents: by pages, and hostile ones."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from llmos.sdk import CallContext, RetryCall, ToolFailed
from llmos_tools.files import pdf, read_file
from tests.tools.files import documents
from tests.tools.files.documents import document

LIMIT_CHARS = 4000  # what the model is shown of a result
needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="no tesseract")
NOTE = re.compile(r"\[[^\n]*; read '([^\n]+)' to go on\]\Z")


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    return CallContext(pid=1, workspace=tmp_path)


def read(context: CallContext, data: bytes, place: str = "") -> str:
    (context.workspace / "a.pdf").write_bytes(data)
    return read_file(f"a.pdf{place}", context)


def test_a_short_document_is_read_whole(context: CallContext) -> None:
    text = read(context, document(["one\nline two", "", "three"]))
    assert text == (
        "--- page 1 of 3 ---\none\nline two\n"
        "--- page 2 of 3 ---\n(no text)\n"
        "--- page 3 of 3 ---\nthree\n"
    )


def test_a_document_with_embedded_fonts_keeps_its_letters(context: CallContext) -> None:
    assert "Kites sold: 42 in Zürich" in read(context, documents.report())


def test_following_the_notes_reads_every_page_of_a_long_document(context: CallContext) -> None:
    long_page = "\n".join(f"line {number} of the second page" for number in range(150))
    pages = ["first " * 300, long_page, "third " * 300, "last"]
    text, place = "", "a.pdf"
    (context.workspace / "a.pdf").write_bytes(document(pages))
    while place:
        part = read_file(place, context)
        assert len(part) <= LIMIT_CHARS
        match = NOTE.search(part)
        place = match[1] if match else ""
        text += part[: match.start()] if match else part.removesuffix("[the end of 'a.pdf']")
    plain = re.sub(r"--- page \d of 4 ---\n", "", text)
    assert "".join(plain.split()) == "".join("".join(pages).split())


def test_a_page_is_named_by_its_number_and_a_long_one_by_its_character(
    context: CallContext,
) -> None:
    data = document(["x" * 4000, "two"])
    assert read(context, data).endswith("\n[page 1 of 2; read 'a.pdf:1:3580' to go on]")
    rest = read(context, data, ":1:3580")
    assert rest.startswith("--- page 1 of 2 ---\n" + "x" * 421 + "\n--- page 2 of 2 ---\ntwo\n")
    assert rest.endswith("[the end of 'a.pdf']")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (":9", "'a.pdf' ends before page 9: its last page is 2"),
        (":2:99", "page 2 of 'a.pdf' ends before character 99"),
    ],
)
def test_a_place_after_the_end_says_where_the_end_is(
    context: CallContext, place: str, said: str
) -> None:
    with pytest.raises(RetryCall, match=re.escape(said)):
        read(context, document(["one", "two"]), place)


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-256"])
def test_an_encrypted_document_is_read_where_it_needs_no_password(
    context: CallContext, algorithm: str
) -> None:
    assert "open to all" in read(
        context, document(["open to all"], password="", algorithm=algorithm)
    )
    with pytest.raises(ToolFailed) as caught:
        read(context, document(["closed"], password="secret", algorithm=algorithm))
    assert str(caught.value) == (
        "'a.pdf', a PDF document, is encrypted: save a copy that needs no password"
    )


@pytest.mark.parametrize(
    "data",
    [
        document(["one", "two"])[:500],
        documents.report()[:3000],
        b"%PDF-1.7\n",
        b"%PDF-1.7\n" + bytes(range(256)) * 4000,
    ],
)
def test_a_damaged_document_is_one_line(context: CallContext, data: bytes) -> None:
    with pytest.raises(ToolFailed) as caught:
        read(context, data)
    assert str(caught.value).startswith("'a.pdf', a PDF document, is damaged or cut off: ")
    assert "\n" not in str(caught.value)


@needs_tesseract
def test_the_text_of_a_scanned_page_is_read_in_its_pictures(context: CallContext) -> None:
    assert read(context, documents.scanned(["Kites sold: 42", "", "Total 17 metres"])) == (
        "--- page 1 of 3 ---\n(read from a picture)\nKites sold: 42\n"
        "--- page 2 of 3 ---\n(no text)\n"
        "--- page 3 of 3 ---\n(read from a picture)\nTotal 17 metres\n"
    )


@needs_tesseract
@pytest.mark.parametrize("data", [documents.picture(), documents.scanned([""])])
def test_a_document_without_any_text_says_so(context: CallContext, data: bytes) -> None:
    with pytest.raises(ToolFailed, match=r"no text on any page \(1 in all\), nor in pictures"):
        read(context, data)


def test_a_scanned_page_says_what_would_read_it(
    context: CallContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(context.workspace))
    assert read(context, documents.scanned(["Kites"])) == (
        "--- page 1 of 1 ---\n(text is not read without tesseract: apt-get install tesseract-ocr)\n"
    )


@needs_tesseract
def test_a_sideways_scan_is_turned_upright(context: CallContext) -> None:
    text = read(context, documents.scanned(["Kites sold: 42"], rotation=90))
    assert "Kites sold: 42" in text


@needs_tesseract
def test_a_damaged_picture_is_passed_over(context: CallContext) -> None:
    data = documents.scanned(["first", "second", "third"])
    second = data.index(b"\xff\xd8", data.index(b"\xff\xd8") + 1)
    text = read(context, data[: second + 2] + b"\0" * 600 + data[second + 602 :])
    assert "\nfirst\n--- page 2 of 3 ---\n(a picture could not be opened: " in text
    assert text.endswith("\n--- page 3 of 3 ---\n(read from a picture)\nthird\n")


@needs_tesseract
def test_what_is_left_of_a_page_of_many_pictures_is_told(context: CallContext) -> None:
    text = read(context, documents.strips([f"line {number}" for number in range(10, 28)]))
    assert [f"line {number}" in text for number in range(10, 28)] == [True] * 16 + [False] * 2
    assert "\n(2 more pictures of this page are not read)\n" in text


def test_a_page_that_swells_when_unpacked_is_passed_over(context: CallContext) -> None:
    data = documents.bomb(200_000_000)
    assert read(context, data) == (
        "--- page 1 of 3 ---\nbefore it\n[page 1 of 3; read 'a.pdf:2' to go on]"
    )
    with pytest.raises(ToolFailed) as caught:
        read(context, data, ":2")
    assert str(caught.value) == (
        "page 2 of 'a.pdf' needs more memory than reading it may take; read 'a.pdf:3' to go on"
    )
    assert "after it" in read(context, data, ":3")


def test_a_page_tree_that_doubles_on_each_level_is_refused(context: CallContext) -> None:
    with pytest.raises(ToolFailed, match=r"'a\.pdf', a PDF document, (needs more memory|takes to)"):
        read(context, documents.nested(60))


def test_a_document_that_takes_too_long_is_given_up(
    context: CallContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "LIMIT_S", 1.5)
    with pytest.raises(ToolFailed, match="takes too long to be read"):
        read(context, documents.slow(), ":2")


def test_what_was_read_before_the_process_ended_is_shown(
    context: CallContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying = tmp_path / "dying.py"
    said = '{"num_pages": 5}\n{"page": "one"}\n{"page": "t'
    dying.write_text(f"import os\nprint({said!r}, end='', flush=True)\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(pdf, "READER", dying)
    assert read(context, b"%PDF-1.7\n") == (
        "--- page 1 of 5 ---\none\n[page 1 of 5; read 'a.pdf:2' to go on]"
    )


def test_control_characters_of_a_document_are_left_out(context: CallContext) -> None:
    assert read(context, document(["a\x1b[31mb\x00c"])) == "--- page 1 of 1 ---\na[31mbc\n"
