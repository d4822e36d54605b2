"""The interactive shell: one process, many turns, until Ctrl-D.

Ctrl-C cancels the running turn and keeps the session.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Protocol

from llmos.boot import BootOptions
from llmos.cli import DONE
from llmos.config import load_settings
from llmos.shell.approval import ask_on_terminal
from llmos.shell.commands import HELP, NEW, help_text
from llmos.shell.foreground import interrupting
from llmos.shell.screen import Screen
from llmos.shell.starting import report, started
from llmos.shell.typed import Typed
from llmos.shell.voice import VoiceOptions, spoken
from llmos_kernel.errors import LlmosError
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import deny_all
from llmos_kernel.process import ExitStatus, Interrupted, Process, ProcessState


class Talk(Protocol):
    """How a person's words come in and the answers go out."""

    greeting: str

    async def next_line(self) -> str:
        """Return what the person says next.

        Raises:
            EOFError: they are done.
            KeyboardInterrupt: they took it back.
        """
        ...

    async def answer(self, text: str) -> None:
        """Give an answer, shown in pieces already or not; return when it has been given."""
        ...


def run_shell(flags: dict[str, Any], voice: VoiceOptions | None = None) -> int:
    """Run the shell, by voice where that is given, and return its exit status.

    Raises:
        LlmosError: the system cannot start; the message says what to do.
    """
    return asyncio.run(_shell(flags, voice))


async def _shell(flags: dict[str, Any], voice: VoiceOptions | None) -> int:
    screen = Screen()
    options = BootOptions(
        approve=deny_all if voice and not sys.stdin.isatty() else ask_on_terminal,
        on_event=screen.show_step,
        on_text=screen.show_text,
        on_progress=screen.show_progress,
        report=report,
    )
    if voice is None:
        async with started(load_settings(**flags), options) as kernel:
            return await _converse(kernel, screen, Typed(kernel, screen))
    settings = load_settings(**flags, **voice.flags())
    async with started(settings, options) as kernel, spoken(kernel, screen, voice) as talk:
        return await _converse(kernel, screen, talk)


async def _converse(kernel: Kernel, screen: Screen, talk: Talk) -> int:
    if sys.stdin.isatty():
        print(talk.greeting)
    process = _new_process(kernel, screen)
    while True:
        try:
            line = (await talk.next_line()).strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            _finish(kernel, process)
            return DONE
        if process.state is ProcessState.ZOMBIE:
            report(f"process {process.pid} was {process.exit_status}; a new one begins")
            process = _new_process(kernel, screen)
        if line == NEW:
            _finish(kernel, process)
            process = _new_process(kernel, screen)
        elif line == HELP:
            print(help_text())
        elif line.startswith("/"):
            print(f"There is no command {line!r}; {HELP} shows what there is.")
        elif line:
            await _turn(kernel, process, line, screen, talk)


def _new_process(kernel: Kernel, screen: Screen) -> Process:
    process = kernel.start("shell", is_interactive=True)
    screen.pid = process.pid
    return process


def _finish(kernel: Kernel, process: Process) -> None:
    """End a process that no other terminal has ended."""
    if process.pid in kernel.processes:
        kernel.finish(process, ExitStatus.DONE)


async def _turn(kernel: Kernel, process: Process, line: str, screen: Screen, talk: Talk) -> None:
    """Run one turn; a failure or a cancellation is said and the session goes on."""
    try:
        with interrupting(kernel, process.pid):
            answer = await kernel.turn(process, line)
    except Interrupted:
        screen.end_line()
        print("Killed." if process.is_killed else "Cancelled.")
    except LlmosError as error:
        screen.end_line()
        report(str(error))
    else:
        await talk.answer(answer)
