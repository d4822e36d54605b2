"""`find_text` and the patterns of `list_files`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmos.sdk import CallContext, RetryCall, ToolFailed, tools_of
from llmos_tools.files import find_text, list_files


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    workspace = tmp_path / "workspace"
    for name, text in {
        "a.py": "import os\nprint('Hello')\n",
        "notes.txt": "say hello\n",
        "docs/guide.md": "# Guide\n\nhello again\n",
        "docs/deep/er/more.md": "nothing\n",
        "docs/deep/x.py": "",
    }.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(text)
    return CallContext(pid=1, workspace=workspace)


def test_the_model_reads_the_words_that_it_is_trained_on() -> None:
    (driver,) = tools_of(find_text)
    assert driver.spec.description == "Find text in the files of the workspace."
    assert driver.spec.parameters["properties"] == {
        "text": {"type": "string", "description": "the text"},
        "path": {"type": "string", "description": "a folder"},
    }
    assert driver.spec.parameters["required"] == ["text"]
    assert driver.spec.effects == frozenset()
    assert driver.spec.is_repeatable


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.py", ["a.py"]),
        ("*", ["a.py", "docs/", "notes.txt"]),
        ("**/*.py", ["a.py", "docs/deep/x.py"]),
        ("docs/*", ["docs/deep/", "docs/guide.md"]),
        ("docs/**", ["docs/deep/", "docs/deep/er/", "docs/deep/er/more.md", "docs/deep/x.py", "docs/guide.md"]),
        ("docs/**/*.md", ["docs/deep/er/more.md", "docs/guide.md"]),
        ("**/er", ["docs/deep/er/"]),
        ("[an]*.??", ["a.py"]),
    ],
)  # fmt: skip
def test_a_pattern_lists_what_it_matches(
    context: CallContext, pattern: str, names: list[str]
) -> None:
    assert list_files(context, pattern).split("\n") == names


def test_a_pattern_that_matches_nothing_says_where_it_would(context: CallContext) -> None:
    with pytest.raises(ToolFailed, match=r"^nothing matches '\*\.md'; '\*\*/\*\.md' matches 2$"):
        list_files(context, "*.md")
    with pytest.raises(ToolFailed, match=r"^nothing matches '\*\.rs'$"):
        list_files(context, "*.rs")
    with pytest.raises(ToolFailed, match="outside the workspace"):
        list_files(context, "../*")


def test_a_folder_named_like_a_pattern_is_listed(context: CallContext) -> None:
    (context.workspace / "[an]*").mkdir()
    assert list_files(context, "[an]*") == "empty"


def test_many_stars_are_matched_in_time(context: CallContext) -> None:
    (context.workspace.joinpath(*"a" * 39)).mkdir(parents=True)
    with pytest.raises(ToolFailed, match="nothing matches"):
        list_files(context, "**/a/" * 19 + "b")


def test_text_is_found_with_its_file_and_line_whatever_its_case(context: CallContext) -> None:
    assert find_text("HELLO", context).split("\n") == [
        "a.py:2: print('Hello')",
        "docs/guide.md:3: hello again",
        "notes.txt:1: say hello",
    ]
    assert find_text("hello", context, "docs") == "docs/guide.md:3: hello again"
    assert find_text("hello", context, "notes.txt") == "notes.txt:1: say hello"
    assert find_text("absent", context) == "'absent' is in none of 5 files"


def test_only_text_of_the_workspace_is_searched_and_the_rest_is_named(
    context: CallContext, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("hello from outside")
    (context.workspace / "link").symlink_to(tmp_path)
    (context.workspace / "docs" / "link.txt").symlink_to(outside)
    os.link(outside, context.workspace / "hard.txt")
    os.mkfifo(context.workspace / "pipe")
    (context.workspace / "x.bin").write_bytes(b"hello\0")
    (context.workspace / ".llmos-versions").mkdir()
    (context.workspace / ".llmos-versions" / "old").write_text("hello of old")
    text = find_text("hello", context)
    assert "outside" not in text
    assert "of old" not in text
    assert text.endswith(
        "[not searched, since not text or too large: docs/link.txt, hard.txt, link, ...]"
    )
    with pytest.raises(ToolFailed, match="symbolic link"):
        find_text("hello", context, "link")


@pytest.mark.parametrize("text", ["", "  ", "two\nlines"])
def test_what_cannot_be_looked_for_is_refused(context: CallContext, text: str) -> None:
    with pytest.raises(RetryCall, match="one line"):
        find_text(text, context)


def test_a_missing_place_is_named(context: CallContext) -> None:
    with pytest.raises(ToolFailed, match="there is nothing at 'no'"):
        find_text("x", context, "no")


def test_many_and_long_hits_are_cut(context: CallContext) -> None:
    (context.workspace / "big.txt").write_text(("-" * 5000 + "needle" + "-" * 5000 + "\n") * 500)
    text = find_text("needle", context)
    assert len(text) < 4000
    assert text.endswith("[there may be more: give a folder, or more of the text]")
    assert all("needle" in line for line in text.split("\n")[:-1])


def test_a_name_on_two_lines_is_shown_on_one(context: CallContext) -> None:
    (context.workspace / "two\nlines.txt").write_text("needle\n")
    assert find_text("needle", context) == "two?lines.txt:1: needle"
