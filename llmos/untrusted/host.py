"""Drivers of a plugin that runs in a sandboxed process of its own, started by its first call.

Covered: the plugin sees no file and no network of this machine; it is killed when a call is
cancelled or reaches its time limit, or when it says what is no reply; its effects are the
sandbox's, whatever it declares; a file that it makes is written under a name that is free.
Not covered: what its description and its results say to the model, which are untrusted text.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

import llmos
import llmos_kernel
from llmos.line_process import LineProcess, LineTooLong, ProcessEnded
from llmos.outputs import save_free
from llmos.sandbox.bubblewrap import Sandbox, python_program, sandbox_problem, seccomp_file
from llmos.untrusted.source import PluginSource
from llmos.untrusted.wire import LINE_BYTES, Call, Describe, Description, Descriptions, Result
from llmos_kernel.abi import CallContext, Driver, Effect, JsonObject, Output, ToolSpec
from llmos_kernel.errors import ConfigError, LlmosError, RetryCall, SandboxUnavailable, ToolFailed

START_LIMIT_S = 30.0
CLOSE_LIMIT_S = 2.0
PACKAGES = tuple(Path(str(module.__file__)).parent for module in (llmos, llmos_kernel))
PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from llmos.untrusted.guest import main
main()
"""

Reply = TypeVar("Reply", bound=BaseModel)


class PluginGone(LlmosError):
    """The plugin's process ended, or said what is no reply; the next call starts it anew."""


class PluginProcess:
    """The process of one plugin, shared by its tools. Their calls wait for each other."""

    def __init__(self, source: PluginSource) -> None:
        self._source = source
        self._turn = asyncio.Lock()
        self._process: LineProcess | None = None

    async def describe(self) -> list[Description]:
        """Start the process where there is none, and return what the plugin offers.

        Raises:
            ConfigError: the plugin cannot be loaded.
            SandboxUnavailable: nothing can be isolated here.
        """
        async with self._turn:
            return (await self._described()).tools

    async def call(self, tool: str, arguments: JsonObject) -> Result:
        """Run a tool of the plugin; the process is killed when this is cancelled.

        Raises:
            LlmosError: the process cannot be started, or is gone.
        """
        async with self._turn:
            if self._process is None:
                await self._described()
            return await self._ask(Call(tool=tool, arguments=dict(arguments)), Result)

    async def close(self) -> None:
        """Let the plugin close what it holds, for a bounded time, and end its process."""
        async with self._turn:
            process, self._process = self._process, None
            if process is not None:
                await process.finish(CLOSE_LIMIT_S)

    async def _described(self) -> Descriptions:
        await self._kill()
        request = Describe.model_construct(
            do="describe", name=self._source.path.name, files=dict(self._source.files)
        )
        self._process = await _spawn()
        try:
            async with asyncio.timeout(START_LIMIT_S):
                described = await self._ask(request, Descriptions)
        except (PluginGone, TimeoutError) as error:
            problem = await asyncio.to_thread(sandbox_problem)
            if problem is not None:
                raise SandboxUnavailable(problem) from error
            raise ConfigError(f"it does not start in the sandbox: {error or 'it hangs'}") from error
        if described.error is not None:
            await self._kill()
            raise ConfigError(described.error)
        return described

    async def _ask(self, request: BaseModel, form: type[Reply]) -> Reply:
        """Send a request and return its reply; whatever goes wrong ends the process."""
        try:
            return form.model_validate_json(await self._exchange(request.model_dump_json()))
        except ValidationError as error:
            await self._kill()
            raise PluginGone("it said what is no reply, and was ended") from error
        except BaseException:
            await self._kill()
            raise

    async def _exchange(self, line: str) -> bytes:
        process = self._process
        if process is None:
            raise PluginGone("it has no process")
        await process.send(line.encode())
        try:
            return await process.receive()
        except (LineTooLong, ProcessEnded) as error:
            raise PluginGone(str(error)) from error

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()


class SandboxedTool:
    """A tool of a plugin that runs in its own process."""

    def __init__(self, spec: ToolSpec, process: PluginProcess) -> None:
        self.spec = spec
        self._process = process

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        """Run one call; see `llmos_kernel.abi.Driver`."""
        try:
            result = await self._process.call(self.spec.name, arguments)
        except PluginGone as error:
            raise ToolFailed(f"{self.spec.name} broke: {error}") from error
        match result.status:
            case "retry":
                raise RetryCall(result.text)
            case "failed":
                raise ToolFailed(result.text)
            case "ok":
                return _kept(result, context)

    async def close(self) -> None:
        await self._process.close()


def sandboxed_tools(sources: Sequence[PluginSource]) -> list[list[Driver] | LlmosError]:
    """Return the tools of each plugin, or why it has none. Blocks while each describes itself."""
    if not sources:
        return []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_tools_of, sources))


def _tools_of(source: PluginSource) -> list[Driver] | LlmosError:
    return asyncio.run(_drivers(source))


async def _drivers(source: PluginSource) -> list[Driver] | LlmosError:
    process = PluginProcess(source)
    try:
        descriptions = await process.describe()
    except LlmosError as error:
        return error
    finally:
        await process.close()
    shared = PluginProcess(source)
    return [SandboxedTool(_spec(description), shared) for description in descriptions]


def _spec(description: Description) -> ToolSpec:
    return ToolSpec(
        **description.model_dump(), effects=frozenset({Effect.SANDBOX}), max_concurrent=1
    )


def _kept(result: Result, context: CallContext) -> Output:
    """Write the files of a result into the workspace; say so where a name was taken."""
    names = [save_free(context.workspace, file.name, file.data) for file in result.files]
    renamed = [
        f"{file.name} is kept as {name}"
        for file, name in zip(result.files, names, strict=True)
        if name != file.name
    ]
    return Output("\n".join([result.text, *renamed]), tuple(names))


async def _spawn() -> LineProcess:
    program = PROGRAM.format(paths=[str(package.parent) for package in PACKAGES])
    command = [str(python_program()), "-I", "-c", program]
    with seccomp_file() as descriptor:
        return await LineProcess.start(
            Sandbox(packages=PACKAGES).command(command, descriptor),
            env={},
            limit=LINE_BYTES,
            pass_fds=(descriptor,),
        )
