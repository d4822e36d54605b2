"""What the host and the process of a model say to each other: one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

LINE_BYTES = 16 << 20


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Load(_Line):
    """The first request: which model the process is for."""

    do: Literal["load"] = "load"
    factory: str
    checkpoint: str


class Ask(_Line):
    """A request to the loaded model; its files lie in `folder`."""

    do: Literal["ask"] = "ask"
    request: dict[str, Any]
    folder: str


class Progress(_Line):
    """How far the work is. Any number of these come before the reply."""

    said: Literal["progress"] = "progress"
    text: str


class Done(_Line):
    """The reply to either request. `held_bytes` is what the process holds by now."""

    said: Literal["done"] = "done"
    value: dict[str, Any] = {}
    held_bytes: int


class Failed(_Line):
    """The reply where there is none, by who acts next."""

    said: Literal["failed"] = "failed"
    why: Literal["failed", "retry", "broke", "memory"]
    text: str


Request: TypeAlias = Load | Ask
Answer: TypeAlias = Progress | Done | Failed
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="do")])
ANSWER: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="said")])
