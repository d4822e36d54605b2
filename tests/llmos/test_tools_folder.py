"""Plugins of the user's folder `tools.d`: in a sandbox of their own, unless their content is trusted."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from llmos.config import load_settings
from llmos.model_host import ModelHost
from llmos.plugins import discover_tools
from llmos.sandbox.bubblewrap import sandbox_problem
from llmos_kernel.abi import CallContext, Driver, Effect, Output
from llmos_kernel.errors import RetryCall, ToolFailed
from llmos_kernel.syscalls import OwnedDriver

PLUGIN = '''
import os, socket, sys, time
from pathlib import Path
from llmos import CallContext, Effect, Media, Output, RetryCall, ToolFailed, tool

calls = []

@tool(effects=[], max_output_chars=50, timeout_s=3, keywords=["tally"])
def count(word: str) -> str:
    """Count the calls.

    Args:
        word: any word
    """
    print("not a reply")
    calls.append(word)
    return f"{word} {len(calls)}"

@tool
def draw() -> list:
    """Draw two pictures."""
    return ["here", Media(b"one", "image/png"), Media(b"two", "image/png")]

@tool
def note(context: CallContext) -> Output:
    """Write a note."""
    (context.workspace / "note.txt").write_text("noted")
    return Output("written", ("note.txt",))

@tool
def fail(how: str) -> None:
    """Fail."""
    if how == "exit":
        os._exit(3)
    if how == "break":
        raise ValueError("odd")
    raise RetryCall("again") if how == "retry" else ToolFailed("no")

@tool
def spy(path: str) -> str:
    """Look around."""
    try:
        socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", "9"))), 0.2)
    except OSError as error:
        return f"{Path(path).exists()} {type(error).__name__} {sorted(os.environ)}"
    return "connected"

@tool
def hang() -> None:
    """Hang."""
    time.sleep(1000)
'''
needs_sandbox = pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))
pytestmark = [needs_sandbox, pytest.mark.asyncio(loop_scope="module")]


def found_in(
    folder: Path, *trusted: str, report: Callable[[str], None] = print
) -> list[OwnedDriver]:
    provided = [*load_settings().provided(), ModelHost()]
    found = discover_tools(folder=folder, trusted=trusted, provided=provided, report=report)
    return [owned for owned in found if str(folder) in owned.owner]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools.d")
    (folder / "many.py").write_text(PLUGIN)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tools(folder: Path) -> AsyncGenerator[dict[str, Driver]]:
    found = await asyncio.to_thread(found_in, folder)
    yield {owned.driver.spec.name: owned.driver for owned in found}
    for owned in found:
        await owned.driver.close()


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    return CallContext(1, tmp_path)


async def test_a_plugin_is_described_by_its_own_process(tools: dict[str, Driver]) -> None:
    spec = tools["count"].spec
    assert spec.description == "Count the calls."
    assert spec.parameters["properties"] == {"word": {"type": "string", "description": "any word"}}
    assert (spec.timeout_s, spec.max_output_chars) == (3, 50)
    assert spec.keywords == ("tally",)
    assert list(tools) == ["count", "draw", "note", "fail", "spy", "hang"]


async def test_what_it_declares_of_its_effects_and_repeating_is_not_believed(
    tools: dict[str, Driver],
) -> None:
    assert tools["count"].spec.effects == {Effect.SANDBOX}
    assert not tools["count"].spec.is_repeatable


async def test_it_keeps_its_state_and_what_it_prints_is_no_reply(
    tools: dict[str, Driver], context: CallContext
) -> None:
    said = [(await tools["count"].call({"word": "x"}, context)).text for _ in range(2)]
    first, second = (int(text.split()[1]) for text in said)
    assert second == first + 1


async def test_files_that_it_makes_come_to_the_workspace_and_write_over_nothing(
    tools: dict[str, Driver], context: CallContext
) -> None:
    (context.workspace / "picture.png").write_text("mine")
    drawn = await tools["draw"].call({}, context)
    assert drawn.files == ("picture-2.png", "picture-2-2.png")
    contents = [(context.workspace / name).read_bytes() for name in drawn.files]
    assert contents == [b"one", b"two"]
    assert (context.workspace / "picture.png").read_text() == "mine"
    assert await tools["note"].call({}, context) == Output("written", ("note.txt",))
    assert (context.workspace / "note.txt").read_text() == "noted"


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("retry", RetryCall, "again"),
        ("fail", ToolFailed, "no"),
        ("break", ToolFailed, "fail broke: ValueError: odd"),
        ("exit", ToolFailed, "fail broke: it ended with exit status 3"),
    ],
)
async def test_its_errors_are_those_of_any_tool(
    tools: dict[str, Driver], context: CallContext, how: str, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        await tools["fail"].call({"how": how}, context)
    assert (await tools["count"].call({"word": "on"}, context)).text.startswith("on")


async def test_it_sees_no_file_no_network_and_no_environment_of_the_machine(
    tools: dict[str, Driver],
    context: CallContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    secret = context.workspace / "secret"
    secret.write_text("x")
    text = (await tools["spy"].call({"path": str(secret)}, context)).text
    assert text.startswith("False ConnectionRefusedError")
    assert "SECRET" not in text


def processes_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(word) for file in children for word in file.read_text().split()]


async def test_cancelling_a_call_kills_the_process_and_the_next_call_starts_it_anew(
    folder: Path, context: CallContext
) -> None:
    found = await asyncio.to_thread(found_in, folder)
    tools = {owned.driver.spec.name: owned.driver for owned in found}
    others = set(processes_of(os.getpid()))
    await tools["count"].call({"word": "x"}, context)
    started = set(processes_of(os.getpid())) - others
    assert started
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await tools["hang"].call({}, context)
    assert not started & set(processes_of(os.getpid()))
    assert (await tools["count"].call({"word": "x"}, context)).text == "x 1"
    for driver in tools.values():
        await driver.close()


async def test_a_plugin_that_does_not_load_is_reported_and_the_others_are_found(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module")
    (tmp_path / "empty.py").write_text("x = 1")
    (tmp_path / "ends.py").write_text("import os; os._exit(0)")
    (tmp_path / "not-a-name.py").write_text("")
    (tmp_path / "_private.py").write_text("import no_such_module")
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine" / "words.py").write_text("WORD = 'fine'")
    (tmp_path / "fine" / "__init__.py").write_text(
        "from llmos import tool\nfrom .words import WORD\n\n"
        "@tool\ndef fine() -> str:\n    'Be fine.'\n    return WORD\n"
    )
    reports: list[str] = []
    found = await asyncio.to_thread(found_in, tmp_path, report=reports.append)
    assert [owned.driver.spec.name for owned in found] == ["fine"]
    assert (await found[0].driver.call({}, CallContext(1, tmp_path))).text == "fine"
    await found[0].driver.close()
    reasons = {line.split("'")[1]: line for line in reports}
    assert "No module named 'no_such_module'" in reasons["broken.py"]
    assert "no function that is marked @tool" in reasons["empty.py"]
    assert "ended with exit status 0" in reasons["ends.py"]
    assert "no name of a Python module" in reasons["not-a-name.py"]
    assert len(reports) == 4


async def test_a_plugin_is_trusted_by_its_content_and_a_changed_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "where.py"
    text = "import os\nfrom llmos import tool\n\n@tool\ndef where() -> int:\n    'Say where.'\n    return os.getpid()\n"
    file.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (trusted,) = found_in(tmp_path, digest)
    assert (await trusted.driver.call({}, CallContext(1, tmp_path))).text == str(os.getpid())
    assert "in the sandbox" not in trusted.owner
    file.write_text(text + "# changed\n")
    (changed,) = await asyncio.to_thread(found_in, tmp_path, digest)
    assert "in the sandbox" in changed.owner


async def test_without_a_sandbox_a_plugin_is_left_out_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    reports: list[str] = []
    assert await asyncio.to_thread(found_in, folder, report=reports.append) == []
    assert "apt-get install bubblewrap" in reports[0]
