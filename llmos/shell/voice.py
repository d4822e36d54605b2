"""A session by voice: recordings come in, spoken answers go out, by the tools listen and speak.

Knows neither a speech model nor a synthesizer.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmos.shell.microphone import record_utterance, recorder
from llmos.shell.progress import console, working
from llmos.shell.screen import Screen, printable
from llmos.shell.starting import report
from llmos.shell.transcripts import as_typed
from llmos.single_call import run_call
from llmos_kernel.abi import CallContext, Driver, ToolResult
from llmos_kernel.errors import ConfigError
from llmos_kernel.kernel import Kernel

GREETING = "llmos. Speak, then pause; Ctrl-C stops what is done or said, and leaves otherwise."
Made = TypeVar("Made")


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
    """See `llmos.shell.session.Talk`. `folder` holds a recording while it is listened to."""

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
            heard = await _stoppable(self._heard())
        except KeyboardInterrupt:
            raise EOFError from None
        if heard.status != "ok":
            report(heard.text.removeprefix("error: "))
            return ""
        line = as_typed(heard.text)
        print(f"> {printable(line)}" if line else "Nothing was heard.", flush=True)
        return line.lstrip("/")

    async def answer(self, text: str) -> None:
        """Show an answer and say it; Ctrl-C stops the speech."""
        self._screen.show_answer(text)
        if not text.strip():
            return
        context = CallContext(0, self._answers or self._folder, report=_unheard)
        try:
            said = await _stoppable(run_call(self._speak, {"text": text}, context))
        except KeyboardInterrupt:
            report("stopped")
            return
        if said.status != "ok":
            report(said.text.removeprefix("error: "))
        elif self._answers is not None:
            report(said.text)

    async def _heard(self) -> ToolResult:
        name, data = await self._next_recording()
        path = self._folder / name
        path.write_bytes(data)
        try:
            with working("Listening"):
                context = CallContext(0, self._folder, report=_shown)
                return await run_call(self._listen, {"audio": name}, context)
        finally:
            path.unlink()

    async def _next_recording(self) -> tuple[str, bytes]:
        if self._recordings is None:
            return "said.wav", await record_utterance()
        path = next(self._recordings, None)
        if path is None:
            raise EOFError
        return f"said{path.suffix}", await asyncio.to_thread(path.read_bytes)


@asynccontextmanager
async def spoken(kernel: Kernel, screen: Screen, options: VoiceOptions) -> AsyncGenerator[Spoken]:
    """Make a session by voice, for the length of the block.

    Raises:
        ConfigError: a tool that it needs is not there.
    """
    listen, speak = _needed(kernel, "listen"), _needed(kernel, "speak")
    if options.answers is not None:
        options.answers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="llmos-voice-") as folder:
        yield Spoken(listen, speak, screen, Path(folder), options)


def _needed(kernel: Kernel, name: str) -> Driver:
    driver = kernel.driver(name)
    if driver is None:
        raise ConfigError(f"--voice needs the tool {name!r}; `llmos doctor` says what it lacks")
    return driver


async def _stoppable(work: Coroutine[Any, Any, Made]) -> Made:
    """Run work that Ctrl-C and SIGTERM stop.

    Raises:
        KeyboardInterrupt: they did.
    """
    task = asyncio.ensure_future(work)
    was_stopped = False

    def stop() -> None:
        nonlocal was_stopped
        was_stopped = True
        task.cancel()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if was_stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _shown(line: str) -> None:
    console.print(printable(line), style="dim", markup=False)


def _unheard(line: str) -> None:
    """Drop how far the speech is: it is heard."""
