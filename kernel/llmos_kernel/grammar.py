"""Masks decoding so that every call is valid by construction: llguidance over the tools' schemas.

Text is free until the control token that opens a call. From there only what continues a call to
one of the granted tools is allowed, no control token is, and the closing one only once the call is
complete. Covered: names, required and unknown arguments, types, enums, nesting. Not covered:
keywords that the library does not know (such a tool gets any object), and what a schema cannot
say; every call is validated again after parsing. Knows no engine and no process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from llmos_kernel.abi import ToolSpec
from llmos_kernel.dialects.codecs.json_object import JsonObjectCodec
from llmos_kernel.dialects.renderer import Renderer

BITS = 32
LARGEST = 10**18
LIMITS = LLParserLimits(max_grammar_size=200_000, initial_lexer_fuel=2_000_000)


class Masks:
    """Makes masks for one checkpoint, with one compiled grammar for each set of tools."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._grammars: dict[tuple[str, ...], CallGrammar] = {}

    def mask(self, specs: Sequence[ToolSpec]) -> CallMask | None:
        """Return a mask for one step; None where there are no tools, or calls have no grammar."""
        if not specs or not has_grammar(self._renderer):
            return None
        names = tuple(spec.name for spec in specs)
        if names not in self._grammars:
            self._grammars[names] = CallGrammar(self._renderer, specs)
        return self._grammars[names].mask()


def has_grammar(renderer: Renderer) -> bool:
    """Whether a family writes its calls as JSON objects between control tokens."""
    is_framed = renderer.call_open_id is not None and renderer.call_close_id is not None
    return is_framed and isinstance(renderer.dialect.codec, JsonObjectCodec)


class CallGrammar:
    """The grammar of calls to one set of tools, for one checkpoint's tokens."""

    def __init__(self, renderer: Renderer, specs: Sequence[ToolSpec]) -> None:
        """Compile the schemas; a tool whose schema cannot be compiled may be given any object.

        The family is one that `has_grammar`.
        """
        dialect = renderer.dialect
        assert isinstance(dialect.codec, JsonObjectCodec)
        assert renderer.call_open_id is not None
        assert renderer.call_close_id is not None
        self.open_id, self.close_id = renderer.call_open_id, renderer.call_close_id
        self.stop_id, self.num_tokens = renderer.stop_id, renderer.num_tokens
        self._tokenizer = LLTokenizer(
            _with_special_controls(renderer.tokenizer_json()),
            n_vocab=self.num_tokens,
            eos_token=self.stop_id,
        )
        self._codec = dialect.codec
        self._before = dialect.call.open.removeprefix(renderer.literal(self.open_id))
        self._after = dialect.call.close.removesuffix(renderer.literal(self.close_id))
        schemas = {spec.name: self._compilable(spec) for spec in specs}
        self._grammar = LLMatcher.grammar_from_lark(self._union(schemas))
        self._unused: list[LLMatcher] = []

    def mask(self) -> CallMask:
        """Return a mask for one step of the model."""
        return CallMask(self)

    def take_matcher(self) -> LLMatcher:
        """Return a matcher at the beginning of a call; one that was given back is quicker."""
        if self._unused:
            return self._unused.pop()
        return LLMatcher(self._tokenizer, self._grammar, limits=LIMITS)

    def give_back(self, matcher: LLMatcher) -> None:
        """Keep a matcher for the next call: what its lexer has learned stays with it."""
        if matcher.reset() and not matcher.is_error():
            self._unused.append(matcher)

    def _compilable(self, spec: ToolSpec) -> dict[str, Any]:
        schema = _narrowed(dict(spec.parameters))
        grammar = LLMatcher.grammar_from_json_schema(schema)
        problem = LLMatcher.validate_grammar(grammar, self._tokenizer, limits=LIMITS)
        is_good = not problem or problem.startswith("WARNING")
        return schema if is_good else {"type": "object"}

    def _union(self, schemas: dict[str, dict[str, Any]]) -> str:
        """Return a Lark grammar: `{"name": ..., "arguments": ...}` for each of the tools."""
        item, key = self._codec.separators
        options = {"whitespace_flexible": False, "item_separator": item, "key_separator": key}
        rules = [f"start: {' | '.join(f'call_{i}' for i in range(len(schemas)))}"]
        for index, (name, schema) in enumerate(schemas.items()):
            arguments_key = json.dumps(self._codec.arguments_key)
            head = f'{self._before}{{"name"{key}{json.dumps(name)}{item}{arguments_key}{key}'
            tail = json.dumps(f"}}{self._after}")
            rules.append(f"call_{index}: {json.dumps(head)} arguments_{index} {tail}")
            guided = json.dumps({**schema, "x-guidance": options})
            rules.append(f"arguments_{index}: %json {guided}")
        return "\n".join(rules)


class CallMask:
    """Follows one step of the model; see `llmos_kernel.engine.base.TokenMask`."""

    def __init__(self, grammar: CallGrammar) -> None:
        self._grammar = grammar
        self._matcher: LLMatcher | None = None
        self._words = np.zeros(-(-grammar.num_tokens // BITS), np.int32)

    def words(self) -> NDArray[np.int32] | None:
        """Return what may come next: bit i % 32 of word i // 32 for token i; None for anything."""
        if self._matcher is None:
            return None
        words = self._words
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        is_complete = self._matcher.is_accepting()
        self._set(self._grammar.stop_id, is_allowed=False)
        self._set(self._grammar.close_id, is_allowed=is_complete)
        return words

    def _set(self, token_id: int, *, is_allowed: bool) -> None:
        bit = np.uint32(1 << (token_id % BITS))
        word = self._words.view(np.uint32)
        index = token_id // BITS
        word[index] = word[index] | bit if is_allowed else word[index] & ~bit

    def accept(self, token_id: int) -> None:
        """Take notice of the token that was chosen."""
        if self._matcher is None:
            if token_id == self._grammar.open_id:
                self._matcher = self._grammar.take_matcher()
        elif token_id == self._grammar.close_id:
            self._grammar.give_back(self._matcher)
            self._matcher = None
        else:
            self._matcher.consume_token(token_id)


def _narrowed(schema: Any) -> Any:
    """Return a schema that admits less: no undeclared key, no exponent, no number past LARGEST.

    Left out is what a strict parser refuses: keys that occur twice, numbers no float can hold.
    """
    if not isinstance(schema, dict):
        return schema
    narrowed: dict[str, Any] = dict(schema)  # pyright: ignore
    for key in ("properties", "$defs", "definitions"):
        if isinstance(parts := narrowed.get(key), dict):
            narrowed[key] = {name: _narrowed(part) for name, part in parts.items()}  # pyright: ignore
    for key in ("anyOf", "oneOf", "prefixItems"):
        if isinstance(parts := narrowed.get(key), list):
            narrowed[key] = [_narrowed(part) for part in parts]  # pyright: ignore
    for key in ("items", "additionalProperties"):
        if key in narrowed:
            narrowed[key] = _narrowed(narrowed[key])
    if narrowed.get("type") in ("number", "integer"):
        narrowed = {"minimum": -LARGEST, "maximum": LARGEST, **narrowed}
    if narrowed.get("properties"):
        narrowed.setdefault("additionalProperties", False)
    return narrowed


def _with_special_controls(tokenizer_json: str) -> str:
    """Mark every added token as special: the library then never takes one for its text."""
    state = json.loads(tokenizer_json)
    for token in state["added_tokens"]:
        token["special"] = True
    return json.dumps(state)
