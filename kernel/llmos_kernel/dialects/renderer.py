"""Writes conversations as token ids, so that content can never become a control token.

Covered: text of users, tools, files and tool tables that spells a control literal; it is encoded
by a tokenizer that has no control tokens and stays text. Not covered: a checkpoint that was
trained to obey the spelling; that is policy's business.

Knows no engine and no process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer

from llmos_kernel.abi import Message, Role, ToolSpec
from llmos_kernel.dialects.dialect import DIALECTS, Dialect
from llmos_kernel.errors import ModelError


def without_control_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Return a separate tokenizer with the same vocabulary and no added tokens.

    A flag on the shared object would be a data race: other threads change it.
    """
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    state["post_processor"] = None
    return Tokenizer.from_str(json.dumps(state))


class Renderer:
    """One checkpoint's tokenizer and dialect. Stateless after construction; safe across threads."""

    def __init__(self, tokenizer: Tokenizer, dialect: Dialect) -> None:
        """Resolve the dialect's control literals.

        Raises:
            ModelError: the tokenizer lacks a control token that the dialect needs.
        """
        self.dialect = dialect
        self._tokenizer = tokenizer
        self._plain = without_control_tokens(tokenizer)
        self.call_open_id = self.control_id(dialect.call_open)
        self.call_close_id = self.control_id(dialect.call_close)
        self.stop_id = self.control_id(dialect.stop)
        self.control_ids = frozenset(tokenizer.get_added_tokens_decoder())

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
        ids = self._tokenizer.encode(literal, add_special_tokens=False).ids
        if len(ids) != 1:
            raise ModelError(
                f"the tokenizer has no single token for {literal!r}, "
                f"which the dialect {self.dialect.name!r} needs; name another dialect"
            )
        return ids[0]

    def content_ids(self, text: str) -> list[int]:
        """Encode text that is data: no id in the result is a control token."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def literal_ids(self, text: str) -> list[int]:
        """Encode a literal of the dialect, control tokens included. Never pass content."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []

    def system_ids(self, system_prompt: str, specs: Sequence[ToolSpec]) -> list[int]:
        text = self.dialect.system_text(system_prompt, specs)
        return self._framed(Role.SYSTEM, self.content_ids(text))

    def user_ids(self, text: str) -> list[int]:
        return self._framed(Role.USER, self.content_ids(text))

    def results_ids(self, texts: Sequence[str]) -> list[int]:
        """Write the results of one step's calls, in the order of the calls."""
        frame = self.dialect.results
        ids = self.literal_ids(frame.open)
        for text in texts:
            ids += self._framed(Role.TOOL, self.content_ids(text))
        return ids + self.literal_ids(frame.close)

    def assistant_open_ids(self) -> list[int]:
        """The prompt after which the model speaks."""
        return self.literal_ids(self.dialect.frames[Role.ASSISTANT].open)

    def after_stop_ids(self) -> list[int]:
        """What the dialect writes after the model's own stop token."""
        close = self.dialect.frames[Role.ASSISTANT].close
        return self.literal_ids(close.removeprefix(self.dialect.stop))

    def assistant_ids(self, message: Message) -> list[int]:
        """Write a past assistant step, from after the open frame up to its stop token."""
        ids = self.content_ids(message.content)
        for call in message.calls:
            ids += self.literal_ids(self.dialect.call.open)
            ids += self.content_ids(self.dialect.call_body(call))
            ids += self.literal_ids(self.dialect.call.close)
        return [*ids, self.stop_id]

    def _framed(self, role: Role, content: list[int]) -> list[int]:
        frame = self.dialect.frames[role]
        return [*self.literal_ids(frame.open), *content, *self.literal_ids(frame.close)]

    def text(self, ids: Sequence[int]) -> str:
        """Decode ids for people; control tokens are left out."""
        return self._plain.decode([i for i in ids if i not in self.control_ids])


def detect_dialect(tokenizer: Tokenizer, *, name: str | None = None) -> Dialect:
    """Return the named dialect, or the first whose control literals the tokenizer has.

    Raises:
        ModelError: there is none, or the name is unknown.
    """
    known = {dialect.name: dialect for dialect in DIALECTS}
    if name is not None:
        if name not in known:
            raise ModelError(f"unknown dialect {name!r}; known are {', '.join(known)}")
        return known[name]
    for dialect in DIALECTS:
        if all(tokenizer.token_to_id(literal) is not None for literal in dialect.controls):
            return dialect
    raise ModelError(
        f"no known dialect fits the checkpoint's tokens; known are {', '.join(known)}. "
        "Use a Qwen or Hermes checkpoint, or the embedded model"
    )
