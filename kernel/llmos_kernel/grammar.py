"""Masks decoding so that every call is valid by construction: llguidance over the tools' schemas.

Text is free until the control token that opens a call. From there only what continues a call to
one of the granted tools is allowed, no control token is but those of its form, and the closing one
only once the call is complete. Covered: names, required and unknown arguments, types, enums,
nesting, lengths, that a number ends, and that a grounded argument is a span of what was seen. Not
covered: families without an opening control token, where only what was said tells data from a
call; keywords that the library does not know, patterns of strings outside JSON, keys that no
schema names and that occur twice. Every call is validated again after parsing. Of an engine it
knows what a mask is to it, and of processes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from functools import cached_property, lru_cache

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.codec import mark
from llmos_kernel.dialects.codecs.harmony import HarmonyCodec
from llmos_kernel.dialects.codecs.lark import Rules, either
from llmos_kernel.dialects.renderer import Mark, Renderer
from llmos_kernel.engine.base import TokenMask
from llmos_kernel.grounding import Seen, grounded_keys

BITS = 32
MAX_GROUNDED = 16  # grammars over what was seen, one a process and state of its conversation
NUMBER = frozenset(b"0123456789.eE+-")
MAX_NUMBER_CHARS = 290  # a double has at most 309 digits before its point
LIMITS = LLParserLimits(max_grammar_size=200_000, initial_lexer_fuel=2_000_000)


class Masks:
    """Makes masks for one checkpoint, with one compiled grammar for each set of tools."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._frame = _Frame(renderer) if has_grammar(renderer) else None
        self._grammars: dict[tuple[str, ...], CallGrammar] = {}
        self._grounded: dict[tuple[tuple[str, ...], tuple[str, ...]], CallGrammar] = {}

    def mask(self, specs: Sequence[ToolSpec], seen: Seen | None = None) -> CallMask | None:
        """Return a mask for one step; None where there are no tools, or calls have no grammar.

        Grounded arguments are taken from what was `seen`; with nothing, no tool that has some can
        be called.
        """
        if self._frame is None:
            return None
        grounded = {spec.name for spec in specs if grounded_keys(spec)}
        lines = seen.lines() if seen and grounded else ()
        if not lines:
            specs = [spec for spec in specs if spec.name not in grounded]
        if not specs:
            return None
        names = tuple(spec.name for spec in specs)
        if grounded.isdisjoint(names):
            if names not in self._grammars:
                self._grammars[names] = CallGrammar(self._frame, specs)
            return CallMask(self._grammars[names])
        key = (names, lines)
        if key not in self._grounded:
            if len(self._grounded) >= MAX_GROUNDED:
                del self._grounded[next(iter(self._grounded))]
            self._grounded[key] = CallGrammar(self._frame, specs, lines)
        return CallMask(self._grounded[key])


def has_grammar(renderer: Renderer) -> bool:
    """Whether a family opens its calls with a control token."""
    return renderer.dialect.has_headers or renderer.call_open_id is not None


class _Frame:
    """What all grammars of one checkpoint share: its tokens, and what stands around a call."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self.dialect = renderer.dialect
        self.mark_ids = {mark(place): i for i, place in renderer.inner_ids.items()}
        self.end_ids = self._end_ids()
        inside = self.end_ids.union(renderer.inner_ids)
        # The library lets its end token through wherever a grammar may end: none that we use.
        self.tokenizer = LLTokenizer(
            _with_special_controls(renderer.tokenizer_json()),
            n_vocab=renderer.num_tokens,
            eos_token=min(renderer.control_ids - inside),
        )
        self.is_compilable = lru_cache(maxsize=None)(self._is_compilable)

    def _end_ids(self) -> frozenset[int]:
        """Return the tokens that close a call; the next one's opening, too, where none does."""
        if self.dialect.text_close:
            return frozenset()
        if self.renderer.call_close_id is not None:
            return frozenset({self.renderer.call_close_id})
        assert self.renderer.call_open_id is not None
        return self.renderer.stop_ids | {self.renderer.call_open_id}

    def _is_compilable(self, schema: str) -> bool:
        grammar = LLMatcher.grammar_from_json_schema(schema)
        problem = LLMatcher.validate_grammar(grammar, self.tokenizer, limits=LIMITS)
        return not problem or problem.startswith("WARNING")

    @cached_property
    def letter_id(self) -> int:
        """A token that may come next in any text and in no number."""
        return next(i for i in range(self.renderer.num_tokens) if self.renderer.piece(i) == b"x")

    @cached_property
    def digits(self) -> NDArray[np.int32]:
        """The mask of the tokens that only make a number longer."""
        pieces = map(self.renderer.piece, range(self.renderer.num_tokens))
        return _packed([piece.isdigit() for piece in pieces])

    def grammar(self, specs: Sequence[ToolSpec], lines: Sequence[str]) -> str:
        """Return the grammar of what follows the opening token, to the closing one."""
        rules = Rules(self.mark_ids, lines, is_compilable=self.is_compilable)
        call = f"{self._before(rules)} {self.dialect.codec.grammar(rules, specs)}"
        call = f"{call} {self._after(rules)}"
        if not isinstance(self.dialect.codec, HarmonyCodec):
            return rules.lark(call)
        text = self.dialect.codec.header_of_text(rules)
        return rules.lark(f'"assistant"? {either([text, call])}')

    def _before(self, rules: Rules) -> str:
        if self.renderer.call_open_id is None:
            return ""
        _, _, before = self.dialect.call.open.partition(self._literal(self.renderer.call_open_id))
        return rules.text(before)

    def _after(self, rules: Rules) -> str:
        if not self.end_ids:
            return ""
        close_id = self.renderer.call_close_id
        after = (
            ""
            if close_id is None
            else self.dialect.call.close.partition(self._literal(close_id))[0]
        )
        return f"{rules.text(after)} {rules.tokens(self.end_ids)}"

    def _literal(self, control_id: int) -> str:
        return self.renderer.literal(control_id)


class CallGrammar:
    """The grammar of calls to one set of tools, for one checkpoint's tokens."""

    def __init__(self, frame: _Frame, specs: Sequence[ToolSpec], lines: Sequence[str] = ()) -> None:
        """A schema that cannot be compiled admits anything."""
        self.frame = frame
        self._tokenizer = frame.tokenizer
        self._grammar = LLMatcher.grammar_from_lark(frame.grammar(specs, lines))
        self._first: LLMatcher | None = None

    def matcher(self, said: Sequence[int] = (), *, is_new: bool = False) -> LLMatcher | None:
        """Return a matcher behind what was said of a call; None where that cannot be followed.

        To compile one takes milliseconds, to copy it microseconds; the copies share what their
        lexer has learned, so that later calls are quicker. What it has learned may become too
        much: then a new one is compiled.
        """
        if self._first is None or is_new:
            self._first = LLMatcher(self._tokenizer, self._grammar, log_level=0, limits=LIMITS)
        matcher = self._first.deep_copy()
        is_followed = matcher.consume_tokens(list(said)) and not matcher.is_error()
        return matcher if is_followed else None


class CallMask:
    """Follows one step of the model; see `llmos_kernel.engine.base.TokenMask`."""

    def __init__(self, grammar: CallGrammar) -> None:
        self._grammar = grammar
        self._renderer = grammar.frame.renderer
        self._is_thinking = self._renderer.thinks_first
        self._last_id: int | None = None
        has_headers = self._renderer.dialect.has_headers
        self._matcher = grammar.matcher() if has_headers else None
        self._said: list[int] = []  # of the call that is open
        self._number_chars = 0  # that were said last and could all be of one number
        self._words = np.zeros(-(-self._renderer.num_tokens // BITS), np.int32)
        self._place = (self._words.ctypes.data, self._words.nbytes)

    def words(self) -> NDArray[np.int32] | None:
        """Return what may come next: bit i % 32 of word i // 32 for token i; None for anything."""
        if self._matcher is None:
            return None
        self._matcher.unsafe_compute_mask_ptr(*self._place)
        if self._matcher.is_error():
            self._matcher = self._grammar.matcher(self._said, is_new=True)
            if self._matcher is None:
                return None
            self._matcher.unsafe_compute_mask_ptr(*self._place)
        if self._number_chars >= MAX_NUMBER_CHARS:
            self._end_number()
        return self._words

    def _end_number(self) -> None:
        """Rule out more digits, if this is a number that could end here.

        Schemas seldom bound a number, and nothing else would end one of a model that goes on. A
        string is told from it by the letters that it takes.
        """
        frame = self._grammar.frame
        if not _is_in(self._words, frame.letter_id):
            ended = self._words & ~frame.digits
            if ended.any():
                self._words[:] = ended

    def allows(self, token_id: int) -> bool:
        """Whether a token may come next; far cheaper than `words`.

        Where the grammar leaves one text only, `words` allows the tokens in which a tokenizer
        writes it, and this any others that spell it too.
        """
        if self._matcher is None:
            return True
        if self._number_chars >= MAX_NUMBER_CHARS:
            words = self.words()
            return words is None or _is_in(words, token_id)
        is_known = token_id < self._renderer.num_tokens  # a model may have rows for more
        return is_known and self._matcher.validate_tokens([token_id]) == 1

    def accept(self, token_id: int) -> None:
        """Take notice of the token that was chosen."""
        if self._matcher is not None:
            self._said.append(token_id)
            self._follow_number(self._renderer.piece(token_id))
            if not self._matcher.consume_token(token_id):
                self._matcher = self._grammar.matcher(self._said, is_new=True)
            if self._matcher is not None and not self._matcher.is_accepting():
                return
            self._matcher = None
            self._said.clear()
        if token_id in self._renderer.marks and self._opens(token_id):
            self._matcher = self._grammar.matcher()
        self._last_id = token_id

    def _follow_number(self, piece: bytes) -> None:
        if NUMBER.issuperset(piece):
            self._number_chars += len(piece)
        else:
            self._number_chars = 0

    def _opens(self, token_id: int) -> bool:
        match self._renderer.marks[token_id]:
            case Mark.THINK:
                self._is_thinking = True
            case Mark.END_THINK:
                self._is_thinking = False
            case Mark.HEADER:
                return True
            case Mark.OPEN:
                return not self._is_thinking and self._follows_frame()
            case _:
                pass
        return False

    def _follows_frame(self) -> bool:
        """Whether the character before the token, where it belongs to the frame, was said."""
        dialect = self._renderer.dialect
        if not dialect.text_close:
            return True
        last = b"" if self._last_id is None else self._renderer.piece(self._last_id)
        return last.endswith(dialect.call.open[0].encode())


class Words:
    """A step's mask, or none, under which the step opens no call and says something."""

    def __init__(self, renderer: Renderer, mask: TokenMask | None) -> None:
        self._mask = mask
        self._is_first = True
        self._first = _without(renderer, {Mark.OPEN, Mark.CLOSE, Mark.STOP})
        self._later = _without(renderer, {Mark.OPEN})

    def words(self) -> NDArray[np.int32] | None:
        words = None if self._mask is None else self._mask.words()
        return self._allowed if words is None else self._allowed & words

    def allows(self, token_id: int) -> bool:
        is_allowed = _is_in(self._allowed, token_id)
        return is_allowed and (self._mask is None or self._mask.allows(token_id))

    def accept(self, token_id: int) -> None:
        self._is_first = False
        if self._mask is not None:
            self._mask.accept(token_id)

    @property
    def _allowed(self) -> NDArray[np.int32]:
        return self._first if self._is_first else self._later


def _without(renderer: Renderer, marks: Set[Mark]) -> NDArray[np.int32]:
    """Return the mask of all tokens but those of some marks."""
    is_allowed = np.ones(renderer.num_tokens, bool)
    is_allowed[[i for i, mark in renderer.marks.items() if mark in marks]] = False
    return _packed(is_allowed)


def _packed(is_allowed: Sequence[bool] | NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return a mask: bit i % 32 of word i // 32 for token i."""
    bits = np.packbits(is_allowed, bitorder="little")
    return np.pad(bits, (0, -len(bits) % (BITS // 8))).view(np.int32)


def _is_in(words: NDArray[np.int32], token_id: int) -> bool:
    """Whether a mask allows a token; a model may have rows for more than its tokenizer has."""
    word, bit = divmod(token_id, BITS)
    return word < len(words) and bool(words[word] >> bit & 1)


def _with_special_controls(tokenizer_json: str) -> str:
    """Mark every added token as special: the library then never takes one for its text."""
    state = json.loads(tokenizer_json)
    for token in state["added_tokens"]:
        token["special"] = True
    return json.dumps(state)
