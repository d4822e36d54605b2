"""Plugins: found by entry points; a broken one never stops the others."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from llmos import plugins, tool
from llmos.config import load_settings
from llmos.model_host import ModelHost
from llmos.sdk import CallContext, tools_of
from llmos_kernel.errors import ConfigError
from llmos_kernel.syscalls import SyscallTable

GROUP = plugins.GROUP


@tool(effects=[])
def fine() -> str:
    """Work."""
    return "fine"


class Cabin(BaseModel):
    beds: int = 2


class Cabins:
    def __init__(self, settings: Cabin, *, doors: int = 1) -> None:
        self._told = f"{settings.beds} beds, {doors} door"

    @tool(effects=[])
    def cabin(self) -> str:
        """Describe the cabin."""
        return self._told


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install, beside the built-in tools, one plugin that works and two that do not."""
    module = ModuleType("plugins_of_the_test")
    module.fine = fine  # pyright: ignore
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entries = [
        *entry_points(group=GROUP),
        EntryPoint("fine", "plugins_of_the_test:fine", GROUP),
        EntryPoint("absent", "no_such_module:tool", GROUP),
        EntryPoint("wrong", "sys:maxsize", GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)


@pytest.mark.usefixtures("installed")
def test_a_broken_plugin_is_reported_and_the_others_load() -> None:
    reports: list[str] = []
    found = plugins.discover_tools(
        provided=[*load_settings().provided(), ModelHost()], report=reports.append
    )
    names = {owned.driver.spec.name for owned in found}
    assert {"calculate", "python", "browse", "fine"} <= names
    assert len(reports) == 2
    assert "'absent'" in reports[0]
    assert "No module named 'no_such_module'" in reports[0]
    assert "'wrong'" in reports[1]


@pytest.mark.usefixtures("installed")
def test_a_disabled_tool_is_left_out_and_an_unknown_one_is_an_error() -> None:
    found = plugins.discover_tools(disabled=["python"], report=lambda line: None)
    assert "python" not in {owned.driver.spec.name for owned in found}
    with pytest.raises(ConfigError, match="'pyhton'"):
        plugins.discover_tools(disabled=["pyhton"], report=lambda line: None)


@pytest.mark.usefixtures("installed")
def test_two_tools_of_one_name_are_an_error_that_names_both_owners() -> None:
    found = plugins.discover_tools(report=lambda line: None)
    with pytest.raises(
        ConfigError, match=r"two tools are called 'write_file': one from the package"
    ):
        SyscallTable([*found, found[-1]])


async def test_a_class_gets_its_settings_by_its_constructors_hints() -> None:
    (driver,) = tools_of(Cabins, [Cabin(beds=5), "unasked"])
    output = await driver.call({}, CallContext(1, Path("/")))
    assert output.text == "5 beds, 1 door"
