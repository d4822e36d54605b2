"""`llmos` with a stand-in for listening: a recording's words are the bytes of its file.

What comes from a microphone says always the same.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from llmos import boot, cli, config
from llmos.sdk import CallContext, tool, tools_of
from llmos_kernel.syscalls import OwnedDriver
from llmos_tools.calculate import Calculate
from llmos_tools.speak import Speak
from llmos_tools.speak.settings import SpeakSettings

SECTION = EntryPoint("speak", "llmos_tools.speak.settings:SpeakSettings", config.SECTIONS)
SPOKEN = "What is 2 plus 3?"


@tool(effects=())
def listen(audio: str, context: CallContext) -> str:
    """Write down what is said in a recording."""
    recording = (context.workspace / audio).read_bytes()
    return SPOKEN if recording.startswith(b"RIFF") else recording.decode()


async def stand_ins(settings: Any, models: Any, **_: Any) -> list[OwnedDriver]:
    provided: list[object] = [models, settings.speak]
    assert isinstance(settings.speak, SpeakSettings)
    plugins = (listen, Speak, Calculate)
    return [OwnedDriver(d, "the test") for plugin in plugins for d in tools_of(plugin, provided)]


def sections(*, group: str) -> list[EntryPoint]:
    others = [entry for entry in entry_points(group=group) if entry.name != SECTION.name]
    return [*others, SECTION] if group == config.SECTIONS else others


if __name__ == "__main__":
    boot.installed_tools = stand_ins  # pyright: ignore[reportAttributeAccessIssue]
    config.entry_points = sections  # pyright: ignore[reportAttributeAccessIssue]
    cli.main()
