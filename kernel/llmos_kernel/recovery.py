"""Rebuilds a process from its journalled events: its context, its open calls, its place in life.

Pure: reads events and blobs, runs nothing. Knows neither the kernel nor an engine. A journal that
does not make sense is refused; nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from llmos_kernel.abi import Effect, Label, ToolResult, ToolSpec
from llmos_kernel.confidence import Calibration
from llmos_kernel.conversation import Conversation, Letter, PendingCall
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.errors import LlmosError, ModelError, StateError
from llmos_kernel.journal import JournalEvent
from llmos_kernel.process import Budget, TaskFailed
from llmos_kernel.trap import Malformed, Trap

LoadBlob = Callable[[str], bytes]

# Why a piece of a step ended, where the step is not over with it.
OPEN_REASONS = frozenset({"signal", "error"})
CLOSED_REASONS = frozenset({"stop", "limit", "deadline"})


class NotRecoverable(LlmosError):
    """A process cannot be rebuilt from its journal; the message says why."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What a process is given when it is made, and keeps: the body of its `spawn` event.

    `system` is the digest of the blob that holds its system prompt and tools; `fork` names the
    process and the event that a forked one continues. `chooses_tools`: they were chosen for the
    task, and are chosen anew for each message. `calibration` says how sure the model is of
    its calls; one of which it is less sure than `ask_below` needs a yes.
    """

    parent: int | None
    nice: int
    is_interactive: bool
    budget: Budget
    tools: frozenset[str] | None
    system: str
    model: str
    limits: dict[str, int]
    is_dry_run: bool
    chooses_tools: bool = False
    fork: dict[str, int] | None = None
    calibration: Calibration | None = None
    ask_below: float = 0.0

    @property
    def told(self) -> Label:
        """The label of what the process is told: a child is told by its parent's model."""
        return Label.TRUSTED if self.parent is None else Label.UNTRUSTED

    def body(self) -> dict[str, Any]:
        return {
            "parent": self.parent,
            "nice": self.nice,
            "is_interactive": self.is_interactive,
            "budget": {"tokens": self.budget.max_tokens, "seconds": self.budget.max_seconds},
            "tools": None if self.tools is None else sorted(self.tools),
            "system": self.system,
            "model": self.model,
            "limits": self.limits,
            "is_dry_run": self.is_dry_run,
            "chooses_tools": self.chooses_tools,
            "fork": self.fork,
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "ask_below": self.ask_below,
        }

    @classmethod
    def of(cls, body: dict[str, Any]) -> Birth:
        budget, tools = body["budget"], body["tools"]
        calibration = body.get("calibration")
        values: dict[str, Any] = {
            "budget": Budget(budget["tokens"], budget["seconds"]),
            "tools": None if tools is None else frozenset(tools),
            "calibration": None if calibration is None else Calibration(**calibration),
        }
        return cls(**(body | values))


@dataclass(frozen=True, slots=True)
class RecoveredProcess:
    """A process as its last event left it. `seconds_used` counts only time with a kernel."""

    birth: Birth
    conversation: Conversation
    nice: int
    tools: frozenset[str] | None
    seconds_used: float


def system_blob(system_prompt: str, specs: Sequence[ToolSpec]) -> bytes:
    """Write what a process's system message was made of."""
    tools = [
        {
            "name": spec.name,
            "description": spec.description,
            "parameters": dict(spec.parameters),
            "effects": sorted(spec.effects),
            "is_repeatable": spec.is_repeatable,
        }
        for spec in specs
    ]
    return json.dumps({"prompt": system_prompt, "tools": tools}).encode()


def read_system(blob: bytes) -> tuple[str, list[ToolSpec]]:
    """Read what `system_blob` wrote."""
    value = json.loads(blob)
    specs = [
        ToolSpec(
            tool["name"],
            tool["description"],
            tool["parameters"],
            frozenset(Effect(name) for name in tool["effects"]),
            tool["is_repeatable"],
        )
        for tool in value["tools"]
    ]
    return value["prompt"], specs


def rebuild(
    events: Sequence[JournalEvent], pid: int, renderer: Renderer, load_blob: LoadBlob
) -> RecoveredProcess:
    """Return a process as its events left it.

    Its context equals that of the lost one at its last journalled step, id for id.

    Raises:
        NotRecoverable: the events are not those of a process's life.
    """
    if not events or events[0].kind != "spawn":
        raise NotRecoverable(
            f"process {pid} cannot be rebuilt: its journal does not tell how it began"
        )
    try:
        birth = Birth.of(events[0].body)
        prompt, specs = read_system(load_blob(birth.system))
        system_ids = renderer.system_ids(prompt, specs)
        talk = Conversation(
            pid, renderer, system_ids, specs, told=birth.told, calibration=birth.calibration
        )
        rebuilding = _Rebuilding(talk, birth, renderer, load_blob)
        for number, event in enumerate(events):
            if event.seq != number:
                raise _senseless(event)
            rebuilding.take(event)
    except (KeyError, TypeError, ValueError, ModelError, StateError) as error:
        raise NotRecoverable(f"process {pid} cannot be rebuilt: its journal is damaged") from error
    seconds_used = _seconds_used(events)
    return RecoveredProcess(birth, talk, rebuilding.nice, rebuilding.tools, seconds_used)


def _seconds_used(events: Sequence[JournalEvent]) -> float:
    """Sum up the time between events, without that before a `resume`."""
    return sum(
        max(0.0, later.time - earlier.time)
        for earlier, later in pairwise(events)
        if later.kind != "resume"
    )


def _senseless(event: JournalEvent) -> NotRecoverable:
    return NotRecoverable(
        f"process {event.pid} cannot be rebuilt: its event {event.seq} ({event.kind}) does not "
        "follow from those before it"
    )


class _Rebuilding:
    """Takes a process's events one by one and grows its conversation as the kernel did."""

    def __init__(
        self, talk: Conversation, birth: Birth, renderer: Renderer, load_blob: LoadBlob
    ) -> None:
        self._talk = talk
        self._renderer = renderer
        self._load_blob = load_blob
        self.nice = birth.nice
        self.tools = birth.tools

    def take(self, event: JournalEvent) -> None:
        body = event.body
        match event.kind:
            case "spawn" if event.seq == 0:
                pass
            case "state" | "signal" | "error" | "resume":
                pass
            case "renice":
                self.nice = body["nice"]
            case "tools":
                self._take_tools(event)
            case "user":
                self._talk.tell(body["text"])
            case "message":
                self._talk.mailbox.append(Letter(body["sender"], body["text"]))
            case "step":
                self._take_step(event)
            case "hand_over":
                self._take_hand_over(event)
            case "answer":
                self._take_answer(event)
            case "tool_call" | "malformed" | "tool_start" | "tool_result":
                self._take_call(event)
            case _:
                raise _senseless(event)

    def _take_tools(self, event: JournalEvent) -> None:
        prompt, specs = read_system(self._load_blob(event.body["system"]))
        self._talk.set_tools(self._renderer.system_ids(prompt, specs), specs)
        self.tools = frozenset(event.body["tools"])

    def _take_step(self, event: JournalEvent) -> None:
        talk, reason = self._talk, event.body["reason"]
        if any(call.result is None for call in talk.calls) or talk.answer is not None:
            raise _senseless(event)
        if not talk.has_heard or reason not in OPEN_REASONS | CLOSED_REASONS:
            raise _senseless(event)
        if talk.calls:
            talk.give_results()
        step = talk.open_step()
        if step.is_ended:
            raise _senseless(event)
        told = iter(event.body.get("log_probabilities", ()))
        for token_id in event.body["tokens"]:
            talk.feed(step, token_id, next(told, None))
        step.num_recorded = len(step.tokens)
        if reason in CLOSED_REASONS:
            talk.end_step()

    def _take_hand_over(self, event: JournalEvent) -> None:
        talk, body = self._talk, event.body
        is_open = talk.calls and not talk.is_kept and not any(c.is_recorded for c in talk.calls)
        if not is_open or body["reason"] not in {"stop", "error", "signal"}:
            raise _senseless(event)
        talk.end_hand_over(body["reason"], body["text"], read_calls(body), body["num_tokens"])

    def _take_answer(self, event: JournalEvent) -> None:
        step = self._talk.step
        if step is None or step.text.strip() != event.body["text"]:
            raise _senseless(event)
        self._talk.set_answer(event.body["text"])

    def _take_call(self, event: JournalEvent) -> None:
        if event.kind in ("tool_call", "malformed"):
            self._take_intent(event)
            return
        call = next((c for c in self._talk.calls if c.id == event.body["id"]), None)
        if call is None or not call.is_recorded or call.result is not None:
            raise _senseless(event)
        if event.kind == "tool_start":
            call.is_started = True
            return
        call.is_malformed = event.body.get("is_malformed", False)
        self._talk.set_result(call, read_result(event.body))

    def _take_intent(self, event: JournalEvent) -> None:
        call = next((call for call in self._talk.calls if not call.is_recorded), None)
        if call is None or not _is_intent_of(event, call):
            raise _senseless(event)
        call.id = event.body["id"]
        call.asked_at = event.time
        call.is_recorded = True
        if event.kind == "malformed":
            self._talk.refuse(call)


def _is_intent_of(event: JournalEvent, call: PendingCall) -> bool:
    match call.trap:
        case Trap(name=name, arguments=arguments):
            return event.kind == "tool_call" and (
                event.body["name"] == name and event.body["arguments"] == arguments
            )
        case Malformed():
            return event.kind == "malformed"


def read_calls(body: dict[str, Any]) -> list[Trap]:
    """Read the calls of a `hand_over` event's body."""
    return [Trap(call["name"], call["arguments"]) for call in body["calls"]]


def read_result(body: dict[str, Any]) -> ToolResult:
    """Read the body of a `tool_result` event."""
    return ToolResult(
        body["id"],
        body["status"],
        body["text"],
        tuple(body.get("files", ())),
        Label(body.get("label", Label.UNTRUSTED)),
        body.get("blob"),
    )


def outcome(pid: int, events: Iterable[JournalEvent]) -> str:
    """Return the answer of a process that has ended.

    Raises:
        TaskFailed: it ended without one.
        StateError: it has not ended.
    """
    answer, problem, ending = None, "", None
    for event in events:
        match event.kind:
            case "user":
                answer, problem = None, ""
            case "answer":
                answer = event.body["text"]
            case "error":
                problem = event.body["text"]
            case "state":
                ending = event.body.get("exit")
            case _:
                pass
    if ending is None:
        raise StateError(f"process {pid} has not ended; `llmos resume {pid}` lets it go on")
    if answer is None or ending != "done":
        raise TaskFailed(problem or f"process {pid} was {ending}")
    return answer
