"""`llmos tools`, `tools new` and `tools test`, and the packages that they work on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from llmos import tool
from llmos.plugin_checks import Plugin, check_plugin
from llmos.sandbox.bubblewrap import sandbox_problem
from llmos.sdk import tools_of

Cli: TypeAlias = Callable[..., tuple[int, str, str]]
REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "tool_plugin"
SOURCES = [str(REPOSITORY), str(REPOSITORY / "kernel"), str(REPOSITORY / "tools")]
BOUND_S = 120
needs_sandbox = pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))
pytestmark = pytest.mark.usefixtures("home")

FINE = '''
from llmos import tool

@tool
def fine(word: str) -> str:
    """Say it.

    Args:
        word: any word
    """
    return word
'''


def python(*words: str, folder: Path, paths: list[str]) -> str:
    """Run Python as in a shell of its own, and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(package: Path, target: Path) -> None:
    """Build and install a package into a fresh folder, without touching its source."""
    source = shutil.copytree(package, target.parent / f"source of {package.name}")
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    python(*pip, "--target", str(target), str(source), folder=target.parent, paths=[])


def own_tests(package: Path, installed: Path) -> str:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath="]
    return python(*words, folder=package, paths=[str(installed), *SOURCES])


def findings(capture: str) -> dict[tuple[str, str], str]:
    return {(row["tool"], row["check"]): row["state"] for row in json.loads(capture)}


def test_a_new_package_installs_is_found_and_passes_its_own_tests_and_the_check(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = cli("tools", "new", "my-echo")
    assert (status, "llmos tools test my-echo" in out) == (0, True)
    installed = tmp_path / "installed"
    install(tmp_path / "my-echo", installed)
    paths = [str(installed), *SOURCES]
    listed = json.loads(python("-m", "llmos", "tools", "--json", folder=tmp_path, paths=paths))
    owners = {row["name"]: row["owner"] for row in listed}
    assert owners["my_echo"] == "the package 'llmos-my-echo'"
    assert "3 passed" in own_tests(tmp_path / "my-echo", installed)
    checked = python(
        "-m", "llmos", "tools", "test", "my_echo", "--json", folder=tmp_path, paths=paths
    )
    assert set(findings(checked).values()) == {"ok"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("A b", "'A b' is no name for a plugin"),
        ("../up", "'../up' is no name for a plugin"),
        ("class", "'class' is no name for a plugin"),
        ("calculate", "a tool 'calculate' is installed already"),
        ("here", "there is a 'here' here already"),
    ],
)
def test_a_new_package_is_refused_in_one_line_for_a_bad_name_or_an_existing_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    status, out, err = cli("tools", "new", name)
    assert (status, out) == (2, "")
    assert problem in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "config"] == ["here"]


def test_a_third_party_s_package_is_built_installed_and_found(tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    install(EXAMPLE, installed)
    paths = [str(installed), *SOURCES]
    listed = json.loads(python("-m", "llmos", "tools", "--json", folder=tmp_path, paths=paths))
    owners = {row["name"]: row["owner"] for row in listed}
    assert owners["look_up"] == owners["tone"] == "the package 'glossary-for-llmos'"
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "own" / "tests")
    shutil.copy(EXAMPLE / "pyproject.toml", tests.parent)
    assert "5 passed" in own_tests(tests.parent, installed)


def test_the_example_passes_the_check_from_its_source(cli: Cli) -> None:
    status, out, err = cli("tools", "test", EXAMPLE, "--json")
    assert (status, err) == (0, "")
    assert set(findings(out).values()) == {"ok"}
    assert {tool for tool, _ in findings(out)} == {"look_up", "tone"}


@needs_sandbox
def test_a_single_file_is_checked_in_the_sandbox_and_its_digest_is_told(
    cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "fine.py"
    file.write_text(FINE)
    status, out, _ = cli("tools", "test", file)
    assert status == 0
    assert "ran in the sandbox" in out
    (tmp_path / "config" / "llmos" / "tools.d").mkdir(parents=True)
    shutil.copy(file, tmp_path / "config" / "llmos" / "tools.d")
    (tmp_path / "config" / "llmos" / "config.toml").write_text(
        f"[tools]\ntrusted = ['{out.split()[-1]}']\n"
    )
    _, out, _ = cli("tools", "--json")
    assert "in the sandbox" not in {row["name"]: row["owner"] for row in json.loads(out)}["fine"]


@needs_sandbox
def test_a_name_that_two_own_is_an_error_that_names_both(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "llmos" / "tools.d"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(FINE.replace("def fine", "def calculate"))
    status, _, err = cli("tools")
    assert status == 2
    assert "two tools are called 'calculate'" in err
    assert "the package 'llmos'" in err
    assert str(folder / "mine.py") in err


@pytest.mark.parametrize("target", ["nothing", "README.md"])
def test_what_is_no_plugin_is_refused_in_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(REPOSITORY)
    status, _, err = cli("tools", "test", target)
    assert (status, err.count("\n")) == (2, 1)
    assert target in err


def state_of(plugin: Any, check: str, arguments: dict[str, Any] | None = None) -> tuple[str, str]:
    found = check_plugin(Plugin(tools_of(plugin)), arguments)
    return next((one.state, one.detail) for one in found if one.check == check)


def test_an_argument_without_a_description_fails() -> None:
    @tool(effects=[])
    def silent(word: str) -> str:
        """Say it."""
        return word

    assert state_of(silent, "description") == (
        "failed",
        "describe word under `Args:` in the docstring",
    )


def test_an_error_that_is_not_for_the_model_fails() -> None:
    @tool(effects=[])
    def halve(number: int) -> float:
        """Divide."""
        return 1 / number

    state, detail = state_of(halve, "errors")
    assert state == "failed"
    assert "(number=0)" in detail
    assert "raise ToolFailed or RetryCall" in detail


def test_a_tool_that_ignores_cancellation_fails_and_does_not_hold_the_check() -> None:
    @tool(effects=[], timeout_s=0.2)
    async def deaf() -> None:
        """Wait."""
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    found = check_plugin(Plugin(tools_of(deaf)))
    failed = {one.check for one in found if one.state == "failed"}
    assert failed == {"errors", "output limit", "time limit", "cancellation"}


def test_a_plain_function_that_goes_on_after_its_cancellation_fails() -> None:
    release = threading.Event()

    @tool(effects=[], timeout_s=0.2)
    def slow() -> None:
        """Wait."""
        release.wait(30)

    state, detail = state_of(slow, "cancellation")
    release.set()
    assert (state, "async def" in detail) == ("failed", True)


def test_a_tool_that_reaches_outside_is_called_only_with_arguments_that_were_given() -> None:
    seen: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send it."""
        seen.append(to)
        return "sent"

    state, detail = state_of(send, "errors")
    assert (state, "--arguments" in detail, seen) == ("skipped", True, [])
    assert state_of(send, "errors", {"to": "me"})[0] == "ok"
    assert set(seen) == {"me"}
