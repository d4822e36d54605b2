"""Finds tools: the entry-point group `llmos.tools`.

A broken plugin is reported and left out; it never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib.metadata import EntryPoint, entry_points

from llmos.sdk import tools_of
from llmos_kernel.errors import ConfigError
from llmos_kernel.syscalls import OwnedDriver

GROUP = "llmos.tools"


def discover_tools(
    *,
    disabled: Collection[str] = (),
    provided: Collection[object] = (),
    report: Callable[[str], None],
) -> list[OwnedDriver]:
    """Return the tools of all installed plugins but the disabled ones.

    `provided` is what their constructors may ask for, see `llmos.sdk.tools_of`. `report` gets one
    line for each plugin that cannot be loaded.

    Raises:
        ConfigError: a disabled tool does not exist.
    """
    found: list[OwnedDriver] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        owner = _owner(entry)
        try:
            drivers = tools_of(entry.load(), provided)
        except Exception as error:  # a plugin may fail in any way; the others go on
            report(f"the tool plugin {entry.name!r} of {owner} is left out: {error}")
            continue
        found.extend(OwnedDriver(driver, owner) for driver in drivers)
    names = {owned.driver.spec.name for owned in found}
    if unknown := sorted(set(disabled) - names):
        raise ConfigError(f"tools.disabled names {unknown[0]!r}, but there is no such tool")
    return [owned for owned in found if owned.driver.spec.name not in disabled]


def _owner(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name!r}" if entry.dist else f"the module {entry.module!r}"
