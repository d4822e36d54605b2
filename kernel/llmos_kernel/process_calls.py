"""The system calls about processes, as drivers: spawn, wait, signal, send, receive.

Covered: a process acts on its own descendants only, and sends to its parent besides. Knows of the
kernel only what `ProcessControl` says.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from llmos_kernel.abi import CallContext, Driver, Effect, Json, JsonObject, Output, ToolSpec
from llmos_kernel.conversation import RECEIVE, Letter
from llmos_kernel.errors import LlmosError, ToolFailed
from llmos_kernel.process import Process, Signal


class ProcessControl(Protocol):
    """What the calls need of a kernel."""

    def spawn(self, task: str, *, parent: int | None = None) -> Process: ...

    async def wait(self, pid: int) -> str: ...

    def signal(self, pid: int, signal: Signal) -> None: ...

    def send(self, pid: int, text: str, *, sender: int | None = None) -> None: ...

    async def receive(self, pid: int) -> Letter: ...


ParentOf: TypeAlias = Callable[[int], int | None]


@dataclass(frozen=True, slots=True)
class Caller:
    """A process that makes a call, and what it makes it over."""

    pid: int
    control: ProcessControl
    parent_of: ParentOf

    def own(self, pid: int) -> int:
        """Return a pid that is one of the caller's descendants.

        Raises:
            ToolFailed: it is not.
        """
        ancestor = self.parent_of(pid)
        while ancestor is not None and ancestor != self.pid:
            ancestor = self.parent_of(ancestor)
        if ancestor is None:
            raise ToolFailed(f"process {pid} is none of yours; you can use those that you started")
        return pid


Behaviour: TypeAlias = Callable[[Caller, Any], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class ProcessCall:
    """One call about processes. `behave` gets the caller and the arguments."""

    spec: ToolSpec
    control: ProcessControl
    parent_of: ParentOf
    behave: Behaviour

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        """Run one call; see `llmos_kernel.abi.Driver`."""
        caller = Caller(context.pid, self.control, self.parent_of)
        return Output(await self.behave(caller, arguments))

    async def close(self) -> None:
        """Hold nothing, so give nothing back."""


def process_calls(control: ProcessControl, parent_of: ParentOf) -> list[Driver]:
    """Return the calls over a kernel. `parent_of` also knows processes that have ended."""
    text: Json = {"type": "string"}
    pid: Json = {"type": "integer"}
    signals: Json = {"type": "string", "enum": [signal.value for signal in Signal]}
    acts = frozenset({Effect.MEMORY})
    nothing = frozenset[Effect]()
    specs: list[tuple[ToolSpec, Behaviour]] = [
        (_spec("spawn_process", "Start a process for a task.", acts, task=text), _spawn),
        (_spec("wait_process", "Wait for a process's answer.", nothing, True, pid=pid), _wait),
        (
            _spec("signal_process", "Signal a process.", acts, pid=pid, signal=signals),
            _signal,
        ),
        (_spec("send_message", "Send text to a process.", acts, pid=pid, text=text), _send),
        (_spec(RECEIVE, "Wait for a message and read it.", nothing), _receive),
    ]
    return [ProcessCall(spec, control, parent_of, behave) for spec, behave in specs]


def _spec(
    name: str,
    description: str,
    effects: frozenset[Effect],
    is_repeatable: bool = False,
    **properties: Json,
) -> ToolSpec:
    """Return the specification of a call, which may wait for ever: budgets and signals end it."""
    parameters: dict[str, Json] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return ToolSpec(name, description, parameters, effects, is_repeatable, timeout_s=math.inf)


async def _spawn(caller: Caller, arguments: Any) -> str:
    child = caller.control.spawn(arguments["task"], parent=caller.pid)
    return f"started process {child.pid}"


async def _wait(caller: Caller, arguments: Any) -> str:
    pid = caller.own(arguments["pid"])
    try:
        return await caller.control.wait(pid)
    except LlmosError as error:
        raise ToolFailed(f"process {pid} failed: {error}") from error


async def _signal(caller: Caller, arguments: Any) -> str:
    caller.control.signal(caller.own(arguments["pid"]), Signal(arguments["signal"]))
    return "done"


async def _send(caller: Caller, arguments: Any) -> str:
    pid = arguments["pid"]
    if pid != caller.parent_of(caller.pid):
        caller.own(pid)
    caller.control.send(pid, arguments["text"], sender=caller.pid)
    return "sent"


async def _receive(caller: Caller, arguments: Any) -> str:
    letter = await caller.control.receive(caller.pid)
    sender = "the user" if letter.sender is None else f"process {letter.sender}"
    return f"from {sender}: {letter.text}"
