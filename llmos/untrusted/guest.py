"""Runs inside the sandbox: loads one plugin and answers requests until its input ends.

Knows nothing of the host but its lines. What the plugin prints goes nowhere.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from llmos.sdk import CallContext, Output, tools_in
from llmos.untrusted.source import import_plugin
from llmos.untrusted.wire import (
    LINE_BYTES,
    MOST_FILE_BYTES,
    Call,
    Describe,
    Description,
    Descriptions,
    MadeFile,
    Request,
    Result,
)
from llmos_kernel.abi import Driver
from llmos_kernel.errors import LlmosError, RetryCall

PLUGINS = Path.home() / "plugin"
WORKSPACE = Path.home() / "workspace"


def main() -> None:
    """Answer each line of the input with one line of output."""
    with (
        os.fdopen(os.dup(0), "rb") as requests,
        os.fdopen(os.dup(1), "wb") as replies,
        Path(os.devnull).open("r+b") as nothing,
        asyncio.Runner() as runner,
    ):
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
        guest = Guest(runner)
        for line in requests:
            reply = guest.reply(line).model_dump_json().encode()
            replies.write(reply + b"\n")
            replies.flush()
        guest.close()


class Guest:
    """One loaded plugin. Calls follow one another, all in one event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._drivers: dict[str, Driver] = {}

    def reply(self, line: bytes) -> Descriptions | Result:
        match TypeAdapter[Describe | Call](Request).validate_json(line):
            case Describe() as request:
                return self._describe(request)
            case Call() as request:
                return self._runner.run(self._call(request))

    def close(self) -> None:
        for driver in self._drivers.values():
            self._runner.run(driver.close())

    def _describe(self, request: Describe) -> Descriptions:
        for name, data in request.files.items():
            file = PLUGINS / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        try:
            drivers = tools_in(import_plugin(PLUGINS / request.name))
            tools = [_description(driver) for driver in drivers]
        except Exception as error:  # a plugin may fail in any way
            return Descriptions(error=_named(error))
        self._drivers = {driver.spec.name: driver for driver in drivers}
        return Descriptions(tools=tools)

    async def _call(self, request: Call) -> Result:
        shutil.rmtree(WORKSPACE, ignore_errors=True)
        WORKSPACE.mkdir()
        driver = self._drivers[request.tool]
        try:
            output = await driver.call(request.arguments, CallContext(0, WORKSPACE))
            return _result(output)
        except RetryCall as error:
            return Result(status="retry", text=str(error))
        except LlmosError as error:
            return Result(status="failed", text=str(error))
        except Exception as error:  # a tool may raise anything
            return Result(status="failed", text=f"{request.tool} broke: {_named(error)}")


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, LlmosError) else f"{type(error).__name__}: {error}"


def _description(driver: Driver) -> Description:
    spec = driver.spec
    return Description(
        name=spec.name,
        description=spec.description,
        parameters=dict(spec.parameters),
        timeout_s=spec.timeout_s,
        max_output_chars=spec.max_output_chars,
        keywords=spec.keywords,
    )


def _result(output: Output) -> Result:
    contents = {name: (WORKSPACE / name).read_bytes() for name in output.files}
    text = output.text.encode(errors="replace").decode()
    if len(text) > LINE_BYTES // 4:
        return Result(status="failed", text=f"{len(text):,} characters are too many to hand over")
    if sum(map(len, contents.values())) > MOST_FILE_BYTES:
        limit = f"at most {MOST_FILE_BYTES:,} bytes"
        return Result(status="failed", text=f"the files are too large to hand over: {limit}")
    return Result(status="ok", text=text, files=_made(contents))


def _made(contents: Mapping[str, bytes]) -> list[MadeFile]:
    return [
        MadeFile.model_construct(name=_plain(Path(name).name), data=data)
        for name, data in contents.items()
    ]


def _plain(name: str) -> str:
    """Return a file's name with only the signs that the host takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-100:] or "file"
