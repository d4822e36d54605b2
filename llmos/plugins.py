"""Finds tools: the entry-point group `llmos.tools`.

A broken plugin is reported and left out; it never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from importlib.metadata import EntryPoint, entry_points

from llmos.sdk import tools_of
from llmos_kernel.errors import ConfigError
from llmos_kernel.syscalls import OwnedDriver

GROUP = "llmos.tools"


def discover_tools(
    *,
    disabled: Collection[str] = (),
    report: Callable[[str], None],
    more: Iterable[OwnedDriver] = (),
) -> list[OwnedDriver]:
    """Return the tools of all installed plugins, and `more`, but the disabled ones.

    `report` gets one line for each plugin that cannot be loaded.

    Raises:
        ConfigError: a disabled tool does not exist.
    """
    found = [*more]
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        owner = _owner(entry)
        try:
            drivers = tools_of(entry.load())
        except Exception as error:  # a plugin may fail in any way; the others go on
            report(f"the tool plugin {entry.name!r} of {owner} is left out: {error}")
            continue
        found.extend(OwnedDriver(driver, owner) for driver in drivers)
    names = {owned.driver.spec.name for owned in found}
    # A server that is out of reach does not tell which tools it has.
    unknown = sorted(name for name in {*disabled} - names if not name.startswith("mcp__"))
    if unknown:
        raise ConfigError(f"tools.disabled names {unknown[0]!r}, but there is no such tool")
    return [owned for owned in found if owned.driver.spec.name not in disabled]


def _owner(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name!r}" if entry.dist else f"the module {entry.module!r}"
