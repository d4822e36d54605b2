"""`llmos tools new`: writes the package of a plugin, which installs and passes its own tests."""

from __future__ import annotations

import keyword
import re
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from string import Template

from llmos.plugins import GROUP
from llmos_kernel.errors import ConfigError

FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "llmos-$name"
version = "0.1.0"
description = "A tool for llmos."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["llmos"]

[project.optional-dependencies]
test = ["pytest>=8.4"]

[project.entry-points."llmos.tools"]
$tool = "$module:$tool"

[tool.hatch.build.targets.wheel]
only-include = ["$module.py"]

[tool.pytest.ini_options]
addopts = "-p llmos.testing"
pythonpath = ["."]
testpaths = ["tests"]
""",
    "README.md": """\
# llmos-$name

A tool for llmos. Check it with `llmos tools test .`, test it with `pytest`, install it with
`pip install -e .`.
""",
    "$module.py": """\
\"\"\"The tool `$tool`.\"\"\"

from llmos import RetryCall, tool


@tool(effects=[], is_repeatable=True)
async def $tool(text: str) -> str:
    \"\"\"Say a text back, for a start.

    Args:
        text: what to say
    \"\"\"
    if not text:
        raise RetryCall("the text is empty: give one")
    return text
""",
    "tests/test_$tool.py": """\
\"\"\"The tool `$tool`, called as the kernel calls it.\"\"\"

from $module import $tool


def test_it_says_the_text_back(call):
    assert call($tool, text="hello").text == "hello"


def test_an_empty_text_is_the_models_to_mend(call):
    assert call($tool, text="").status == "retry"


def test_a_model_that_calls_it_gets_its_result(run_task):
    task = run_task($tool, [("$tool", {"text": "hello"})], answer="It said hello.")
    assert [result.text for result in task.results] == ["hello"]
    assert task.answer == "It said hello."
""",
}


def write_package(name: str, parent: Path) -> Path:
    """Write a new package into a folder of its name, and return that.

    Raises:
        ConfigError: the name cannot be used or is taken, or the folder exists or cannot be made.
    """
    tool = name.replace("-", "_")
    module = f"llmos_{tool}"
    folder = parent / name
    _check(name, tool, module)
    if folder.exists():
        raise ConfigError(f"there is a {name!r} here already; give another name")
    words = {"name": name, "tool": tool, "module": module}
    try:
        for path, text in FILES.items():
            file = folder / Template(path).substitute(words)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(text).substitute(words))
    except OSError as error:
        raise ConfigError(f"{str(folder)!r} cannot be written: {error.strerror}") from error
    return folder


def _check(name: str, tool: str, module: str) -> None:
    is_plain = re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) and len(name) <= 40
    if not is_plain or keyword.iskeyword(tool):
        raise ConfigError(
            f"{name!r} is no name for a plugin: use small letters, digits, - and _, as in 'my-tool'"
        )
    if any(entry.name == tool for entry in entry_points(group=GROUP)):
        raise ConfigError(f"a tool {tool!r} is installed already; give another name")
    if find_spec(module) is not None:
        raise ConfigError(f"a module {module!r} is there already; give another name")
