"""`read_file` a page at a time, and what it says of a file that is not text."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from llmos.sdk import CallContext, RetryCall, ToolFailed
from llmos_tools.files import read_file

LIMIT_CHARS = 4000  # what the model is shown of a result
NOTE = re.compile(r"\n?\[[^\n]* read '([^\n]+)' to go on\]\Z")


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    return CallContext(pid=1, workspace=tmp_path)


def pages(path: str, context: CallContext) -> list[str]:
    """Read a file to its end as its notes say, without the notes."""
    texts: list[str] = []
    place = path
    while place:
        text = read_file(place, context)
        assert len(text) <= LIMIT_CHARS
        match = NOTE.search(text)
        place = match[1] if match else ""
        texts.append(text[: match.start() + text[match.start()].count("\n")] if match else text)
    texts[-1] = texts[-1].removesuffix(f"\n[the end of {path!r}]")
    return texts


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"line {number}\n" for number in range(1, 2001)),
        "".join(f"{'x' * (number % 150)}\n" for number in range(400)) + "no end of line",
        "≈" * 10_000,
        "short\n" + "naïve 日本 🎈 " * 1000 + "\nlast\n",
        "\n" * 9000,
        "a\r\nb\r\n" * 2000,
        "a" * 3600,
        "a" * 3600 + "\n",
        "a" * 3599 + "\nb",
    ],
)
def test_following_the_notes_reads_the_whole_file(
    context: CallContext, tmp_path: Path, text: str
) -> None:
    (tmp_path / "notes.txt").write_text(text, newline="")
    read = pages("notes.txt", context)
    joined = "".join(read)
    assert joined.replace("\n", "") == text.replace("\n", "")
    assert len(read) >= len(text) // LIMIT_CHARS


def test_a_long_file_says_which_lines_it_shows_and_how_to_go_on(
    context: CallContext, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{number:>9}\n" for number in range(1, 801)))
    first = read_file("a.txt", context)
    assert first.startswith("        1\n")
    assert first.endswith("[lines 1 to 360 of 800, 8,000 bytes in all; read 'a.txt:361' to go on]")
    assert read_file("a.txt:361", context).startswith("      361\n")
    assert read_file("a.txt:799", context) == "      799\n      800\n\n[the end of 'a.txt']"


def test_a_long_line_is_read_on_by_its_character(context: CallContext, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n" + "≈" * 5000)
    first = read_file("a.txt", context)
    assert first.endswith("read 'a.txt:2' to go on]")
    second = read_file("a.txt:2", context)
    assert second.startswith("≈" * 3600 + "\n[line 2 of 2")
    assert second.endswith("read 'a.txt:2:3601' to go on]")
    assert read_file("a.txt:2:3601", context).startswith("≈" * 1400 + "\n[the end")


def test_a_short_file_is_read_whole_and_without_a_note(
    context: CallContext, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("")
    assert read_file("a.txt", context) == ""
    (tmp_path / "a.txt").write_text("x" * 3600)
    assert read_file("a.txt", context) == "x" * 3600


def test_a_file_whose_name_ends_like_a_place_is_read(context: CallContext, tmp_path: Path) -> None:
    (tmp_path / "log:12").write_text("odd name")
    assert read_file("log:12", context) == "odd name"


def test_a_place_after_the_end_says_where_the_end_is(context: CallContext, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(RetryCall, match=r"'a.txt' ends before line 9: it has 2 lines"):
        read_file("a.txt:9", context)
    with pytest.raises(ToolFailed, match=r"there is no file 'b.txt'; there is 'a.txt'"):
        read_file("b.txt:9", context)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("x", b"\x89PNG\r\n\x1a\n\0\0", "a PNG picture"),
        ("x", b"\xff\xd8\xff\xe0", "a JPEG picture"),
        ("x", b"RIFF\xff\xff\0\0WAVEfmt ", "a WAV recording"),
        ("x", "text".encode("utf-16"), "text in UTF-16"),
        ("x.bin", b"\0" * 10, "application/octet-stream by its name"),
        ("x", b"caf\xe9", "binary data"),
        ("late", b"text\n" * 5000 + b"\xff", "binary data"),
    ],
)
def test_what_is_not_text_is_named_with_its_size(
    context: CallContext, tmp_path: Path, name: str, data: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ToolFailed) as caught:
        read_file(name, context)
    assert str(caught.value) == f"{name!r} is not text in UTF-8 but {kind} of {len(data):,} bytes"


def test_a_file_of_hundreds_of_megabytes_shows_its_first_page(
    context: CallContext, tmp_path: Path
) -> None:
    with (tmp_path / "big.txt").open("wb") as file:
        file.write(b"head\n" * 1000)
        file.truncate(300_000_000)
    started = time.monotonic()
    text = read_file("big.txt", context)
    assert text.endswith("[lines 1 to 720, 300,000,000 bytes in all; read 'big.txt:721' to go on]")
    assert time.monotonic() - started < 2


def test_a_binary_file_of_a_hundred_megabytes_is_recognised_at_once(
    context: CallContext, tmp_path: Path
) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ToolFailed, match="binary data of 100,000,000 bytes"):
        read_file("big", context)
