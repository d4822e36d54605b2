"""The settings of listen. Knows no model: it is loaded with llmos' own settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

EMBEDDED = "embedded"


class ListenSettings(BaseModel):
    """Which model listens, and how long recordings may be."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: str = Field(
        EMBEDDED,
        min_length=1,
        description="a Whisper checkpoint: 'embedded', a name such as 'base', or a .pt file",
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="what the .pt file must have; needed for a file, and for nothing else",
    )
    most_minutes: int = Field(240, gt=0, description="longer recordings are refused")

    @property
    def is_embedded(self) -> bool:
        return self.checkpoint == EMBEDDED
