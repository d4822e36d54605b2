"""Reads a model's token ids as they come: text for the user, and calls that trap into the kernel.

A control token counts only as its id; text that spells one is text. A call exists once it is
closed and its body has decoded strictly; one that was cut off never does. Linear in its input: no
part of it is read twice. Knows no process and runs no tool: whether a tool exists and its
arguments fit is `syscalls`' business.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from llmos_kernel.abi import JsonObject, ToolSpec
from llmos_kernel.dialects.codecs.codec import MalformedReason, Refused, mark
from llmos_kernel.dialects.codecs.harmony import HarmonyCodec
from llmos_kernel.dialects.renderer import Mark, Renderer

MAX_BODY_CHARS = 2_000_000
MAX_HEADER_CHARS = 1_000
FOREIGN_MARK = "\udfff"


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thinks before it speaks. Nothing in it is a call."""

    text: str


@dataclass(frozen=True, slots=True)
class ArgumentDelta:
    """A piece of a call that is not closed yet, for display only."""

    text: str


@dataclass(frozen=True, slots=True)
class Trap:
    """A closed, decoded call, not yet checked against any tool."""

    name: str
    arguments: JsonObject


@dataclass(frozen=True, slots=True)
class Malformed:
    """A call that never ran and never will.

    `raw` is its body as the model wrote it, `offset` where in it the fault is, in characters.
    """

    reason: MalformedReason
    detail: str
    raw: str
    offset: int = 0


Event: TypeAlias = Text | Reasoning | ArgumentDelta | Trap | Malformed


class _State(Enum):
    HEAD = auto()  # the message may turn out to be a call as a whole
    PROSE = auto()
    THOUGHT = auto()
    HEADER = auto()  # Harmony: who is spoken to
    BODY = auto()


class TrapParser:
    """Turns one step's token ids into events. `feed` each id, then `finish` once.

    The same ids give the same events however they arrive. `specs` are the tools that the process
    may call; families that write arguments as bare text need them to tell a string from a number.
    """

    def __init__(self, renderer: Renderer, specs: Sequence[ToolSpec] = ()) -> None:
        self._renderer = renderer
        self._dialect = renderer.dialect
        self._specs = {spec.name: spec for spec in specs}
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")
        self._held: list[str] = []  # of a head or a header: not yet known what it is
        self._body = _Body()
        self._has_failed = False
        self._after_thought = self._state = self._first_state()
        if renderer.thinks_first:
            self._state = _State.THOUGHT

    def feed(self, token_id: int) -> list[Event]:
        """Return the events that this id completes; usually none or one text."""
        meaning = self._renderer.marks.get(token_id)
        if meaning is None:
            text = self._decoder.decode(self._renderer.piece(token_id))
            return self._read(text) if text else []
        return [*self._flush(), *self._read_mark(token_id, meaning)]

    def finish(self) -> list[Event]:
        """End the step; a call that is still open is truncated, however whole it looks."""
        events = self._flush()
        if self._state is _State.BODY:
            return [*events, self._truncated()]
        return [*events, *self._release()]

    def _first_state(self) -> _State:
        if self._dialect.has_headers:
            return _State.HEADER
        return _State.HEAD if self._dialect.opens else _State.PROSE

    def _flush(self) -> list[Event]:
        """Give up waiting for the rest of a character: a control token or the end came first."""
        text = self._decoder.decode(b"", True)
        self._decoder.reset()
        return self._read(text) if text else []

    # Text -------------------------------------------------------------------

    def _read(self, text: str) -> list[Event]:
        match self._state:
            case _State.PROSE:
                return self._prose(text)
            case _State.THOUGHT:
                return [Reasoning(text)]
            case _State.BODY:
                return self._read_body(text)
            case _State.HEADER:
                self._held.append(text)
                is_header = sum(map(len, self._held)) <= MAX_HEADER_CHARS
                return [] if is_header else self._release()
            case _State.HEAD:
                return self._read_head(text)

    def _prose(self, text: str) -> list[Event]:
        """Hold back a last character that may belong to the frame of a call."""
        if not self._dialect.text_close:
            return [Text(text)]
        text = "".join([*self._held, text])
        self._held.clear()
        if text.endswith(self._dialect.call.open[0]):
            self._held.append(text[-1])
            text = text[:-1]
        return [Text(text)] if text else []

    def _read_head(self, text: str) -> list[Event]:
        assert self._dialect.opens is not None
        self._held.append(text)
        head = "".join(self._held)
        is_call = self._dialect.opens(head)
        if is_call is None:
            return []
        if not is_call:
            return self._release()
        self._held.clear()
        self._state = _State.BODY
        return self._read_body(head)

    def _read_body(self, text: str) -> list[Event]:
        rest = self._body.append(text, self._dialect.text_close)
        events: list[Event] = [ArgumentDelta(text[: len(text) - len(rest or "")])]
        if rest is None:
            return events
        events += self._close()
        return events + (self._read(rest) if rest else [])

    def _release(self) -> list[Event]:
        """Say that what was held is text after all."""
        text = "".join(self._held)
        self._held.clear()
        is_header = self._state is _State.HEADER and mark(0) in text
        self._state = _State.PROSE
        return [Text(text)] if text and not is_header else []

    # Control tokens -----------------------------------------------------------

    def _read_mark(self, token_id: int, meaning: Mark) -> list[Event]:
        if self._state is _State.BODY:
            return self._read_mark_in_body(token_id, meaning)
        if self._dialect.has_headers:
            return self._read_mark_of_header(token_id, meaning)
        if self._state is _State.THOUGHT:
            if meaning is Mark.END_THINK:
                self._state = self._after_thought
            return []
        match meaning:
            case Mark.OPEN:
                return self._open()
            case Mark.THINK:
                if self._held or self._state is _State.PROSE:
                    self._after_thought = _State.PROSE
                events = self._release()
                self._state = _State.THOUGHT
                return events
            case Mark.STOP:
                return self._release()
            case _:
                return []

    def _open(self) -> list[Event]:
        if self._dialect.text_close:
            if not self._held:
                return []
            self._held.clear()
        events = self._release()
        self._state = _State.BODY
        return events

    def _read_mark_in_body(self, token_id: int, meaning: Mark) -> list[Event]:
        index = self._renderer.inner_ids.get(token_id)
        if index is not None:
            self._body.append_mark(mark(index))
            return []
        is_closed_by_next = not self._dialect.call.close and not self._dialect.text_close
        match meaning:
            case Mark.CLOSE:
                return self._close()
            case Mark.OPEN if is_closed_by_next:
                return [*self._close(), *self._open()]
            case Mark.STOP if is_closed_by_next:
                return self._close()
            case Mark.STOP:
                return [self._truncated()]
            case Mark.HEADER | Mark.END_MESSAGE:
                return [self._truncated(), *self._read_mark(token_id, meaning)]
            case _:
                self._body.is_nested = self._body.is_nested or meaning is Mark.OPEN
                self._body.append_mark(FOREIGN_MARK)
                return []

    # Harmony ------------------------------------------------------------------

    def _read_mark_of_header(self, token_id: int, meaning: Mark) -> list[Event]:
        match meaning:
            case Mark.HEADER:
                events = self._release()
                self._state = _State.HEADER
                return events
            case Mark.MESSAGE:
                return self._read_header()
            case Mark.INNER:
                self._state = _State.HEADER
                self._held.append(mark(self._renderer.inner_ids[token_id]))
                return []
            case _:
                return self._release()

    def _read_header(self) -> list[Event]:
        codec = self._dialect.codec
        assert isinstance(codec, HarmonyCodec)
        text = "".join(self._held)
        self._held.clear()
        header = codec.header(text)
        if header.recipient:
            self._state = _State.BODY
            self._body.append(text, "")
            self._body.append_mark(mark(codec.marks.index(codec.end_of_header)))
        else:
            self._state = _State.THOUGHT if header.channel == "analysis" else _State.PROSE
        return []

    # Calls ------------------------------------------------------------------

    def _close(self) -> list[Event]:
        body, self._body = self._body, _Body()
        self._state = _State.PROSE
        text = body.text()
        raw = self._shown(text)
        try:
            body.refuse()
            calls = self._dialect.codec.read(text, self._specs)
        except Refused as error:
            self._has_failed = True
            offset = len(self._shown(text[: error.offset]))
            return [Malformed(error.reason, error.detail, raw, offset)]
        if self._has_failed:
            detail = "not run, since an earlier call of the same step was malformed"
            return [Malformed("skipped_after_error", detail, raw)] * len(calls)
        return [Trap(name, arguments) for name, arguments in calls]

    def _truncated(self) -> Malformed:
        raw = self._shown(self._body.text())
        self._body = _Body()
        self._state = _State.PROSE
        self._has_failed = True
        return Malformed("truncated", "the call was cut off before its end", raw, len(raw))

    def _shown(self, body: str) -> str:
        marks = {ord(mark(i)): literal for i, literal in enumerate(self._dialect.codec.marks)}
        return body.translate(marks | {ord(FOREIGN_MARK): "\N{REPLACEMENT CHARACTER}"})


class _Body:
    """A call's body as it grows, control tokens as marks. Keeps `MAX_BODY_CHARS` at most."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._num_chars = 0
        self._since_mark = ""
        self._before_mark = ""
        self._tail = ""
        self.is_nested = False

    def append(self, text: str, text_close: str) -> str | None:
        """Take text in; return what follows the body's end where `text_close` ends it here."""
        rest = None
        if self._before_mark == "</" and len(self._since_mark) < len(text_close):
            known = len(self._since_mark)
            self._since_mark += text
            if self._since_mark.startswith(text_close):
                rest = text[len(text_close) - known :]
                text = text[: len(text_close) - known]
        self._add(text)
        return rest

    def append_mark(self, char: str) -> None:
        self._before_mark = self._tail
        self._since_mark = ""
        self._add(char)

    def _add(self, text: str) -> None:
        room = MAX_BODY_CHARS - self._num_chars
        self._num_chars += len(text)
        self._tail = (self._tail + text)[-2:]
        if room > 0:
            self._parts.append(text[:room])

    def text(self) -> str:
        return "".join(self._parts)

    def refuse(self) -> None:
        """Refuse a body that is none, whatever its codec."""
        if self.is_nested:
            raise Refused("nested_open", "a call was opened inside a call")
        if self._num_chars > MAX_BODY_CHARS:
            detail = f"a call may have {MAX_BODY_CHARS} characters at most"
            raise Refused("too_large", detail, MAX_BODY_CHARS)
