"""The loudspeaker: found, never assumed. A cancelled call silences it at once."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from llmos.sound_devices import has_sound_card, has_sound_server
from llmos_tools.speak.programs import check, running
from llmos_tools.speak.sound import Sound


@dataclass(frozen=True, slots=True)
class Player:
    """A program that plays raw samples of a rate from its standard input."""

    program: str
    arguments: Callable[[int], list[str]]

    async def play(self, sounds: AsyncIterator[Sound]) -> float:
        """Play sounds of one rate as they come; return how many seconds they last, once heard.

        Raises:
            ToolFailed: the program failed, or what makes the sounds did.
        """
        first = await anext(sounds)
        seconds = first.duration_s
        async with running([self.program, *self.arguments(first.rate)]) as process:
            assert process.stdin is not None and process.stderr is not None
            try:
                process.stdin.write(first.samples)
                async for sound in sounds:
                    await process.stdin.drain()
                    process.stdin.write(sound.samples)
                    seconds += sound.duration_s
                process.stdin.close()
                await process.stdin.wait_closed()
            except (BrokenPipeError, ConnectionResetError):
                pass  # it ended early; its exit status and its words say why
            errors = await process.stderr.read()
            await process.wait()
        check(process, self.program, errors)
        return seconds


def _paplay(rate: int) -> list[str]:
    return ["--raw", "--format=s16le", "--channels=1", f"--rate={rate}"]


def _aplay(rate: int) -> list[str]:
    return ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(rate)]


def _ffplay(rate: int) -> list[str]:
    form = ["-f", "s16le", "-ar", str(rate), "-ac", "1"]
    return ["-loglevel", "error", "-nodisp", "-autoexit", *form, "-i", "-"]


def find_player() -> Player | None:
    """Return what plays here, or nothing where there is no sound server and no sound card."""
    programs: list[tuple[str, Callable[[int], list[str]]]] = []
    if has_sound_server():
        programs += [("paplay", _paplay), ("ffplay", _ffplay)]
    if has_sound_card():
        programs += [("aplay", _aplay), ("ffplay", _ffplay)]
    for name, arguments in programs:
        if path := shutil.which(name):
            return Player(path, arguments)
    return None
