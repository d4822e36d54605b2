"""The section `models` of the settings: what hosted models may take of the machine."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HostSettings(BaseModel):
    """How much memory models of tools may hold, and how long."""

    model_config = ConfigDict(extra="forbid")

    memory_mb: int | None = Field(
        None,
        gt=0,
        description="the most that llmos and the models of its tools hold; half of the machine's",
    )
    idle_s: float = Field(600, gt=0, description="a model that nobody asked for so long is ended")
