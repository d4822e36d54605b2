"""Finds tools: the entry-point group `llmos.tools`, and the user's folder `tools.d`.

A broken plugin is reported and left out; it never stops the others. What lies in `tools.d` runs in
the sandbox, unless the user trusts its content.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from llmos.config import Settings, tools_folder
from llmos.model_host import ModelHost
from llmos.sdk import tools_in, tools_of
from llmos_kernel.abi import Driver
from llmos_kernel.errors import ConfigError, LlmosError
from llmos_kernel.syscalls import OwnedDriver

GROUP = "llmos.tools"


def plugin_tools(
    settings: Settings,
    models: ModelHost,
    report: Callable[[str], None],
    more: Iterable[OwnedDriver] = (),
) -> list[OwnedDriver]:
    """Return the tools of all packages, of the user's folder, and `more`, as the settings want.

    `models` is lent to tools that ask for it; who made it closes it.

    Raises:
        ConfigError: a disabled tool does not exist.
    """
    return discover_tools(
        disabled=settings.tools.disabled,
        folder=tools_folder(),
        trusted=settings.tools.trusted,
        provided=[*settings.provided(), models],
        report=report,
        more=more,
    )


def discover_tools(
    *,
    disabled: Collection[str] = (),
    folder: Path | None = None,
    trusted: Collection[str] = (),
    provided: Collection[object] = (),
    report: Callable[[str], None],
    more: Iterable[OwnedDriver] = (),
) -> list[OwnedDriver]:
    """Return the tools of all installed plugins, of those in `folder`, and `more`, but the
    disabled ones.

    `report` gets one line for each plugin that cannot be loaded. `trusted` are the digests of
    plugins in `folder` that are loaded into this process; `provided` is what packaged plugins'
    constructors may ask for, see `llmos.sdk.tools_of`.

    Raises:
        ConfigError: a disabled tool does not exist.
    """
    found = [*more]
    plugins = [*_packaged(provided), *(_in_folder(folder, trusted) if folder is not None else ())]
    for label, owner, load in plugins:
        try:
            drivers = load()
        except Exception as error:  # a plugin may fail in any way; the others go on
            report(f"the tool plugin {label!r} of {owner} is left out: {error}")
            continue
        found.extend(OwnedDriver(driver, owner) for driver in drivers)
    names = {owned.driver.spec.name for owned in found}
    # A server that is out of reach does not tell which tools it has.
    unknown = sorted(name for name in {*disabled} - names if not name.startswith("mcp__"))
    if unknown:
        raise ConfigError(f"tools.disabled names {unknown[0]!r}, but there is no such tool")
    return [owned for owned in found if owned.driver.spec.name not in disabled]


Plugin = tuple[str, str, Callable[[], list[Driver]]]


def _packaged(provided: Collection[object]) -> Iterator[Plugin]:
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield entry.name, _owner(entry), lambda entry=entry: tools_of(entry.load(), provided)


def _in_folder(folder: Path, trusted: Collection[str]) -> Iterator[Plugin]:
    """Yield the plugins of a folder; all that need the sandbox describe themselves at once."""
    from llmos.untrusted.host import sandboxed_tools
    from llmos.untrusted.source import PluginSource, import_plugin, is_plugin, read_source

    paths = sorted(path for path in folder.iterdir() if is_plugin(path)) if folder.is_dir() else []
    sources: list[PluginSource] = []
    for path in paths:
        try:
            source = read_source(path)
        except ConfigError as error:
            yield path.name, f"the file {str(path)!r}", partial(_loaded, error)
            continue
        if source.digest in trusted:
            yield path.name, f"the file {str(path)!r}", lambda p=path: tools_in(import_plugin(p))
        else:
            sources.append(source)
    for source, drivers in zip(sources, sandboxed_tools(sources), strict=True):
        owner = f"the file {str(source.path)!r}, in the sandbox"
        yield source.path.name, owner, partial(_loaded, drivers)


def _loaded(drivers: list[Driver] | LlmosError) -> list[Driver]:
    if isinstance(drivers, LlmosError):
        raise drivers
    return drivers


def _owner(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name!r}" if entry.dist else f"the module {entry.module!r}"
