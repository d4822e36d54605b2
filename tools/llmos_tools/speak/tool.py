"""Speak: text becomes words, the words become sound, and the sound is heard or kept as a file.

The text is said piece by piece, so that the first words are heard while the last are made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from llmos.model_host import ModelHost
from llmos.outputs import save_free
from llmos.sdk import CallContext, Effect, Label, Output, RetryCall, ToolFailed, tool
from llmos_tools.speak.player import find_player
from llmos_tools.speak.reading import pieces, spoken
from llmos_tools.speak.settings import SpeakSettings
from llmos_tools.speak.sound import Sound
from llmos_tools.speak.voices import voice_of

LONGEST = 20_000
_HOUR_S = 3600.0


class Speak:
    """Holds no sound; where there is no loudspeaker, it reaches no further than the workspace."""

    def __init__(self, settings: SpeakSettings, models: ModelHost) -> None:
        self._language = settings.language
        self._voice = voice_of(settings, models)
        self._player = find_player() if settings.play else None
        if self._player is None:
            self.speak = self.speak.with_effects({Effect.FILES})

    @tool(
        effects={Effect.DEVICE, Effect.FILES},
        timeout_s=_HOUR_S,
        keywords=(
            "loud", "voice", "hear", "pronounce", "announce", "shout", "whisper", "call", "recite",
            "utter", "tts", "speech", "spoken", "speaker", "loudspeaker", "audio", "sound", "talk",
            "holler", "read",
        ),
    )  # fmt: skip
    async def speak(self, text: str, context: CallContext) -> Output:
        """Say text aloud.

        Args:
            text: the text
        """
        said = _said(text, self._language)
        sounds = self._sounds(said, context.report)
        if self._player is not None:
            seconds = await self._player.play(sounds)
            return Output(f"said aloud, {seconds:.1f} s", label=Label.TRUSTED)
        sound = joined([sound async for sound in sounds])
        name = save_free(context.workspace, "speech.wav", sound.as_wav())
        return Output(f"speech saved as {name}, {sound.duration_s:.1f} s", (name,), Label.TRUSTED)

    async def _sounds(self, said: list[str], report: Callable[[str], None]) -> AsyncIterator[Sound]:
        for number, piece in enumerate(said, 1):
            if len(said) > 1:
                report(f"part {number} of {len(said)}")
            yield await self._voice.say(piece, report)


def joined(sounds: list[Sound]) -> Sound:
    """Return sounds of one rate as one.

    Raises:
        ToolFailed: they are of several rates.
    """
    rates = {sound.rate for sound in sounds}
    if len(rates) > 1:
        raise ToolFailed("the voices of these languages do not go together; speak them apart")
    return Sound(rates.pop(), b"".join(sound.samples for sound in sounds))


def _said(text: str, language: str) -> list[str]:
    if len(text) > LONGEST:
        raise RetryCall(
            f"the text has {len(text)} characters; at most {LONGEST} are said in one call, "
            "so give it in parts"
        )
    said = pieces(spoken(text, language))
    if not said:
        raise RetryCall(f"there is nothing to say in {text[:40]!r}; give words")
    return said
