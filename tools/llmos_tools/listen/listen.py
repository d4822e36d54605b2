"""`listen`: writes down what is said in recordings of the workspace, by a Whisper model.

Covered: the kernel decodes no sound; a process of its own does, and its text is untrusted.
Not covered: what a voice in a recording talks the language model into.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from llmos.model_host import HostedModel, ModelHost
from llmos.sdk import CallContext, ToolFailed, tool
from llmos_tools.files.workspace import (
    READ,
    check_readable,
    explained,
    opened,
    parts_of,
    workspace_of,
)
from llmos_tools.listen.checkpoints import checked_checkpoint
from llmos_tools.listen.settings import ListenSettings

MOST_BYTES = 1 << 30
NAME, FACTORY = "the speech model", "llmos_tools.listen.transcriber:Transcriber"


class Listen:
    """Listens to recordings; see `ListenSettings` for with which model."""

    def __init__(self, settings: ListenSettings, models: ModelHost) -> None:
        self._settings = settings
        self._models = models
        self._model: HostedModel | None = None

    @tool(
        effects=(),
        is_repeatable=True,
        timeout_s=7200,
        max_concurrent=None,
        keywords=("transcribe", "transcript", "transcription", "dictation", "audio", "voice"),
    )
    async def listen(self, audio: str, context: CallContext) -> str:
        """Write down what is said in a recording; by default short commands.

        Args:
            audio: the file
        """
        recording = await asyncio.to_thread(_bytes_of, audio, context)
        if self._model is None:
            checkpoint = await asyncio.to_thread(checked_checkpoint, self._settings)
            self._model = HostedModel(NAME, FACTORY, checkpoint)
        request: dict[str, Any] = {
            "name": audio,
            "is_embedded": self._settings.is_embedded,
            "most_minutes": self._settings.most_minutes,
        }
        reply = await self._models.ask(
            self._model, request, {"recording": recording}, report=context.report
        )
        return _shown(reply.value)


def _bytes_of(audio: str, context: CallContext) -> bytes:
    """Return what a file of the workspace holds.

    Raises:
        ToolFailed: it is missing, outside, not a file, empty or too large.
    """
    parts = parts_of(audio)
    with (
        workspace_of(context) as folder,
        explained(audio, lambda: f"there is no file {audio!r}: list_files shows what there is"),
        opened(folder, parts, READ) as file,
    ):
        status = os.fstat(file)
        check_readable(audio, status)
        if status.st_size == 0:
            raise ToolFailed(f"{audio!r} is empty: it holds no recording")
        if status.st_size > MOST_BYTES:
            raise ToolFailed(
                f"{audio!r} has {status.st_size:,} bytes, {MOST_BYTES:,} can be listened to"
            )
        with os.fdopen(file, "rb", closefd=False) as stream:
            return stream.read(MOST_BYTES)


def _shown(value: Mapping[str, Any]) -> str:
    """Return the words, each line with its time where there are several."""
    lines, seconds = value["lines"], int(value["seconds"])
    if not lines:
        return f"no speech in it ({_clock(seconds)} long)"
    if len(lines) == 1:
        return str(lines[0]["text"])
    return "\n".join(f"[{_clock(int(line['start']))}] {line['text']}" for line in lines)


def _clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
