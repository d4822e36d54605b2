"""Writes conversations as token ids, so that content can never become a control token.

Covered: text of users, tools, files and tool tables that spells a control literal; it is encoded
by a tokenizer that has no control tokens and stays text, and what was rendered is checked to hold
the runtime's own control ids and no others. Not covered: a checkpoint that was trained to obey the
spelling, and the families whose calls have no control tokens (`is_text_framed`), or whose tags
inside a call have none: content there can spell a marker and only policy can tell.

Knows no engine and no process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum, auto

from tokenizers import Tokenizer

from llmos_kernel.abi import Message, Role, ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import Markup, Pieces, checked_name, is_name
from llmos_kernel.dialects.codecs.harmony import END_MESSAGE, MESSAGE, START
from llmos_kernel.dialects.codecs.strict_json import dump
from llmos_kernel.dialects.dialect import Dialect, Frame
from llmos_kernel.dialects.families import DIALECTS
from llmos_kernel.dialects.token_bytes import TokenBytes
from llmos_kernel.errors import ModelError

UNNAMED_CALL = "unknown"


class Mark(Enum):
    """What a control token means to its family."""

    OPEN = auto()
    CLOSE = auto()
    INNER = auto()
    THINK = auto()
    END_THINK = auto()
    HEADER = auto()
    MESSAGE = auto()
    END_MESSAGE = auto()
    STOP = auto()
    OTHER = auto()


def without_control_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Return a separate tokenizer with the same vocabulary and no added tokens.

    A flag on the shared object would be a data race: other threads change it. What it encodes
    stands after a control token, so it puts no blank before a first word as at a text's start.
    """
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    state["post_processor"] = None
    pre_tokenizer = state["pre_tokenizer"] or {}
    if pre_tokenizer.get("prepend_scheme") == "first":
        pre_tokenizer["prepend_scheme"] = "never"
    return Tokenizer.from_str(json.dumps(state))


class Renderer:
    """One checkpoint's tokenizer and dialect. Stateless to its callers; safe across threads."""

    def __init__(self, tokenizer: Tokenizer, dialect: Dialect) -> None:
        """Resolve the dialect's control literals.

        `piece` gives a token's bytes, `marks` what a control token means, `inner_ids` the places
        of those that may stand in a call among its codec's marks.

        Raises:
            ModelError: the tokenizer lacks a control token that the dialect needs.
        """
        self.dialect = dialect
        self._tokenizer = tokenizer
        self._plain = without_control_tokens(tokenizer)
        self.piece = TokenBytes(tokenizer)
        self._tokens = tokenizer.get_added_tokens_decoder()
        self._added = self._control_tokens()
        self.control_ids = frozenset(self._added.values())
        self._controls = self._splitter()
        self.stop_id = self.control_id(dialect.stop)
        self.stop_ids = frozenset({self.stop_id, *map(self.control_id, dialect.other_stops)})
        self.call_open_id = self._first_control(dialect.call.open)
        self.call_close_id = self._first_control(dialect.call.close)
        marks = enumerate(dialect.codec.marks)
        self.inner_ids = {self._added[m]: i for i, m in marks if m in self._added}
        self.marks = self._marks()
        self.thinks_first = self._thinks_first()

    def _control_tokens(self) -> dict[str, int]:
        """Return the ids of the special tokens and of the family's own by their literals.

        Other added tokens are words: tags of HTML, runs of blanks, that ordinary text may hold.
        """
        dialect = self.dialect
        own = {*dialect.controls, *dialect.optional_controls, *dialect.codec.marks}
        tokens = self._tokens.items()
        return {t.content: i for i, t in tokens if t.special or t.content in own}

    def _splitter(self) -> re.Pattern[str]:
        """Return what splits markup at its control literals, the longer of two alike first."""
        for literal in self.dialect.controls:
            self.control_id(literal)
        optional = [c for c in self.dialect.optional_controls if c in self._added]
        known = sorted([*self.dialect.controls, *optional], reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, known))})")

    @property
    def num_tokens(self) -> int:
        """The size of the vocabulary, control tokens included."""
        return self._tokenizer.get_vocab_size()

    def tokenizer_json(self) -> str:
        """Return the tokenizer as the `tokenizers` library writes it."""
        return self._tokenizer.to_str()

    def control_id(self, literal: str) -> int:
        """Return the id of a control token.

        Raises:
            ModelError: the tokenizer does not have it as one token.
        """
        if literal not in self._added:
            raise ModelError(
                f"the tokenizer has no single token for {literal!r}, "
                f"which the dialect {self.dialect.name!r} needs; name another dialect"
            )
        return self._added[literal]

    def literal(self, control_id: int) -> str:
        """Return how a control token is spelled."""
        return self._tokens[control_id].content

    # Encoding ---------------------------------------------------------------

    def content_ids(self, text: str) -> list[int]:
        """Encode text that is data: no id in the result is a control token."""
        return self.ids([text])

    def literal_ids(self, text: str) -> list[int]:
        """Encode a literal of the dialect, control tokens included. Never pass content."""
        return self.ids([Markup(text)])

    def ids(self, pieces: Pieces) -> list[int]:
        """Encode pieces: control literals in markup become control tokens, in data never.

        Text between two control tokens is encoded as one, as a chat template's would be.

        Raises:
            ModelError: the tokenizer would make a control token from text.
        """
        ids: list[int] = []
        text: list[str] = []
        for piece in pieces:
            parts = self._controls.split(piece) if isinstance(piece, Markup) else [piece]
            for index, part in enumerate(parts):
                if index % 2:
                    ids += [*self._text_ids("".join(text)), self._added[part]]
                    text.clear()
                else:
                    text.append(part)
        return ids + self._text_ids("".join(text))

    def _text_ids(self, text: str) -> list[int]:
        if not text:
            return []
        ids = self._plain.encode(text, add_special_tokens=False).ids
        forged = self.control_ids.intersection(ids)
        if forged:
            literal = self._tokenizer.id_to_token(min(forged))
            raise ModelError(
                f"this checkpoint's tokenizer makes the control token {literal!r} from plain "
                "text, so content could forge calls; use another checkpoint"
            )
        return ids

    # Messages ---------------------------------------------------------------

    def system_ids(self, system_prompt: str, specs: Sequence[ToolSpec]) -> list[int]:
        """Write what stands before the first user message: the prompt and the tools."""
        for spec in specs:
            checked_name(spec.name)
        return self.ids(self.dialect.system(system_prompt, specs))

    def user_ids(self, text: str, context: Sequence[int] = ()) -> list[int]:
        """Write a user's message; `context` is what stands before it."""
        return self._unasked(self.ids(_framed(self.dialect.user, text)), context)

    def results_ids(
        self,
        texts: Sequence[str],
        *,
        names: Sequence[str] = (),
        context: Sequence[int] = (),
    ) -> list[int]:
        """Write the results of one step's calls, in the order of the calls.

        `names` are the names of the calls, which some families repeat; a malformed call may have
        none that can be written. `context` is what stands before.
        """
        pieces: Pieces = [Markup(self.dialect.results.open)]
        for index, text in enumerate(texts):
            name = names[index] if index < len(names) and is_name(names[index]) else UNNAMED_CALL
            frame = _filled(self.dialect.result, name, index)
            pieces += _framed(frame, dump(text) if self.dialect.is_result_json else text)
        ids = self.ids([*pieces, Markup(self.dialect.results.close)])
        return self._unasked(ids, context)

    def _unasked(self, ids: list[int], context: Sequence[int]) -> list[int]:
        """Leave out the first id where the model ended its step with it: it asked for the rest."""
        is_asked = bool(context) and context[-1] in self.stop_ids and ids[:1] == [context[-1]]
        return ids[1:] if is_asked else ids

    def assistant_open_ids(self, context: Sequence[int] = ()) -> list[int]:
        """The prompt after which the model speaks; `context` is what stands before it."""
        return self._opened(self.dialect.assistant.open, context)

    def _opened(self, prompt: str, context: Sequence[int]) -> list[int]:
        after_results = self.dialect.assistant_after_results
        if after_results is not None and self._ends_with_results(context):
            prompt = after_results
        return self.literal_ids(prompt)

    def _ends_with_results(self, context: Sequence[int]) -> bool:
        """Whether the last control token is not a user's: text cannot pretend to either."""
        last = next((i for i in reversed(context) if i in self.control_ids), None)
        users = self.literal_ids(self.dialect.user.open + self.dialect.user.close)
        controls = [i for i in users if i in self.control_ids]
        return last is not None and last != controls[-1]

    def after_stop_ids(self, context: Sequence[int] = ()) -> list[int]:
        """What the dialect writes after the model's own stop token, the last of `context`."""
        if context and context[-1] != self.stop_id:
            return []
        return self.literal_ids(self.dialect.assistant.close.removeprefix(self.dialect.stop))

    def assistant_ids(self, message: Message) -> list[int]:
        """Write a past assistant step, from after the open frame up to its stop token.

        Raises:
            ModelError: a call cannot be written so that it would be read as the same call.
        """
        return self.ids(self._step(message))

    def past_step_ids(self, message: Message, context: Sequence[int]) -> list[int]:
        """Write a past assistant step with its frame; `context` is what stands before it.

        Raises:
            ModelError: a call cannot be written so that it would be read as the same call.
        """
        past_open = self.dialect.past_open
        open_ = self.dialect.assistant.open if past_open is None else past_open
        ids = [*self._opened(open_, context), *self.assistant_ids(message)]
        return ids + self.after_stop_ids(ids)

    def conversation_ids(
        self, messages: Sequence[Message], specs: Sequence[ToolSpec], *, system_prompt: str
    ) -> list[int]:
        """Write a whole conversation of users, steps and results, and the prompt to speak.

        Raises:
            ModelError: a message cannot be written.
        """
        ids = self.system_ids(system_prompt, specs)
        calls: tuple[ToolCall, ...] = ()
        results: list[str] = []
        for message in messages:
            if results and message.role is not Role.TOOL:
                ids += self._results_of(results, calls, ids)
                results = []
            match message.role:
                case Role.USER:
                    ids += self.user_ids(message.content, ids)
                case Role.ASSISTANT:
                    calls = message.calls
                    ids += self.past_step_ids(message, ids)
                case Role.TOOL:
                    results.append(message.content)
                case Role.SYSTEM:
                    raise ModelError("a system message stands first; give it as `system_prompt`")
        if results:
            ids += self._results_of(results, calls, ids)
        return ids + self.assistant_open_ids(ids)

    def _results_of(
        self, results: Sequence[str], calls: Sequence[ToolCall], ids: Sequence[int]
    ) -> list[int]:
        return self.results_ids(results, names=[call.name for call in calls], context=ids)

    def _step(self, message: Message) -> Pieces:
        dialect = self.dialect
        if not message.calls:
            end = dialect.stop if dialect.past_stop is None else dialect.past_stop
            return [*_framed(dialect.answer, message.content), Markup(end)]
        pieces: Pieces = []
        if message.content and not dialect.is_text_framed:  # there a call is a whole message
            pieces += [*_framed(dialect.preamble, message.content), Markup(dialect.before_calls)]
        pieces.append(Markup(dialect.calls.open))
        for call in message.calls:
            checked_name(call.name)
        for index, body in enumerate(dialect.codec.write(message.calls)):
            pieces.append(Markup(dialect.between_calls if index else ""))
            pieces += [Markup(dialect.call.open), *body, Markup(dialect.call.close)]
        pieces.append(Markup(dialect.calls.close))
        return pieces if dialect.calls_stop else [*pieces, Markup(dialect.stop)]

    # Reading ----------------------------------------------------------------

    def text(self, ids: Sequence[int]) -> str:
        """Decode ids for people; control tokens are left out."""
        return b"".join(self.piece(i) for i in ids if i not in self.marks).decode(errors="replace")

    def _marks(self) -> dict[int, Mark]:
        """Say what each control token means; an added token that is none of these is text."""
        dialect = self.dialect
        marks = {i: Mark.OTHER for i, token in self._tokens.items() if token.special}
        for literal in (*dialect.controls, *dialect.optional_controls):
            if literal in self._added:
                marks[self._added[literal]] = Mark.OTHER
        marks |= dict.fromkeys(self.inner_ids, Mark.INNER)
        marks |= dict.fromkeys(self.stop_ids, Mark.STOP)
        if dialect.thought.open in self._added and dialect.thought.close in self._added:
            marks[self._added[dialect.thought.open]] = Mark.THINK
            marks[self._added[dialect.thought.close]] = Mark.END_THINK
        if dialect.has_headers:
            marks[self.control_id(START)] = Mark.HEADER
            marks[self.control_id(MESSAGE)] = Mark.MESSAGE
            marks[self.control_id(END_MESSAGE)] = Mark.END_MESSAGE
        elif self.call_open_id is not None:
            marks[self.call_open_id] = Mark.OPEN
        if self.call_close_id is not None:
            marks[self.call_close_id] = Mark.CLOSE
        return marks

    def _thinks_first(self) -> bool:
        """Whether the prompt to speak leaves a thought open."""
        marks = [self.marks.get(i) for i in self.assistant_open_ids()]
        thoughts = [mark for mark in marks if mark in (Mark.THINK, Mark.END_THINK)]
        return thoughts[-1:] == [Mark.THINK]

    def _first_control(self, text: str) -> int | None:
        found = self._controls.search(text)
        return self._added[found[0]] if found else None


def _framed(frame: Frame, content: str) -> Pieces:
    return [Markup(frame.open), content, Markup(frame.close)]


def _filled(frame: Frame, name: str, index: int) -> Frame:
    def fill(text: str) -> str:
        place = text.replace("$index", str(index)).replace("$id", f"{index:09}")
        return place.replace("$name", name)

    return Frame(fill(frame.open), fill(frame.close))


def detect_dialect(
    tokenizer: Tokenizer, *, name: str | None = None, template: str | None = None
) -> Dialect:
    """Return the named dialect, or the first whose control tokens and template marks fit.

    Without the checkpoint's chat `template` only families that their tokens tell are found.

    Raises:
        ModelError: there is none, or the name is unknown.
    """
    known = {dialect.name: dialect for dialect in DIALECTS}
    if name is not None:
        if name not in known:
            raise ModelError(f"unknown dialect {name!r}; known are {', '.join(known)}")
        return known[name]
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for dialect in DIALECTS:
        if not added.issuperset(dialect.controls):
            continue
        if all(mark in (template or "") for mark in dialect.template_marks):
            return dialect
    raise ModelError(
        f"no known dialect fits the checkpoint's tokens; known are {', '.join(known)}. "
        "Name one, use a checkpoint of one of these families, or the embedded model"
    )
