"""The code of docs/plugins.md does what the guide says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmos.config import ToolSettings
from llmos.sdk import CallContext, FunctionTool, tools_of

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
EXAMPLES, TEST = BLOCKS[:-1], BLOCKS[-1]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Run the guide's examples one after another and return what they define."""
    defined: dict[str, Any] = {"__name__": "guide"}
    for block in EXAMPLES:
        exec(compile(block, "docs/plugins.md", "exec"), defined)
    return defined


def test_hello_world_takes_five_lines() -> None:
    assert len([line for line in EXAMPLES[0].splitlines() if line]) == 5


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("hello", {"name": "Ada"}, "Hello Ada."),
        ("convert", {"amount": 10}, "16.09 km"),
        ("square_root", {"number": 9}, "3.0"),
        ("note", {"text": "milk"}, "noted"),
        ("count", {"to": 3}, "counted"),
    ],
)
async def test_the_examples_work(
    names: dict[str, Any], tmp_path: Path, name: str, arguments: dict[str, Any], text: str
) -> None:
    (driver,) = tools_of(names[name])
    assert (await driver.call(arguments, CallContext(1, tmp_path))).text == text


def test_the_options_that_are_listed_are_those_that_there_are(names: dict[str, Any]) -> None:
    section = GUIDE.partition("## Options")[2].partition("##")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    hello: FunctionTool = names["hello"]
    assert all(hasattr(hello.spec, option) for option in listed)
    assert len(listed) == 7
    assert f"| {hello.spec.timeout_s:g} |" in section
    assert f"| {hello.spec.max_output_chars} |" in section
    assert f"| {hello.spec.max_concurrent} |" in section


def test_the_settings_that_are_shown_can_be_set() -> None:
    (block,) = re.findall(r"^```toml\n\[tools\]\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert {line.partition(" =")[0] for line in block.splitlines()} == set(
        ToolSettings.model_fields
    )


def test_the_test_of_the_guide_passes_with_the_fixtures(tmp_path: Path) -> None:
    counter = next(block for block in EXAMPLES if "class Counter" in block)
    (tmp_path / "test_guide.py").write_text(f"{counter}\n\n{TEST}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "llmos.testing", "test_guide.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
