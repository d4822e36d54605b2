"""What host and guest say to each other: one JSON object a line, a request and then its reply.

The host believes nothing of a reply but its form.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

LINE_BYTES = 16 << 20
MOST_FILE_BYTES = 8_000_000


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Describe(_Line):
    """The first request: what the plugin consists of, and so what it offers."""

    do: Literal["describe"] = "describe"
    name: str
    files: dict[str, Base64Bytes]


class Call(_Line):
    """A request to run a tool."""

    do: Literal["call"] = "call"
    tool: str
    arguments: dict[str, Any]


class Description(_Line):
    """A tool as the guest describes it. Its effects are the sandbox's, whatever it declares."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
    description: Annotated[str, Field(min_length=1, max_length=1000)]
    parameters: dict[str, Any]
    timeout_s: Annotated[float, Field(gt=0, le=600)]
    max_output_chars: Annotated[int, Field(gt=0, le=20_000)]
    keywords: tuple[Annotated[str, Field(max_length=40)], ...] = Field(default=(), max_length=40)


class Descriptions(_Line):
    """The reply to `Describe`; `error` says why the plugin cannot be loaded."""

    tools: list[Description] = []
    error: str | None = None


class MadeFile(_Line):
    """A file that a call made."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")]
    data: Base64Bytes


class Result(_Line):
    """The reply to `Call`."""

    status: Literal["ok", "failed", "retry"]
    text: str
    files: list[MadeFile] = []


Request = Annotated[Describe | Call, Field(discriminator="do")]
