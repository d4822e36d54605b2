"""What is said, in a recording or into the microphone, as it would have been typed.

Knows no speech model: the tool `listen` hears.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from llmos.shell.microphone import record_utterance
from llmos.shell.progress import console, working
from llmos.shell.screen import printable
from llmos.shell.transcripts import as_typed
from llmos.single_call import run_call
from llmos_kernel.abi import CallContext, Driver
from llmos_kernel.errors import ConfigError, ToolFailed
from llmos_kernel.kernel import Kernel

FOLDER_PREFIX = "llmos-voice-"


def needed_tool(kernel: Kernel, name: str, *, by: str) -> Driver:
    """Return a tool that a part of the shell cannot do without.

    Raises:
        ConfigError: it is not there.
    """
    driver = kernel.driver(name)
    if driver is None:
        raise ConfigError(f"{by} needs the tool {name!r}; `llmos doctor` says what it lacks")
    return driver


async def heard_from_microphone(listen: Driver) -> str:
    """Record until a pause or Enter, and return what was said; empty where nothing was.

    Raises:
        ConfigError: there is no microphone, or what it hears cannot be read.
        ToolFailed: listening failed.
    """
    recording = await record_utterance()
    if recording is None:
        return ""
    return await _heard(listen, "said.wav", lambda path: path.write_bytes(recording))


async def heard_in(listen: Driver, recording: Path) -> str:
    """Return what is said in a recording, wherever it lies; empty where nothing is.

    Raises:
        ConfigError: it cannot be read.
        ToolFailed: listening failed.
    """
    return await _heard(listen, recording.name, lambda path: shutil.copyfile(recording, path))


async def _heard(listen: Driver, name: str, write: Callable[[Path], object]) -> str:
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as folder:
        try:
            await asyncio.to_thread(write, Path(folder, name))
        except OSError as error:
            raise ConfigError(f"{name!r} cannot be read: {error.strerror or error}") from error
        context = CallContext(0, Path(folder), report=_shown)
        with working("Listening"):
            result = await run_call(listen, {"audio": name}, context)
    if result.status != "ok":
        raise ToolFailed(result.text.removeprefix("error: "))
    return printable(as_typed(result.text)).lstrip("/")  # nobody says a command of the shell


def _shown(line: str) -> None:
    console.print(printable(line), style="dim", markup=False)
