"""`llmos tools test`: whether a plugin's tools are what the kernel and a model need.

A .py file or a package folder like those of `tools.d` is run in the sandbox; a project with a
pyproject.toml and an installed plugin are run in this process. A tool that reaches outside llmos is
called only where arguments for it are given.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import tomllib
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Literal, TypeVar

from llmos.plugins import GROUP
from llmos.sdk import ToolBusy, tools_of
from llmos.single_call import run_call
from llmos.tool_samples import sample_arguments
from llmos.untrusted.host import sandboxed_tools
from llmos.untrusted.source import is_plugin, read_source
from llmos_kernel.abi import CallContext, Driver, JsonObject, Output, ToolResult, ToolSpec
from llmos_kernel.errors import ConfigError, LlmosError, RetryCall
from llmos_kernel.policy import needs_approval
from llmos_kernel.syscalls import OwnedDriver, SyscallTable

SHORT_LIMIT_S = 0.3
GRACE_S = 2.0
SHORT_OUTPUT_CHARS = 5
CALLS = ("errors", "output limit", "time limit", "cancellation")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check of one tool found; `detail` says what to mend where it failed."""

    tool: str
    check: str
    state: Literal["ok", "failed", "skipped"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin to be checked; `digest` is that of one which runs in the sandbox."""

    drivers: Sequence[Driver]
    digest: str | None = None


def check_plugin(plugin: Plugin, arguments: JsonObject | None = None) -> list[Finding]:
    """Check every tool of a plugin; `arguments` are for its calls, else they are made up.

    Calls of tools that do not take these arguments are made with made-up ones.
    """
    return _in_own_thread(_findings(plugin.drivers, arguments))


def load_plugin(target: str) -> Plugin:
    """Load a .py file, a folder, or an installed plugin by its entry point's name.

    Raises:
        ConfigError: there is no such thing, or it cannot be loaded.
    """
    path = Path(target).expanduser().absolute()
    if (path / "pyproject.toml").is_file():
        return Plugin(_of_project(path))
    if path.exists():
        return _sandboxed(path)
    entries = [entry for entry in entry_points(group=GROUP) if entry.name == target]
    if not entries:
        raise ConfigError(f"there is neither a file nor an installed plugin {target!r}")
    return Plugin(_loaded(entries))


def _sandboxed(path: Path) -> Plugin:
    if not is_plugin(path):
        raise ConfigError(
            f"{str(path)!r} is no plugin: give a .py file, a folder with a pyproject.toml or an "
            "__init__.py, or the name of an installed one"
        )
    source = read_source(path)
    (drivers,) = sandboxed_tools([source])
    if isinstance(drivers, LlmosError):
        raise drivers
    return Plugin(drivers, source.digest)


def _of_project(folder: Path) -> list[Driver]:
    file = folder / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text()).get("project", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error}") from error
    named: Mapping[str, str] = project.get("entry-points", {}).get(GROUP, {})
    if not named:
        raise ConfigError(
            f'{str(file)!r} has no tool: list it under [project.entry-points."{GROUP}"]'
        )
    sys.path[:0] = [str(folder / "src"), str(folder)]
    return _loaded([EntryPoint(name, value, GROUP) for name, value in named.items()])


def _loaded(entries: Sequence[EntryPoint]) -> list[Driver]:
    try:
        return [driver for entry in entries for driver in tools_of(entry.load())]
    except ConfigError:
        raise
    except Exception as error:  # a plugin may fail in any way
        raise ConfigError(f"it cannot be loaded: {type(error).__name__}: {error}") from error


def _in_own_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run in a loop that is left behind: a tool that cannot be cancelled must not hold us."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(work, loop).result()


async def _findings(drivers: Sequence[Driver], arguments: JsonObject | None) -> list[Finding]:
    findings: list[Finding] = []
    with TemporaryDirectory() as workspace:
        context = CallContext(0, Path(workspace))
        for driver in drivers:
            findings += [finding async for finding in _checked(driver, arguments, context)]
        await asyncio.wait([asyncio.ensure_future(_close(drivers))], timeout=GRACE_S)
    return findings


async def _close(drivers: Sequence[Driver]) -> None:
    for driver in drivers:
        await driver.close()


async def _checked(
    driver: Driver, given: JsonObject | None, context: CallContext
) -> AsyncIterator[Finding]:
    name = driver.spec.name
    problem = _described(driver)
    yield Finding(name, "description", "failed" if problem else "ok", problem or "")
    yield await _wrong_arguments(driver, context)
    if problem and "schema" in problem:
        return
    if needs_approval(driver.spec) and given is None:
        effects = ", ".join(sorted(effect.value for effect in driver.spec.effects))
        detail = f"its effects are {effects}: give --arguments to have it called"
        for check in CALLS:
            yield Finding(name, check, "skipped", detail)
        return
    samples = [given] if given is not None else sample_arguments(driver.spec.parameters)
    yield await _errors(driver, samples, context)
    yield await _output_limit(driver, samples[0], context)
    yield await _time_limit(driver, samples[0], context)
    yield await _cancellation(driver, samples[0], context)


def _described(driver: Driver) -> str | None:
    try:
        SyscallTable([OwnedDriver(driver, "the plugin")])
    except ConfigError as error:
        return str(error)
    if not driver.spec.description.strip():
        return "the description is empty: the model reads the docstring's first paragraph"
    properties: Any = driver.spec.parameters.get("properties", {})
    silent = [name for name, value in properties.items() if not value.get("description")]
    return f"describe {', '.join(silent)} under `Args:` in the docstring" if silent else None


async def _wrong_arguments(driver: Driver, context: CallContext) -> Finding:
    name, check = driver.spec.name, "wrong arguments"
    try:
        async with asyncio.timeout(driver.spec.timeout_s):
            await driver.call({"no_such_argument": 1}, context)
    except RetryCall:
        return Finding(name, check, "ok")
    except Exception as error:  # a tool may raise anything
        return Finding(name, check, "failed", f"{type(error).__name__} in place of RetryCall")
    return Finding(name, check, "failed", "it takes an argument that its schema does not have")


async def _errors(driver: Driver, samples: Sequence[JsonObject], context: CallContext) -> Finding:
    for sample in samples:
        result = await _ended(driver, sample, context)
        if result is None:
            return Finding(driver.spec.name, "errors", "failed", f"{_shown(sample)} does not end")
        if result.text.startswith(f"error: {driver.spec.name} broke"):
            detail = f"{_shown(sample)}: {result.text}: raise ToolFailed or RetryCall"
            return Finding(driver.spec.name, "errors", "failed", detail)
    return Finding(driver.spec.name, "errors", "ok", f"{len(samples)} calls")


async def _ended(driver: Driver, sample: JsonObject, context: CallContext) -> ToolResult | None:
    """Return a call's result, None where it goes on beyond its tool's time limit."""
    task = asyncio.create_task(run_call(driver, sample, context))
    await asyncio.wait([task], timeout=driver.spec.timeout_s + GRACE_S)
    return task.result() if task.done() else None


async def _output_limit(driver: Driver, sample: JsonObject, context: CallContext) -> Finding:
    name, check = driver.spec.name, "output limit"
    short = _Respecified(driver, replace(driver.spec, max_output_chars=SHORT_OUTPUT_CHARS))
    result = await _ended(short, sample, context)
    if result is None:
        return Finding(name, check, "failed", f"{_shown(sample)} does not end")
    if result.status == "timeout":
        return Finding(name, check, "skipped", "it reached its time limit and gave no output")
    if len(result.text) <= SHORT_OUTPUT_CHARS or result.blob is not None:
        return Finding(name, check, "ok", f"{driver.spec.max_output_chars} characters are shown")
    return Finding(name, check, "failed", "more is shown than the limit allows")


async def _time_limit(driver: Driver, sample: JsonObject, context: CallContext) -> Finding:
    name, check = driver.spec.name, "time limit"
    limit_s = min(SHORT_LIMIT_S, driver.spec.timeout_s)
    hasty = _Respecified(driver, replace(driver.spec, timeout_s=limit_s))
    start = monotonic()
    if await _ended(hasty, sample, context) is None:
        detail = f"it goes on beyond a limit of {limit_s:g} s: do not catch CancelledError"
        return Finding(name, check, "failed", detail)
    return Finding(name, check, "ok", f"ended after {monotonic() - start:.2f} s")


async def _cancellation(driver: Driver, sample: JsonObject, context: CallContext) -> Finding:
    name, check = driver.spec.name, "cancellation"
    task = asyncio.create_task(_outcome(driver, sample, context))
    await asyncio.wait([task], timeout=SHORT_LIMIT_S)
    was_cancelled = task.cancel()
    await asyncio.wait([task], timeout=GRACE_S)
    if not task.done():
        detail = f"it goes on {GRACE_S:g} s after it was cancelled: do not catch CancelledError"
        return Finding(name, check, "failed", detail)
    error = None if task.cancelled() else task.result()
    if was_cancelled:
        again = asyncio.create_task(_outcome(driver, sample, context))
        await asyncio.wait([again], timeout=SHORT_LIMIT_S)
        error = again.result() if again.done() else None
        again.cancel()
    if isinstance(error, ToolBusy):
        detail = "its thread goes on after the call was cancelled: write it as `async def`"
        return Finding(name, check, "failed", detail)
    return Finding(name, check, "ok", "cancelled" if was_cancelled else "ended before it could be")


async def _outcome(driver: Driver, sample: JsonObject, context: CallContext) -> Exception | None:
    try:
        await driver.call(sample, context)
    except Exception as error:  # a tool may raise anything
        return error
    return None


class _Respecified:
    """A tool with other limits."""

    def __init__(self, driver: Driver, spec: ToolSpec) -> None:
        self.spec = spec
        self._driver = driver

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        return await self._driver.call(arguments, context)

    async def close(self) -> None:
        """Leave the tool open: it is another's."""


def _shown(arguments: JsonObject) -> str:
    return f"({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
