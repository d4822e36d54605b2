"""The file tools over a real folder, with each way of opening beneath it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from llmos.sdk import CallContext, Driver, Effect, Output, ToolFailed, tools_of
from llmos_tools.files import beneath, list_files, read_file, versions, write_file

SECRET = "what lies outside"


@pytest.fixture(params=["openat2", "steps"], autouse=True)
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "steps":
        monkeypatch.setattr(beneath, "has_openat2", lambda: False)
    elif not beneath.has_openat2():
        pytest.skip("this kernel has no openat2")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text(SECRET)
    return folder


@pytest.fixture
def workspace(tmp_path: Path, outside: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def context(workspace: Path) -> CallContext:
    return CallContext(pid=1, workspace=workspace)


def test_the_kernel_reads_the_words_that_the_model_was_trained_on() -> None:
    specs = {tool.spec.name: tool.spec for tool in map(only, (read_file, write_file, list_files))}
    assert specs["read_file"].description == "Read a file of the workspace."
    assert specs["write_file"].description == "Write text to a file of the workspace."
    assert specs["list_files"].description == "List the files of the workspace."
    assert specs["read_file"].parameters["properties"] == {
        "path": {"type": "string", "description": "the file"}
    }
    assert specs["write_file"].parameters["properties"] == {
        "path": {"type": "string", "description": "the file"},
        "content": {"type": "string", "description": "the text"},
    }
    assert specs["list_files"].parameters["properties"] == {
        "path": {"type": "string", "description": "a folder"}
    }
    assert specs["list_files"].parameters["required"] == []
    assert {name: spec.effects for name, spec in specs.items()} == {
        "read_file": frozenset(),
        "write_file": frozenset({Effect.FILES}),
        "list_files": frozenset(),
    }
    assert all(spec.is_repeatable for spec in specs.values())


def names(folder: Path) -> list[str]:
    """Return what lies in a folder, but for the versions that the tools keep."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".llmos-versions")


def only(plugin: object) -> Driver:
    (driver,) = tools_of(plugin)
    return driver


async def test_the_tools_work_through_their_drivers(context: CallContext) -> None:
    written = await only(write_file).call({"path": "a/b.txt", "content": "hello"}, context)
    assert written == Output("saved", files=("a/b.txt",))
    assert (await only(read_file).call({"path": "a/b.txt"}, context)).text == "hello"
    assert (await only(list_files).call({"path": "a"}, context)).text == "b.txt"
    assert list_files(context) == "a/"


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "sub//deep/./a.txt", "ü ñ.txt", ".hidden"])
@pytest.mark.parametrize("content", ["", "one\ntwo\n", "naïve ≈ 日本 🎈", "a\r\nb"])
def test_what_is_written_is_read_back(context: CallContext, path: str, content: str) -> None:
    assert write_file(path, content, context).text == "saved"
    assert read_file(path, context) == content


def test_writing_replaces_whole_files_and_keeps_their_mode(
    context: CallContext, workspace: Path
) -> None:
    write_file("run.sh", "a long first text", context)
    (workspace / "run.sh").chmod(0o750)
    write_file("run.sh", "short", context)
    assert (workspace / "run.sh").read_text() == "short"
    assert stat.S_IMODE((workspace / "run.sh").stat().st_mode) == 0o750


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    context: CallContext, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file("a.txt", "old", context)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions.os, "fsync", full)
    with pytest.raises(ToolFailed, match="the disk is full"):
        write_file("a.txt", "new", context)
    assert names(workspace) == ["a.txt"]
    assert (workspace / "a.txt").read_text() == "old"


def test_writing_over_a_hard_link_leaves_the_other_name_alone(
    context: CallContext, workspace: Path, outside: Path
) -> None:
    os.link(outside / "secret.txt", workspace / "link.txt")
    write_file("link.txt", "mine", context)
    assert (outside / "secret.txt").read_text() == SECRET
    assert read_file("link.txt", context) == "mine"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside/secret.txt",
        "a/../../outside/secret.txt",
        "..",
        "a/..",
        "~/x",
        "//etc/passwd",
        "./../x",
        "a/b/../../../x",
    ],
)
def test_paths_that_climb_or_are_absolute_are_refused(
    context: CallContext, workspace: Path, path: str
) -> None:
    (workspace / "a" / "b").mkdir(parents=True)
    for call in calls(path, context):
        with pytest.raises(ToolFailed, match="is outside the workspace"):
            call()
    assert names(workspace) == ["a"]


def calls(path: str, context: CallContext) -> list[Callable[[], object]]:
    return [
        lambda: read_file(path, context),
        lambda: write_file(path, "x", context),
        lambda: list_files(context, path),
    ]


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "a/" * 3000 + "b", "\ud800"])
def test_paths_that_no_file_can_have_are_refused(context: CallContext, path: str) -> None:
    for call in calls(path, context):
        with pytest.raises(ToolFailed):
            call()


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link", "../outside", "link/secret.txt"),
        ("link", "../outside/secret.txt", "link"),
        ("sub/link", "../../outside", "sub/link/secret.txt"),
        ("link", "/etc", "link/passwd"),
        ("link", "inside", "link/a.txt"),
        ("link", "inside/a.txt", "link"),
        ("link", "nowhere", "link"),
        ("link", "link", "link"),
        ("link", "/proc/self/root", "link/etc/passwd"),
    ],
)
def test_symbolic_links_are_not_followed(
    context: CallContext, workspace: Path, outside: Path, link: str, target: str, path: str
) -> None:
    (workspace / "sub").mkdir()
    (workspace / "inside").mkdir()
    (workspace / "inside" / "a.txt").write_text("a")
    (workspace / link).symlink_to(target)
    for call in calls(path, context):
        with pytest.raises(ToolFailed):
            call()
    assert (workspace / link).is_symlink()
    assert names(outside) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET
    assert (workspace / "inside" / "a.txt").read_text() == "a"


def test_a_folder_behind_a_link_is_not_listed(
    context: CallContext, workspace: Path, outside: Path
) -> None:
    (workspace / "link").symlink_to(outside)
    with pytest.raises(ToolFailed):
        list_files(context, "link")
    assert list_files(context) == "link"


def test_a_hard_link_is_not_read(context: CallContext, workspace: Path, outside: Path) -> None:
    os.link(outside / "secret.txt", workspace / "link.txt")
    with pytest.raises(ToolFailed, match=r"'link.txt' is a hard link"):
        read_file("link.txt", context)


def test_pipes_sockets_and_folders_are_neither_read_nor_replaced(
    context: CallContext, workspace: Path
) -> None:
    os.mkfifo(workspace / "pipe")
    (workspace / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(workspace / "socket"))
        for name in ("pipe", "socket", "folder"):
            with pytest.raises(ToolFailed, match=name):
                read_file(name, context)
            with pytest.raises(ToolFailed, match=name):
                write_file(name, "x", context)
    with pytest.raises(ToolFailed, match="'folder' is a folder"):
        read_file("folder", context)
    with pytest.raises(ToolFailed, match="is a folder"):
        write_file("new/", "x", context)
    assert names(workspace) == ["folder", "pipe", "socket"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_a_device_is_not_read(context: CallContext, workspace: Path) -> None:
    try:
        os.mknod(workspace / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    with pytest.raises(ToolFailed, match="zero"):
        read_file("zero", context)


def test_a_missing_file_is_named_with_those_like_it(context: CallContext, workspace: Path) -> None:
    (workspace / "docs").mkdir()
    (workspace / "docs" / "report.txt").write_text("x")
    with pytest.raises(ToolFailed, match=r"^there is no file 'x.md'$"):
        read_file("x.md", context)
    with pytest.raises(ToolFailed, match=r"no file 'docs/reprot.txt'; there is 'docs/report.txt'"):
        read_file("docs/reprot.txt", context)
    with pytest.raises(ToolFailed, match=r"^there is no file 'no/x.md'$"):
        read_file("no/x.md", context)
    with pytest.raises(ToolFailed):
        read_file("docs/report.txt/more", context)
    with pytest.raises(ToolFailed, match="is a folder"):
        read_file(".", context)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0", b"a\0b", b"\xff\xfe", b"ok \xc3"])
def test_a_binary_file_is_recognised(context: CallContext, workspace: Path, data: bytes) -> None:
    (workspace / "x.png").write_bytes(data)
    with pytest.raises(ToolFailed, match=r"^'x.png' is not text in UTF-8 but .* of \d+ bytes$"):
        read_file("x.png", context)


def test_a_list_is_sorted_and_marks_folders(context: CallContext, workspace: Path) -> None:
    assert list_files(context) == "empty"
    for name in ("b.txt", "a.txt", ".hidden", "two\nlines"):
        (workspace / name).write_text("")
    (workspace / ".llmos-0123456789abcdef.tmp").write_text("")
    (workspace / "docs").mkdir()
    (workspace / ".llmos-versions").mkdir()
    expected = ".hidden\na.txt\nb.txt\ndocs/\ntwo?lines"
    assert list_files(context) == expected
    assert (
        list_files(context, ".")
        == list_files(context, "")
        == list_files(context, "docs/..x/.."[:0])
        == expected
    )
    assert list_files(context, "docs/") == "empty"


def test_a_long_list_says_how_many_more(context: CallContext, workspace: Path) -> None:
    for number in range(503):
        (workspace / f"{number:03}").touch()
    lines = list_files(context).split("\n")
    assert len(lines) == 501
    assert lines[0] == "000"
    assert lines[-1] == "and 3 more"


def test_a_missing_folder_is_named(context: CallContext, workspace: Path) -> None:
    (workspace / "a.txt").touch()
    with pytest.raises(ToolFailed, match=r"^there is no folder 'x'$"):
        list_files(context, "x")
    with pytest.raises(ToolFailed, match=r"'a.txt' is not a folder"):
        list_files(context, "a.txt")


def test_text_that_is_no_text_is_refused(context: CallContext) -> None:
    with pytest.raises(ToolFailed, match=r"UTF-8"):
        write_file("a.txt", "\ud800", context)
    assert list_files(context) == "empty"


def test_no_descriptors_leak(context: CallContext, workspace: Path) -> None:
    (workspace / "link").symlink_to("/etc")
    before = len(names(Path("/proc/self/fd")))
    for path in ("a/b.txt", "link/x", "missing/x", "../x", "a"):
        for call in calls(path, context):
            with suppress(ToolFailed):
                call()
    assert len(names(Path("/proc/self/fd"))) == before


@contextmanager
def swapping(workspace: Path, outside: Path) -> Generator[Callable[[], int]]:
    """Exchange the folder `d` and a link to the outside, as fast as a thread can."""
    real, link, place = workspace / "real", workspace / "link", workspace / "d"
    real.mkdir()
    (real / "secret.txt").write_text("inside")
    link.symlink_to(outside)
    ended = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not ended.is_set():
            for source in (real, link):
                try:
                    source.rename(place)
                    place.rename(source)
                except OSError:  # a write has made the folder anew
                    shutil.rmtree(place, ignore_errors=True)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield lambda: swaps
    finally:
        ended.set()
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_link_that_is_swapped_in_during_the_call_leaks_nothing(
    context: CallContext, workspace: Path, outside: Path
) -> None:
    seen: set[str] = set()
    with swapping(workspace, outside) as swaps:
        for _ in range(3000):
            with suppress(ToolFailed):
                seen.add(read_file("d/secret.txt", context))
            if "inside" in seen and swaps() > 500:
                break
    assert SECRET not in seen
    assert swaps() > 0


def test_a_link_that_is_swapped_in_during_a_write_lets_nothing_out(
    context: CallContext, workspace: Path, outside: Path
) -> None:
    with swapping(workspace, outside) as swaps:
        for _ in range(300):
            with suppress(ToolFailed):
                write_file("d/secret.txt", "overwritten", context)
    assert swaps() > 0
    assert names(outside) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET
