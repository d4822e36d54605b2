"""The settings of speak. Knows no synthesizer: they are loaded with llmos' own settings."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

USUAL_SPEED = 175


class SpeakSettings(BaseModel):
    """Whose voice it is, and where it is heard."""

    model_config = ConfigDict(extra="forbid")

    engine: Literal["espeak", "transformers", "piper"] = Field(
        "espeak", description="espeak-ng, a VITS or SpeechT5 checkpoint, or piper"
    )
    voice: str = Field(
        "en", description="espeak-ng's voice; its language is the one that numbers are read in"
    )
    speed: int = Field(USUAL_SPEED, ge=80, le=450, description="words a minute")
    pitch: int = Field(50, ge=0, le=99, description="of espeak-ng's voice")
    checkpoint: str | None = Field(
        None, description="transformers: a folder or hub name; piper: its .onnx file"
    )
    vocoder: str = Field(
        "microsoft/speecht5_hifigan", description="SpeechT5's: a folder or hub name"
    )
    speaker: str | None = Field(
        None, description="VITS with several: a number; SpeechT5: a .npy file of its vector"
    )
    play: bool = Field(True, description="use the loudspeaker where there is one, not a file")

    @model_validator(mode="after")
    def _has_checkpoint(self) -> SpeakSettings:
        if self.engine != "espeak" and self.checkpoint is None:
            raise ValueError(f"the engine {self.engine!r} needs speak.checkpoint")
        return self

    @property
    def language(self) -> str:
        return self.voice.split("-")[0].split("+")[0].casefold()

    @property
    def pace(self) -> float:
        """How many times as fast as usual."""
        return self.speed / USUAL_SPEED
