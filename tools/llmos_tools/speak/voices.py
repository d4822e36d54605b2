"""Who speaks: espeak-ng, piper, or a checkpoint in a process of its own. Text in, sound out.

Knows neither how text is spelled out nor where the sound goes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from llmos.model_host import HostedModel, ModelHost
from llmos.sdk import ToolFailed
from llmos_tools.speak.programs import fed
from llmos_tools.speak.scripts import script_of
from llmos_tools.speak.settings import SpeakSettings
from llmos_tools.speak.sound import Sound, read_wav

INSTALL = "apt-get install espeak-ng"
# espeak-ng's voices for scripts that one language, or the most of its writers, use.
LANGUAGES = {
    "CYRILLIC": "ru", "GREEK": "el", "CJK": "cmn", "HIRAGANA": "ja", "KATAKANA": "ja",
    "HANGUL": "ko", "ARABIC": "ar", "HEBREW": "he", "DEVANAGARI": "hi", "BENGALI": "bn",
    "TAMIL": "ta", "TELUGU": "te", "GEORGIAN": "ka", "ARMENIAN": "hy", "ETHIOPIC": "am",
    "THAI": "th",
}  # fmt: skip


class Voice(Protocol):
    """Says one piece of text, a sentence or two."""

    async def say(self, piece: str, report: Callable[[str], None]) -> Sound:
        """Return the sound. Cancelling ends the work.

        Raises:
            ToolFailed: it cannot be said; the message says what to do.
        """
        ...


class EspeakVoice:
    """espeak-ng's voice; text in another script is read by a voice of its language."""

    def __init__(self, settings: SpeakSettings) -> None:
        self._settings = settings

    async def say(self, piece: str, report: Callable[[str], None]) -> Sound:
        if problem := espeak_problem():
            raise ToolFailed(problem)
        settings = self._settings
        voice = LANGUAGES.get(script_of(piece), settings.voice)
        form = ["-v", voice, "-s", str(settings.speed), "-p", str(settings.pitch), "--stdin"]
        return await _written("espeak-ng", form, "-w", piece)


class PiperVoice:
    """A voice of piper, through its command."""

    def __init__(self, settings: SpeakSettings, checkpoint: str) -> None:
        self._checkpoint = Path(checkpoint).expanduser()
        self._length = 1 / settings.pace

    async def say(self, piece: str, report: Callable[[str], None]) -> Sound:
        if shutil.which("piper") is None:
            raise ToolFailed("piper is not installed; run `pip install piper-tts`")
        if not self._checkpoint.is_file():
            raise ToolFailed(
                f"there is no voice {str(self._checkpoint)!r}; name its .onnx file "
                "in the setting speak.checkpoint"
            )
        form = ["--model", str(self._checkpoint), "--length_scale", f"{self._length:.3f}"]
        return await _written("piper", form, "--output_file", " ".join(piece.split()))


class HostedVoice:
    """A VITS or SpeechT5 checkpoint of transformers."""

    def __init__(self, settings: SpeakSettings, checkpoint: str, models: ModelHost) -> None:
        factory = "llmos_tools.speak.neural:NeuralVoice"
        self._model = HostedModel("the speaking model", factory, checkpoint)
        self._models = models
        self._request = {
            "vocoder": settings.vocoder,
            "speaker": settings.speaker,
            "pace": settings.pace,
        }

    async def say(self, piece: str, report: Callable[[str], None]) -> Sound:
        request = {**self._request, "text": piece}
        reply = await self._models.ask(self._model, request, report=report)
        return read_wav(reply.files["speech.wav"], "the speaking model")


def voice_of(settings: SpeakSettings, models: ModelHost) -> Voice:
    """Return the voice that the settings choose."""
    checkpoint = settings.checkpoint
    if settings.engine == "espeak" or checkpoint is None:
        return EspeakVoice(settings)
    if settings.engine == "piper":
        return PiperVoice(settings, checkpoint)
    return HostedVoice(settings, checkpoint, models)


def espeak_problem() -> str | None:
    """Say what mends a missing espeak-ng, or nothing where it is installed."""
    if shutil.which("espeak-ng") is None:
        return f"espeak-ng is not installed; run `{INSTALL}`"
    return None


async def _written(program: str, form: list[str], output: str, text: str) -> Sound:
    """Run a program that reads text and writes a WAV file where its option `output` says."""
    with tempfile.TemporaryDirectory(prefix="llmos-speak-") as folder:
        path = Path(folder) / "speech.wav"
        await fed([program, *form, output, str(path)], text.encode(errors="replace"))
        data = path.read_bytes() if path.exists() else b""
    return read_wav(data, program)
