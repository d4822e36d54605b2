"""The browser's settings. Knows no browser: it is loaded with llmos' own settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from llmos_tools.browser.addresses import AllowedHost


class BrowserSettings(BaseModel):
    """What the browser may reach beside the public internet."""

    model_config = ConfigDict(extra="forbid")

    allow_hosts: list[str] = Field(
        [], description="hosts or host:port that may be reached though they are not public"
    )

    @field_validator("allow_hosts")
    @classmethod
    def _are_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            AllowedHost.parse(host)
        return hosts

    @property
    def allowed(self) -> list[AllowedHost]:
        return [AllowedHost.parse(host) for host in self.allow_hosts]
