"""What a process has seen and said, as token ids, and what it is about to do next.

The living kernel and recovery grow a conversation through the same methods, so that one rebuilt
from a journal equals the lost one. Knows no engine, no tool and no journal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from llmos_kernel.abi import Label, Message, Role, ToolCall, ToolResult, ToolSpec
from llmos_kernel.confidence import DECIMALS, Calibration, Confidence, confidence_of
from llmos_kernel.dialects.codecs.codec import is_name
from llmos_kernel.dialects.codecs.strict_json import dump
from llmos_kernel.dialects.renderer import Mark, Renderer
from llmos_kernel.errors import ModelError
from llmos_kernel.grounding import Seen, grounded_keys
from llmos_kernel.trap import Event, Malformed, Text, Trap, TrapParser

RECEIVE = "receive_message"  # the call whose good result takes a letter out of the mailbox
NOT_RUN = "error: not run"


class Phase(Enum):
    """What comes next in a process's life."""

    SPEAK = auto()
    CALL = auto()
    ANSWER = auto()
    ANSWERED = auto()


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to a process. `sender` is the pid of the process that sent it, or None."""

    sender: int | None
    text: str


@dataclass(slots=True)
class Step:
    """One reply of the model. `is_whole` is false where it has no stop token (yet).

    `start` is the place in the context where it was opened. `ends` says for each of `traps` how
    many tokens there were when it was read. The first `num_recorded` of `tokens` are in the
    journal. `log_probabilities` are those of the tokens, or fewer: none where the engine cannot
    say, or nobody asked.
    """

    parser: TrapParser
    start: int
    tokens: list[int] = field(default_factory=list[int])
    log_probabilities: list[float] = field(default_factory=list[float])
    text: str = ""
    traps: list[Trap | Malformed] = field(default_factory=list[Trap | Malformed])
    ends: list[int] = field(default_factory=list[int])
    is_whole: bool = False
    is_ended: bool = False
    num_recorded: int = 0

    def take(self, events: Iterable[Event]) -> str:
        """Add what the parser read and return the text among it."""
        text = ""
        for event in events:
            if isinstance(event, Text):
                text += event.text
            elif isinstance(event, Trap | Malformed):
                self.traps.append(event)
                self.ends.append(len(self.tokens))
        self.text += text
        return text


@dataclass(slots=True)
class PendingCall:
    """A call of the last step. `is_recorded`: its intent is journalled; `is_started`: its effect
    may have begun; `is_malformed`: it could not be run as the model wrote it. `origins`: where the
    values of grounded arguments come from. `confidence`: how sure the model is, where that is
    known. `asked_at`: the Unix time of the recorded intent.
    """

    id: str
    trap: Trap | Malformed
    origins: Mapping[str, Label] = field(default_factory=dict[str, Label])
    confidence: Confidence | None = None
    asked_at: float = 0.0
    is_recorded: bool = False
    is_started: bool = False
    is_malformed: bool = False
    result: ToolResult | None = None

    @property
    def request(self) -> ToolCall:
        """The call as tools and users see it; only of one that is not malformed by form."""
        assert isinstance(self.trap, Trap)
        confidence = self.confidence.call if self.confidence else None
        return ToolCall(self.id, self.trap.name, self.trap.arguments, self.origins, confidence)

    def is_below(self, threshold: float) -> bool:
        """Whether the model is known to be less sure of it."""
        return self.confidence is not None and self.confidence.call < threshold


class Conversation:
    """The context of one process, and where in its life the process is.

    The context only grows, but for the system message, which changes with the tools, and for the
    last step, whose place another may take. `messages` are what it holds, without the last step
    until that has its results or is the answer.
    """

    def __init__(
        self,
        pid: int,
        renderer: Renderer,
        system_ids: Sequence[int],
        specs: Sequence[ToolSpec] = (),
        *,
        told: Label = Label.TRUSTED,
        calibration: Calibration | None = None,
    ) -> None:
        """Begin with the system message, which `system_ids` write; `specs` are its tools.

        `told` is the label of what the process is told: a child is told by another model. Without
        `calibration` nobody asks how sure the model is of its calls.
        """
        self._pid = pid
        self._renderer = renderer
        self._specs = specs
        self._num_system = len(system_ids)
        self._told = told
        self.calibration = calibration
        self.seen = Seen()
        self.context = list(system_ids)
        self.step: Step | None = None
        self.calls: list[PendingCall] = []
        self.answer: str | None = None
        self.mailbox: list[Letter] = []
        self.messages: list[Message] = []
        self.is_kept = False  # the last step is the model's own, though it doubts
        self.label = Label.TRUSTED  # of all that was read, results included
        self.num_calls = 0
        self.num_tokens = 0
        # Since the last message of the user; of calls the names, in their order.
        self.called: list[str] = []
        self.num_steps = 0
        self.num_malformed = 0

    @property
    def phase(self) -> Phase:
        if self.answer is not None:
            return Phase.ANSWERED
        if self.calls:
            return Phase.CALL
        return Phase.ANSWER if self.step and self.step.is_ended else Phase.SPEAK

    @property
    def has_heard(self) -> bool:
        return bool(self.messages)

    @property
    def user_messages(self) -> tuple[str, ...]:
        """What the process was told, in order."""
        return tuple(m.content for m in self.messages if m.role is Role.USER)

    @property
    def is_in_turn(self) -> bool:
        """Whether a user's message waits for its answer."""
        return self.has_heard and self.answer is None

    def tell(self, text: str) -> None:
        """Append a user's message, after an end to whatever an interruption left open."""
        if self.step is not None and not self.step.is_ended:
            self.end_step()
            self.calls = []
        if self.calls:
            self.give_results()
        elif self.step is not None and self.answer is None:
            self._keep_message(self.step.text)
        self.context += self._renderer.user_ids(text, self.context)
        self.messages.append(Message(Role.USER, text, label=self._told))
        self.seen.add(text, self._told)
        self.step = self.answer = None
        self.called = []
        self.num_steps = self.num_malformed = 0

    def set_tools(self, system_ids: Sequence[int], specs: Sequence[ToolSpec]) -> None:
        """Put a system message with other tools in the place of the one that there is."""
        self.context[: self._num_system] = system_ids
        if self.step is not None:
            self.step.start += len(system_ids) - self._num_system
        self._num_system = len(system_ids)
        self._specs = specs

    def open_step(self) -> Step:
        """Return the step that is open, or open one."""
        if self.step is None:
            self.step = Step(TrapParser(self._renderer, self._specs), len(self.context))
            self.context += self._renderer.assistant_open_ids(self.context)
        return self.step

    def is_unwanted(self, step: Step, token_id: int, log_probability: float | None) -> bool:
        """Whether a token opens a call though it is too unsure that the user's message wants one.

        Of the first token after the message alone: what follows a result is not judged.
        """
        is_first = not step.tokens and self.num_steps == 0
        opens = self._renderer.marks.get(token_id) is Mark.OPEN
        if not (is_first and opens) or self.calibration is None or log_probability is None:
            return False
        return math.exp(log_probability) < self.calibration.opening

    def feed(self, step: Step, token_id: int, log_probability: float | None = None) -> str:
        """Append what the model says and return the text that it completes."""
        self.context.append(token_id)
        self.num_tokens += 1
        step.tokens.append(token_id)
        if log_probability is not None:
            step.log_probabilities.append(round(log_probability, DECIMALS))
        step.is_whole = token_id in self._renderer.stop_ids
        return step.take(step.parser.feed(token_id))

    def end_step(self) -> str:
        """End the open step; its calls become pending. Return the text that was still held."""
        step = self.open_step()
        if not step.is_whole:
            self.context.append(self._renderer.stop_id)
        self.context += self._renderer.after_stop_ids(self.context)
        text = step.take(step.parser.finish())
        step.is_ended = True
        self.is_kept = False
        self.num_steps += 1
        self.called += map(_name, step.traps)
        starts = [0, *step.ends]
        self.calls = [
            self._pending(trap, self._confidence(step, trap, start, end))
            for trap, start, end in zip(step.traps, starts, step.ends, strict=False)
        ]
        return text

    def _confidence(
        self, step: Step, trap: Trap | Malformed, start: int, end: int
    ) -> Confidence | None:
        """Return how sure the model is of a call among the tokens [start, end) of a step."""
        is_told = len(step.log_probabilities) == len(step.tokens)
        if self.calibration is None or not is_told or isinstance(trap, Malformed):
            return None
        marks = self._renderer.marks
        opened = [i for i in range(start, end) if marks.get(step.tokens[i]) is Mark.OPEN]
        start = opened[-1] if opened else start
        pieces = [self._renderer.piece(token_id) for token_id in step.tokens[start:end]]
        return confidence_of(
            trap.name,
            trap.arguments,
            pieces,
            step.log_probabilities[start:end],
            self.calibration,
        )

    def _pending(self, trap: Trap | Malformed, confidence: Confidence | None) -> PendingCall:
        """Return a call with where its grounded arguments come from; malformed without that."""
        call_id = self._next_call_id()
        trap, origins = self._grounded(trap)
        if isinstance(trap, Malformed):
            return PendingCall(call_id, trap)
        return PendingCall(call_id, trap, origins, confidence)

    def _grounded(self, trap: Trap | Malformed) -> tuple[Trap | Malformed, dict[str, Label]]:
        """Return where a call's grounded arguments come from; malformed where from nowhere."""
        origins: dict[str, Label] = {}
        if isinstance(trap, Malformed):
            return trap, origins
        spec = next((spec for spec in self._specs if spec.name == trap.name), None)
        for key in grounded_keys(spec) if spec else ():
            value = trap.arguments.get(key)
            if not isinstance(value, str):
                continue  # left out, or what the schema refuses
            origin = self.seen.origin(value)
            if origin is None:
                return _ungrounded(trap, key, value), {}
            origins[key] = origin
        return trap, origins

    def check_step(self, text: str, traps: Sequence[Trap | Malformed]) -> None:
        """Check that a step of another model can take the place of the last one.

        Raises:
            ModelError: it says nothing, a call of it is malformed or not grounded, or this model's
                dialect cannot write it.
        """
        for trap, _ in map(self._grounded, traps):
            if isinstance(trap, Malformed):
                raise ModelError(f"it made a malformed call ({trap.reason}): {trap.detail}")
        if not traps and not text.strip():
            raise ModelError("it said nothing")
        self._ids_of(text, traps)

    def _replace_step(self, text: str, traps: Sequence[Trap | Malformed]) -> None:
        """Put a step that was checked in the place of the last one, of whose calls none was run."""
        assert self.step is not None
        start, num_discarded = self.step.start, len(self.step.traps)
        self.context[start:] = self._ids_of(text, traps)
        self.called[len(self.called) - num_discarded :] = map(_name, traps)
        self.step = Step(TrapParser(self._renderer, self._specs), start, text=text)
        self.step.traps += traps
        self.step.is_whole = self.step.is_ended = True
        self.calls = [self._pending(trap, None) for trap in traps]

    def end_hand_over(
        self, reason: str, text: str, traps: Sequence[Trap | Malformed], num_tokens: int
    ) -> None:
        """Let what another model said of the last step act, and count it.

        By its `reason` the step is replaced ("stop"), stays for good ("error"), or may be handed
        over again ("signal").
        """
        self.num_tokens += num_tokens
        match reason:
            case "stop":
                self._replace_step(text, traps)
            case "error":
                self.is_kept = True
            case _:
                pass

    def _ids_of(self, text: str, traps: Sequence[Trap | Malformed]) -> list[int]:
        assert self.step is not None
        calls = (ToolCall("", t.name, t.arguments) for t in traps if isinstance(t, Trap))
        message = Message(Role.ASSISTANT, text, tuple(calls))
        return self._renderer.past_step_ids(message, self.context[: self.step.start])

    def _next_call_id(self) -> str:
        self.num_calls += 1
        return f"{self._pid}.{self.num_calls}"

    def refuse(self, call: PendingCall) -> None:
        """Give a call that is malformed by form, or follows such a one, its result."""
        assert isinstance(call.trap, Malformed)
        call.is_malformed = call.trap.reason != "skipped_after_error"
        status = "retry" if call.is_malformed else "not_run"
        self.set_result(call, ToolResult(call.id, status, f"error: {call.trap.detail}"))

    def set_result(self, call: PendingCall, result: ToolResult) -> None:
        """Keep a call's outcome; the model reads it with those of the other calls."""
        call.result = result
        self.num_malformed += call.is_malformed
        is_receipt = isinstance(call.trap, Trap) and call.trap.name == RECEIVE
        if is_receipt and result.status == "ok" and self.mailbox:
            del self.mailbox[0]

    def give_results(self, texts: Sequence[str] | None = None) -> None:
        """Append the results of the last step's calls, or these texts, in their order."""
        if texts is None:
            texts = [call.result.text if call.result else NOT_RUN for call in self.calls]
        for call in self.calls:
            # What was refused or failed may only say the call's own words back.
            if call.result and call.result.status == "ok":
                self.seen.add(call.result.text, call.result.label)
        if any(call.result and call.result.label is Label.UNTRUSTED for call in self.calls):
            self.label = Label.UNTRUSTED
        self._keep_results(texts)
        names = [_name(call.trap) for call in self.calls]
        self.context += self._renderer.results_ids(texts, names=names, context=self.context)
        self.calls = []
        self.step = None

    def set_answer(self, text: str) -> None:
        self.answer = text
        if not self.calls:  # of a dry run, whose step is kept with its calls
            self._keep_message(text)

    def _keep_message(self, text: str, calls: Sequence[ToolCall] = ()) -> None:
        if text.strip() or calls:
            self.messages.append(Message(Role.ASSISTANT, text, tuple(calls)))

    def _keep_results(self, texts: Sequence[str]) -> None:
        """Keep the last step with its results, but for calls that nobody could write again."""
        kept = [
            (call.request, text, call.result.label if call.result else Label.TRUSTED)
            for call, text in zip(self.calls, texts, strict=False)
            if is_name(_name(call.trap))
        ]
        self._keep_message(self.step.text if self.step else "", [call for call, _, _ in kept])
        self.messages += [Message(Role.TOOL, text, label=label) for _, text, label in kept]


def _name(trap: Trap | Malformed) -> str:
    return trap.name if isinstance(trap, Trap) else ""


def _ungrounded(trap: Trap, key: str, value: str) -> Malformed:
    detail = (
        f"{trap.name}.{key}: {value!r} stands nowhere in what you have seen; "
        "take it word by word from the user's message or a result"
    )
    raw = dump({"name": trap.name, "arguments": dict(trap.arguments)})
    return Malformed("schema_violation", detail, raw)
