"""The settings of draw. Knows no model: it is loaded with llmos' own settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

EMBEDDED = "embedded"
EMBEDDED_STEPS = 20


class DrawSettings(BaseModel):
    """Which pipeline draws, and how. What is not given is as the pipeline has it."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: str = Field(
        EMBEDDED,
        min_length=1,
        description="a diffusers pipeline from text to image: 'embedded', a folder, or a hub name",
    )
    steps: int | None = Field(None, gt=0, le=1000, description="denoising steps for one picture")
    size: int | None = Field(
        None, ge=64, le=2048, multiple_of=8, description="width and height in pixels"
    )
    guidance: float | None = Field(None, ge=0, description="how closely it keeps to the words")
    seed: int | None = Field(
        None, ge=0, description="the same words always give the same picture; else one by the time"
    )

    @property
    def is_embedded(self) -> bool:
        return self.checkpoint == EMBEDDED

    @property
    def folder_or_name(self) -> str:
        return str(Path(__file__).parent / "model") if self.is_embedded else self.checkpoint
