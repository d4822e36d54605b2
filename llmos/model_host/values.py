"""What a tool and the host of models hand each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from llmos_kernel.abi import JsonObject

Report: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HostedModel:
    """A model as a tool names it; equal ones share a process.

    `name` is how messages call it ("the drawing model"). `factory` ("package.module:Name") is
    called in that process as `factory(checkpoint, report)` and returns a `Guest`. `checkpoint` is
    a folder, a file, or a hub name.
    """

    name: str
    factory: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answers; `files` is what it left in `folder / "out"`, by name."""

    value: JsonObject
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


class Guest(Protocol):
    """A loaded model, in its own process. Its calls follow one another, in one thread."""

    def answer(self, request: JsonObject, folder: Path, report: Report) -> JsonObject:
        """Answer one request, whose files lie in `folder`.

        What it writes into `folder / "out"`, which is there, comes back with the reply.

        Raises:
            ToolFailed: it cannot be done; the model reads why and adapts.
            RetryCall: the request is wrong; the model mends it.
        """
        ...
