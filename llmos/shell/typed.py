"""A session that is typed, where `/listen` types what is said.

Knows neither a speech model nor what becomes of a line.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import is_dumb_terminal

from llmos.boot import workspace_path
from llmos.config import home_path
from llmos.shell.commands import HELP, LISTEN, CommandCompleter
from llmos.shell.ears import heard_from_microphone, heard_in, needed_tool
from llmos.shell.microphone import recorder
from llmos.shell.screen import Screen
from llmos.shell.starting import report
from llmos.shell.stopping import stoppable
from llmos_kernel.errors import ConfigError, LlmosError
from llmos_kernel.kernel import Kernel

GREETING = f"llmos. Say what is to be done; {HELP} shows commands, Ctrl-C cancels, Ctrl-D leaves."
RECORDING = "Speak; a pause or Enter ends the recording, Ctrl-C drops it."


class Typed:
    """See `llmos.shell.session.Talk`."""

    greeting = GREETING

    def __init__(self, kernel: Kernel, screen: Screen) -> None:
        self._prompt: PromptSession[str] = PromptSession(
            history=FileHistory(str(home_path() / "history")),
            completer=CommandCompleter(),
            complete_while_typing=False,
        )
        self._kernel = kernel
        self._screen = screen

    async def next_line(self) -> str:
        """Return the next line that is no `/listen`: what that hears can be edited first."""
        line = await self._line()
        while line.split(maxsplit=1)[:1] == [LISTEN]:
            line = await self._line(await self._heard(line.strip().removeprefix(LISTEN).strip()))
        return line

    async def answer(self, text: str) -> None:
        self._screen.show_answer(text)

    async def _line(self, begun: str = "") -> str:
        with patch_stdout():  # what is scheduled reports above the line that is being typed
            return await self._prompt.prompt_async("> ", default=begun)

    async def _heard(self, file: str) -> str:
        """Return what is said in a file, or into the microphone where none is named."""
        try:
            line = await stoppable(self._listen(file))
        except KeyboardInterrupt:
            report("stopped")
            return ""
        except LlmosError as error:
            report(str(error))
            return ""
        if not line:
            print("Nothing was heard.")
        elif is_dumb_terminal():  # which does not show what a line begins with
            print(line)
        return line

    async def _listen(self, file: str) -> str:
        listen = needed_tool(self._kernel, "listen", by=LISTEN)
        if file:
            return await heard_in(listen, _recording(file))
        recorder()
        print(RECORDING, flush=True)
        return await heard_from_microphone(listen)


def _recording(name: str) -> Path:
    """Return a file of the folder that the shell began in, or else of the workspace.

    Raises:
        ConfigError: there is none of that name.
    """
    with suppress(OSError, RuntimeError):  # names too long, folders closed to us, ~nobody
        for path in (Path(name).expanduser(), workspace_path(home_path()) / name):
            if path.is_file():
                return path
    raise ConfigError(f"there is no recording {name!r}, neither here nor in the workspace")
