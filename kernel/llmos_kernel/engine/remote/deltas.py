"""Turns the streamed pieces of a reply into private ids.

A call becomes ids only once the reply has ended, since servers may write several calls in turns.
Pure: JSON values in, ids out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llmos_kernel.engine.remote.messages import write_call
from llmos_kernel.engine.remote.vocabulary import Mark, text_ids

WHOLE_REASONS = ("stop", "tool_calls", "function_call")


@dataclass(slots=True, eq=False)
class _Call:
    id: str | None = None
    name: str = ""
    arguments: str = ""


class ReplyReader:
    """Reads one reply: `feed` each choice of the stream, then `finish` once.

    `finish_reason` is the server's word on why the reply ended, None until it said so.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._calls: list[_Call] = []
        self._by_index: dict[int | None, _Call] = {}
        self._last: _Call | None = None
        self._is_thinking = False

    def feed(self, choice: dict[str, Any]) -> list[int]:
        """Return the ids of the thoughts and the text in this piece."""
        delta: dict[str, Any] = choice.get("delta") or {}
        for piece in delta.get("tool_calls") or []:
            self._add(piece)
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        thought = text_ids(delta.get("reasoning_content") or delta.get("reasoning") or "")
        if thought and not self._is_thinking:
            thought = [Mark.THOUGHT, *thought]
            self._is_thinking = True
        content = text_ids(delta.get("content") or "")
        return [*thought, *self._end_thought(), *content] if content else thought

    def _end_thought(self) -> list[int]:
        was_thinking, self._is_thinking = self._is_thinking, False
        return [Mark.END_THOUGHT] if was_thinking else []

    def finish(self) -> list[int]:
        """Return the ids of the calls, and of the end where the reply is whole.

        A reply that was cut off leaves the call at work open, however whole that looks.
        """
        is_whole = self.finish_reason in WHOLE_REASONS
        if not is_whole:
            self._calls.sort(key=lambda call: call is self._last)
        ids = self._end_thought() if is_whole or self._calls else []
        for call in self._calls:
            body = write_call(call.name, call.arguments.strip() or "{}")
            ids += [Mark.CALL, *text_ids(body), Mark.END_CALL]
        return [*ids, Mark.END] if is_whole else ids[:-1]

    def _add(self, piece: dict[str, Any]) -> None:
        call = self._last = self._call(piece)
        function: dict[str, Any] = piece.get("function") or {}
        name = function.get("name") or ""
        call.id = call.id or piece.get("id")
        call.name += "" if name == call.name else name
        arguments = function.get("arguments") or ""
        call.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _call(self, piece: dict[str, Any]) -> _Call:
        """Return the call that a piece belongs to.

        Some servers give every call the index 0, or none, and an id of its own; a piece without
        either goes on with the last call, unless it names another.
        """
        call_id, index = piece.get("id") or None, piece.get("index")
        for call in self._calls:
            if call_id is not None and call.id == call_id:
                return call
        known = self._last if index is None else self._by_index.get(index)
        has_other_id = known is not None and None not in (call_id, known.id)
        is_named = index is None and bool((piece.get("function") or {}).get("name"))
        if known is not None and not has_other_id and not is_named:
            return known
        call = self._by_index[index] = _Call()
        self._calls.append(call)
        return call
