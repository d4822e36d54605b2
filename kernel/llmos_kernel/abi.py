"""The values that cross every boundary of llmos: messages, tool specifications, calls, results.

Pure data: nothing here knows a model, a file or a process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from llmos_kernel.errors import ToolFailed

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Label(StrEnum):
    """Where a text came from, and so what it may steer."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


class Effect(StrEnum):
    """What a tool can change or reach outside its own process."""

    FILES = "files"
    SANDBOX = "sandbox"
    NETWORK = "network"
    DEVICE = "device"
    MEMORY = "memory"
    IRREVERSIBLE = "irreversible"


ALL_EFFECTS = frozenset(Effect)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What the model and the kernel know of a tool.

    `parameters` is a JSON schema of type object. `effects` is empty for a tool that changes and
    reaches nothing; an undeclared one has them all. `is_repeatable` says that running a call twice
    is the same as running it once. `max_output_chars` bounds what the model is shown of a result;
    `max_concurrent` how many calls of the tool run at once, over all processes. `keywords` are
    words by which people ask for it and which the description lacks: no model reads them, they help
    to find the tool among many.
    """

    name: str
    description: str
    parameters: JsonObject
    effects: frozenset[Effect] = ALL_EFFECTS
    is_repeatable: bool = False
    timeout_s: float = 30.0
    max_output_chars: int = 4000
    max_concurrent: int | None = None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A closed, decoded call; `id` is unique within its process.

    `origins` says where the value of each grounded argument was taken from; `confidence` how sure
    the model is of the call, 0 to 1, where its engine can say.
    """

    id: str
    name: str
    arguments: JsonObject
    origins: Mapping[str, Label] = field(default_factory=dict[str, Label])
    confidence: float | None = None

    def __str__(self) -> str:
        return call_text(self.name, self.arguments)


def call_text(name: str, arguments: JsonObject) -> str:
    """Return a call as people read it."""
    shown = (f"{key}={json.dumps(v, ensure_ascii=False)}" for key, v in arguments.items())
    return f"{name}({', '.join(shown)})"


ResultStatus: TypeAlias = Literal[
    "ok",
    "failed",  # the tool ran and says why it could not do it; the model adapts
    "retry",  # the arguments are wrong; the model mends them
    "timeout",  # the tool was ended at its time limit
    "denied",  # policy or the user refused the call
    "cancelled",  # a signal ended the process while the tool ran
    "unknown",  # the kernel died while an effect ran; it may or may not have happened
    "not_run",  # a dry run, or a call that follows a malformed one
]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of one call. `text` is what the model reads; `files` are workspace paths.

    `blob` is the hash of the whole output where `text` shows only its head.
    """

    call_id: str
    status: ResultStatus
    text: str
    files: tuple[str, ...] = ()
    label: Label = Label.UNTRUSTED
    blob: str | None = None

    def body(self) -> dict[str, Any]:
        """Return it as events hold it; what is as usual is left out."""
        body: dict[str, Any] = {"id": self.call_id, "status": self.status, "text": self.text}
        if self.files:
            body["files"] = list(self.files)
        if self.blob:
            body["blob"] = self.blob
        if self.label is Label.TRUSTED:
            body["label"] = self.label.value
        return body


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a conversation. `calls` occur in assistant messages only."""

    role: Role
    content: str = ""
    calls: tuple[ToolCall, ...] = field(default=())
    label: Label = Label.TRUSTED


NO_FOLDER = Path(os.devnull)


def blob_handle(digest: str) -> str:
    """Return the short name under which a model is told of a blob."""
    return f"blob:{digest[:12]}"


def _no_blob(handle: str) -> str:
    raise ToolFailed(f"there is no {handle!r}: no output of this process was cut")


def _unheard(line: str) -> None:
    """Drop a line that nobody would see."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a tool may know of the process that calls it.

    `workspace` and `home`, which holds all state, are absolute folders. `asked_at` is the Unix time
    at which the call was journalled, the same when it runs again after a crash. `label` is that of
    all that the process has read so far; `user_messages` are what its user has told it.
    `report` takes, in any thread, a line on how far the call is ("step 3 of 20"), which people see
    and no journal keeps. `read_blob` returns, in any thread, the whole of an output that this
    process was shown the head of, by the handle that it was shown (`blob:3f2a41b0c9de`); it raises
    ToolFailed for any other.
    """

    pid: int
    workspace: Path
    read_blob: Callable[[str], str] = field(default=_no_blob, repr=False, compare=False)
    home: Path = NO_FOLDER
    asked_at: float = field(default_factory=time.time)
    label: Label = Label.UNTRUSTED
    user_messages: tuple[str, ...] = ()
    report: Callable[[str], None] = field(default=_unheard, repr=False, compare=False)

    def label_of(self, text: str) -> Label:
        """Return the label of a text that the process wrote itself.

        It is trusted where nothing untrusted can have steered it: the process has read nothing
        untrusted, or its user wrote the same.
        """
        wanted = _plain(text)
        if wanted and any(wanted in _plain(message) for message in self.user_messages):
            return Label.TRUSTED
        return self.label


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True, slots=True)
class Output:
    """What a tool gives back: text for the model, and files it made, relative to the workspace.

    It is trusted only where the tool says so, since nothing in it is from outside.
    """

    text: str
    files: tuple[str, ...] = ()
    label: Label = Label.UNTRUSTED


class Driver(Protocol):
    """A tool as the kernel sees it."""

    @property
    def spec(self) -> ToolSpec: ...

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        """Run one call whose arguments satisfy the schema. Cancellation must end the work.

        Raises:
            ToolFailed: it cannot be done; the model reads why and adapts.
            RetryCall: the arguments are wrong in a way that the schema cannot say.
        """
        ...

    async def close(self) -> None:
        """Give back what the tool holds. Called once, also when it was never called."""
        ...
