"""Search's settings. Knows no network: it is loaded with llmos' own settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class SearchSettings(BaseModel):
    """Where the web is searched."""

    model_config = ConfigDict(extra="forbid")

    searxng_url: str | None = Field(
        None, description="the address of a SearXNG server, asked before the public engines"
    )

    @field_validator("searxng_url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("it begins with http:// or https://, such as http://localhost:8888")
        return url
