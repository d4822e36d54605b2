"""`edit_file`, `restore_file`, and the versions that every change leaves behind."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmos.sdk import CallContext, Effect, RetryCall, ToolFailed, tools_of
from llmos_tools.files import edit_file, list_files, read_file, restore_file, versions, write_file


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return CallContext(pid=1, workspace=workspace)


def test_the_model_reads_the_words_that_it_is_trained_on() -> None:
    (edit,), (restore,) = tools_of(edit_file), tools_of(restore_file)
    assert edit.spec.description == "Replace text in a file."
    assert edit.spec.parameters["properties"] == {
        "path": {"type": "string", "description": "the file"},
        "old": {"type": "string", "description": "the text there"},
        "new": {"type": "string", "description": "the text to put there"},
    }
    assert restore.spec.description == "Bring back an earlier version of a file."
    assert restore.spec.parameters["properties"] == {
        "path": {"type": "string", "description": "the file"}
    }
    for spec in (edit.spec, restore.spec):
        assert spec.effects == {Effect.FILES}
        assert not spec.is_repeatable


@pytest.mark.parametrize(
    ("before", "old", "new", "after", "line"),
    [
        ("one\ntwo\nthree\n", "two", "2", "one\n2\nthree\n", 2),
        ("one\ntwo\n", "one\ntwo\n", "", "", 1),
        ("a\r\nb\r\nc", "b\nc", "x\ny", "a\r\nx\r\ny", 2),
        ("naïve ≈ 日本", "≈ 日", "=", "naïve =本", 1),
        ("x" * 100_000 + "end", "xend", "X", "x" * 99_999 + "X", 1),
    ],
)
def test_the_one_place_is_replaced(
    context: CallContext, before: str, old: str, new: str, after: str, line: int
) -> None:
    (context.workspace / "a.txt").write_text(before, newline="")
    output = edit_file("a.txt", old, new, context)
    assert output.text == f"replaced on line {line}"
    assert output.files == ("a.txt",)
    assert (context.workspace / "a.txt").read_bytes().decode() == after


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("", "x", "'old' is empty"),
        ("two", "two", "are the same"),
        ("e", "x", "'e' stands 3 times in 'a.txt', on lines 1, 3, 3: give more"),
        ("twoo", "x", "'twoo' is not in 'a.txt'; line 2 is most like it: 'two'"),
        ("zzzzzz", "x", "'zzzzzz' is not in 'a.txt'$"),
    ],
)
def test_an_edit_that_is_not_clear_changes_nothing_and_says_why(
    context: CallContext, old: str, new: str, why: str
) -> None:
    (context.workspace / "a.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(RetryCall, match=why):
        edit_file("a.txt", old, new, context)
    assert (context.workspace / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_overlapping_places_count_as_two(context: CallContext) -> None:
    write_file("a.txt", "aaa", context)
    with pytest.raises(RetryCall, match="stands 2 times"):
        edit_file("a.txt", "aa", "b", context)


def test_what_cannot_be_edited_is_named(context: CallContext, tmp_path: Path) -> None:
    (context.workspace / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (context.workspace / "folder").mkdir()
    (tmp_path / "outside").write_text("x")
    (context.workspace / "link").symlink_to(tmp_path / "outside")
    with (context.workspace / "big").open("wb") as file:
        file.truncate(100_000_000)
    for path, why in {
        "x.png": "PNG picture",
        "folder": "is a folder",
        "missing": "there is no file 'missing': write_file makes one",
        "link": "symbolic link",
        "../outside": "outside the workspace",
        "big": "100,000,000 bytes, 10,000,000 can be edited",
        "a\nb": "is not a path",
        ".llmos-versions/x": "restore_file",
    }.items():
        with pytest.raises(ToolFailed, match=why):
            edit_file(path, "x", "y", context)
    assert (tmp_path / "outside").read_text() == "x"


def test_restoring_steps_back_version_by_version(context: CallContext) -> None:
    for text in ("one", "two", "three"):
        write_file("a.txt", text, context)
    assert restored(context) == "two"
    assert restored(context) == "one"
    with pytest.raises(ToolFailed, match=r"there is no earlier version of 'a.txt'"):
        restore_file("a.txt", context)
    assert read_file("a.txt", context) == "one"


def restored(context: CallContext) -> str:
    assert restore_file("a.txt", context).files == ("a.txt",)
    return read_file("a.txt", context)


def test_what_was_undone_is_a_version_too(context: CallContext) -> None:
    for text in ("one", "two", "three"):
        write_file("a.txt", text, context)
    assert [restored(context), restored(context)] == ["two", "one"]
    write_file("a.txt", "four", context)
    assert [restored(context) for _ in range(4)] == ["one", "three", "two", "one"]


def test_a_text_that_comes_again_is_a_version_of_its_own(context: CallContext) -> None:
    for text in ("A", "B", "A"):
        write_file("a.txt", text, context)
    assert [restored(context), restored(context)] == ["B", "A"]
    write_file("a.txt", "C", context)
    write_file("a.txt", "A", context)
    assert restored(context) == "C"


def test_a_change_by_another_program_is_kept_when_restoring(context: CallContext) -> None:
    write_file("a.txt", "one", context)
    write_file("a.txt", "two", context)
    assert restored(context) == "one"
    (context.workspace / "a.txt").write_text("by hand")
    assert [restored(context), restored(context)] == ["two", "one"]
    write_file("a.txt", "last", context)
    assert [restored(context), restored(context)] == ["one", "by hand"]


def test_writing_the_same_again_makes_no_version(context: CallContext) -> None:
    write_file("a.txt", "one", context)
    write_file("a.txt", "two", context)
    write_file("a.txt", "two", context)
    assert restored(context) == "one"


def test_a_deleted_file_comes_back(context: CallContext) -> None:
    write_file("docs/a.txt", "one", context)
    write_file("docs/a.txt", "two", context)
    (context.workspace / "docs" / "a.txt").unlink()
    (context.workspace / "docs").rmdir()
    restore_file("docs/a.txt", context)
    assert read_file("docs/a.txt", context) == "one"


def test_an_edit_is_undone_with_the_files_mode(context: CallContext) -> None:
    (context.workspace / "run.sh").write_bytes(b"\xff\0 any bytes")
    (context.workspace / "run.sh").chmod(0o750)
    write_file("run.sh", "text", context)
    restore_file("run.sh", context)
    assert (context.workspace / "run.sh").read_bytes() == b"\xff\0 any bytes"
    assert stat.S_IMODE((context.workspace / "run.sh").stat().st_mode) == 0o750


def test_without_versions_restoring_makes_nothing(context: CallContext) -> None:
    (context.workspace / "a.txt").write_text("only")
    for path in ("a.txt", "no/b.txt"):
        with pytest.raises(ToolFailed, match=f"there is no earlier version of {path!r}"):
            restore_file(path, context)
    assert [path.name for path in context.workspace.iterdir()] == ["a.txt"]


def test_versions_are_out_of_the_models_sight(context: CallContext) -> None:
    write_file("a.txt", "one", context)
    write_file("a.txt", "two", context)
    assert list_files(context) == "a.txt"
    assert list_files(context, "**") == "a.txt"
    hidden = ".llmos-versions/x"
    for call in (
        lambda: read_file(hidden, context),
        lambda: restore_file(hidden, context),
        lambda: write_file(hidden, "x", context),
    ):
        with pytest.raises(ToolFailed, match="restore_file brings back versions"):
            call()


def test_what_is_linked_from_outside_is_not_copied_into_a_version(
    context: CallContext, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    os.link(tmp_path / "secret.txt", context.workspace / "a.txt")
    write_file("a.txt", "mine", context)
    with pytest.raises(ToolFailed, match="no earlier version"):
        restore_file("a.txt", context)
    assert (tmp_path / "secret.txt").read_text() == "secret"


class Crash(BaseException):
    """Stands for the end of the whole process: nothing may clean up after it."""


SYSTEM_CALLS = ("open", "replace", "fsync", "unlink", "mkdir")


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a way to end the process before its n-th change of the disk."""
    real = {name: getattr(os, name) for name in SYSTEM_CALLS}

    def crash_at(number: int) -> None:
        left = number

        def wrapped(name: str) -> Any:
            def call(*args: Any, **keywords: Any) -> Any:
                nonlocal left
                left -= 1
                if left <= 0:
                    raise Crash
                return real[name](*args, **keywords)

            return call

        for name in SYSTEM_CALLS:
            monkeypatch.setattr(versions.os, name, wrapped(name))

    yield crash_at
    monkeypatch.undo()


@pytest.mark.parametrize("number", range(1, 16))
@pytest.mark.parametrize("change", ["write", "restore"])
def test_a_crash_at_any_point_loses_neither_text(
    context: CallContext,
    crashing: Any,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    number: int,
) -> None:
    write_file("a.txt", "one", context)
    write_file("a.txt", "two", context)
    crashing(number)
    try:
        if change == "write":
            write_file("a.txt", "three", context)
        else:
            restore_file("a.txt", context)
    except Crash:
        pass
    monkeypatch.undo()
    present = read_file("a.txt", context)
    assert present in ({"two", "three"} if change == "write" else {"two", "one"})
    write_file("a.txt", "four", context)
    seen = [restored(context)]
    while len(seen) < 3 and "one" not in seen:
        seen.append(restored(context))
    assert seen[0] == present
    assert "one" in seen


def test_a_full_disk_changes_nothing(context: CallContext, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file("a.txt", "one", context)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions.shutil, "copyfileobj", full)
    for call in (
        lambda: write_file("a.txt", "two", context),
        lambda: edit_file("a.txt", "o", "O", context),
    ):
        with pytest.raises(ToolFailed, match=r"^the disk is full; nothing was changed$"):
            call()
    monkeypatch.undo()
    assert read_file("a.txt", context) == "one"
    assert not list(context.workspace.rglob("*.tmp"))


def test_edits_at_once_all_take_effect(context: CallContext) -> None:
    write_file("a.txt", "".join(f"<{number}>\n" for number in range(20)), context)
    threads = [
        threading.Thread(target=edit_file, args=("a.txt", f"<{number}>", f"({number})", context))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert read_file("a.txt", context) == "".join(f"({number})\n" for number in range(20))
