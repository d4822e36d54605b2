"""The settings of look. Knows no model: it is loaded with llmos' own settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

EMBEDDED = "embedded"


class LookSettings(BaseModel):
    """Which model looks at pictures, and how large they may be."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: str = Field(
        EMBEDDED,
        min_length=1,
        description="a vision-language checkpoint: 'embedded', a folder, or a hub name",
    )
    most_megapixels: int = Field(
        50, gt=0, description="larger pictures are refused before they are decoded"
    )

    @property
    def is_embedded(self) -> bool:
        return self.checkpoint == EMBEDDED

    @property
    def folder_or_name(self) -> str:
        return str(Path(__file__).parent / "model") if self.is_embedded else self.checkpoint
