"""The microphone: found, never assumed; what is said is recorded until the speaker pauses.

Knows no words: speech is what is louder than the room.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import wave
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from subprocess import DEVNULL, PIPE

import numpy as np

from llmos.sound_devices import has_sound_card, has_sound_server
from llmos_kernel.errors import ConfigError

RATE = 16_000
FRAME_S = 0.03
FRAME_BYTES = int(RATE * FRAME_S) * 2
QUIETEST_SPEECH = 300.0  # of 32,768
ABOVE_ROOM = 3.0
BEGIN_FRAMES = 5
PAUSE_FRAMES = int(0.9 / FRAME_S)
LONGEST_FRAMES = int(60 / FRAME_S)
LONGEST_LINE = 4096
BEFORE_FRAMES = int(0.3 / FRAME_S)


class Utterance:
    """The frames of one utterance, and whether it is over."""

    def __init__(self) -> None:
        self._before: deque[bytes] = deque(maxlen=BEFORE_FRAMES + BEGIN_FRAMES)
        self._frames: list[bytes] = []
        self._room = QUIETEST_SPEECH / ABOVE_ROOM
        self._num_loud = 0
        self._num_quiet = 0

    def add(self, frame: bytes) -> bool:
        """Take a frame; return whether the speaker has ended."""
        level = float(np.sqrt(np.mean(np.square(np.frombuffer(frame, "<i2").astype(float)))))
        is_loud = level > max(QUIETEST_SPEECH, ABOVE_ROOM * self._room)
        if self._frames:
            self._frames.append(frame)
            self._num_quiet = 0 if is_loud else self._num_quiet + 1
            return self._num_quiet >= PAUSE_FRAMES or len(self._frames) >= LONGEST_FRAMES
        self._before.append(frame)
        self._num_loud = self._num_loud + 1 if is_loud else 0
        if not is_loud:
            self._room += 0.05 * (level - self._room)
        if self._num_loud >= BEGIN_FRAMES:
            self._frames = list(self._before)
        return False

    @property
    def has_begun(self) -> bool:
        return bool(self._frames)

    def as_wav(self) -> bytes:
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(b"".join(self._frames))
        return buffer.getvalue()


def recorder() -> list[str]:
    """Return the command that writes the microphone's samples to its standard output.

    Raises:
        ConfigError: there is no microphone, or no program for it.
    """
    form = ["--raw", "--format=s16le", "--channels=1", f"--rate={RATE}"]
    if has_sound_server() and (path := shutil.which("parecord")):
        return [path, *form]
    if has_sound_card() and (path := shutil.which("arecord")):
        return [path, "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(RATE)]
    if has_sound_server() or has_sound_card():
        raise ConfigError("nothing records here; run `apt-get install alsa-utils pulseaudio-utils`")
    raise ConfigError(
        "there is no microphone here; give recordings: `/listen question.wav` in the shell, or "
        "`llmos --voice --voice-from question.wav`"
    )


async def record_utterance() -> bytes | None:
    """Return what is said until a pause or Enter as a WAV file, or nothing where nothing is said.

    Cancelling ends the recording too.

    Raises:
        ConfigError: there is no microphone, or it cannot be read.
    """
    process = await asyncio.create_subprocess_exec(
        *recorder(), stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    utterance = Utterance()
    with _at_enter(process.kill) as was_pressed:
        try:
            while not utterance.add(await process.stdout.readexactly(FRAME_BYTES)):
                pass
        except asyncio.IncompleteReadError as error:
            if not was_pressed.is_set():
                reason = "the microphone cannot be read; is another program using it?"
                raise ConfigError(reason) from error
        finally:
            if process.returncode is None and not was_pressed.is_set():
                process.kill()
            await process.wait()
    return utterance.as_wav() if utterance.has_begun else None


@contextmanager
def _at_enter(act: Callable[[], None]) -> Generator[asyncio.Event]:
    """Act at the first Enter within the block, where a terminal is; lend whether it was pressed."""
    was_pressed = asyncio.Event()
    if not sys.stdin.isatty():
        yield was_pressed
        return
    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()

    def pressed() -> None:
        os.read(terminal, LONGEST_LINE)
        loop.remove_reader(terminal)
        was_pressed.set()
        with suppress(ProcessLookupError):
            act()

    loop.add_reader(terminal, pressed)
    try:
        yield was_pressed
    finally:
        loop.remove_reader(terminal)
