"""A session by voice: recordings come in, spoken answers go out, by the tools listen and speak.

Knows neither a speech model nor a synthesizer.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos.shell.ears import FOLDER_PREFIX, heard_from_microphone, heard_in, needed_tool
from llmos.shell.microphone import recorder
from llmos.shell.screen import Screen
from llmos.shell.starting import report
from llmos.shell.stopping import stoppable
from llmos.single_call import run_call
from llmos_kernel.abi import CallContext, Driver
from llmos_kernel.errors import ConfigError, ToolFailed
from llmos_kernel.kernel import Kernel

GREETING = "llmos. Speak, then pause; Ctrl-C stops what is done or said, and leaves otherwise."


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """Where a session's sound comes from and goes to: devices, where nothing is named."""

    recordings: tuple[Path, ...] = ()
    answers: Path | None = None

    def flags(self) -> dict[str, Any]:
        """Return the settings that follow."""
        return {} if self.answers is None else {"speak": {"play": False}}


def voice_options(
    is_wanted: bool, recordings: tuple[Path, ...], answers: Path | None
) -> VoiceOptions | None:
    """Return what the flags ask for, or nothing for a session that is typed.

    Raises:
        ConfigError: they do not go together, a recording is missing, or there is no microphone.
    """
    if not is_wanted:
        if recordings or answers:
            raise ConfigError("--voice-from and --voice-to need --voice")
        return None
    for path in recordings:
        if not path.is_file():
            raise ConfigError(f"there is no recording {str(path)!r}")
    if answers is not None and answers.exists() and not answers.is_dir():
        raise ConfigError(f"--voice-to names a folder, and {str(answers)!r} is a file")
    if not recordings:
        recorder()
    return VoiceOptions(recordings, answers)


class Spoken:
    """See `llmos.shell.session.Talk`. `folder` holds speech that is not kept."""

    greeting = GREETING

    def __init__(
        self, listen: Driver, speak: Driver, screen: Screen, folder: Path, options: VoiceOptions
    ) -> None:
        self._listen = listen
        self._speak = speak
        self._screen = screen
        self._folder = folder
        self._answers = options.answers
        self._recordings: Iterator[Path] | None = (
            iter(options.recordings) if options.recordings else None
        )

    async def next_line(self) -> str:
        """Return what is heard next, as it would have been typed; empty where nothing is."""
        try:
            line = await stoppable(self._heard())
        except KeyboardInterrupt:
            raise EOFError from None
        except ToolFailed as error:
            report(str(error))
            return ""
        print(f"> {line}" if line else "Nothing was heard.", flush=True)
        return line

    async def answer(self, text: str) -> None:
        """Show an answer and say it; Ctrl-C stops the speech."""
        self._screen.show_answer(text)
        if not text.strip():
            return
        context = CallContext(0, self._answers or self._folder, report=_unheard)
        try:
            said = await stoppable(run_call(self._speak, {"text": text}, context))
        except KeyboardInterrupt:
            report("stopped")
            return
        if said.status != "ok":
            report(said.text.removeprefix("error: "))
        elif self._answers is not None:
            report(said.text)

    async def _heard(self) -> str:
        if self._recordings is None:
            return await heard_from_microphone(self._listen)
        path = next(self._recordings, None)
        if path is None:
            raise EOFError
        return await heard_in(self._listen, path)


@asynccontextmanager
async def spoken(kernel: Kernel, screen: Screen, options: VoiceOptions) -> AsyncGenerator[Spoken]:
    """Make a session by voice, for the length of the block.

    Raises:
        ConfigError: a tool that it needs is not there.
    """
    listen, speak = (needed_tool(kernel, name, by="--voice") for name in ("listen", "speak"))
    if options.answers is not None:
        options.answers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as folder:
        yield Spoken(listen, speak, screen, Path(folder), options)


def _unheard(line: str) -> None:
    """Drop how far the speech is: it is heard."""
