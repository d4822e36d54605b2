"""Reads a conversation of private ids back into the messages that an endpoint expects.

Pure: ids in, JSON values out. Knows no HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmos_kernel.engine.remote.vocabulary import NUM_BYTES, Mark, text_of
from llmos_kernel.errors import ModelError

NAME_OPEN, ARGUMENTS_OPEN = '{"name":', ',"arguments":'


@dataclass(slots=True)
class Conversation:
    """`begun` are the ids of a reply that the conversation breaks off in."""

    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tools: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    begun: list[int] = field(default_factory=list[int])


def read_conversation(ids: Sequence[int]) -> Conversation:
    """Split ids at their marks into messages.

    Raises:
        ModelError: the marks do not make a conversation that the model is to go on with.
    """
    return _Reader(ids).read()


class _Reader:
    """Calls are named by their place in the conversation, so that its beginning never changes.

    `unanswered` are the ids of the last step's calls, in order, that have no result yet.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self._found = Conversation()
        self._unanswered: list[str] = []
        self._num_calls = 0

    def read(self) -> Conversation:
        for mark, parts, is_whole in _messages(self._ids):
            if mark is Mark.ASSISTANT and not is_whole:
                self._found.begun = [token_id for part in parts for token_id in part]
                return self._found
            if not is_whole:
                break
            self._take(mark, parts)
        raise ModelError("the conversation does not end where the model is to speak")

    def _take(self, mark: Mark, parts: list[list[int]]) -> None:
        text = text_of(parts[0])
        match mark:
            case Mark.SYSTEM:
                self._say("system", text)
                if len(parts) > 1:
                    self._found.tools = json.loads(text_of(parts[1][1:]))
            case Mark.USER:
                self._say("user", text)
            case Mark.ASSISTANT:
                self._say("assistant", text + _after_thoughts(parts[1:]))
                self._take_calls(parts[1:])
            case Mark.RESULT if self._unanswered:
                self._say("tool", text, tool_call_id=self._unanswered.pop(0))
            case _:
                raise ModelError(f"the conversation has a stray {mark.literal!r}")

    def _say(self, role: str, text: str, **more: Any) -> None:
        self._found.messages.append({"role": role, "content": text, **more})

    def _take_calls(self, parts: list[list[int]]) -> None:
        calls = [self._call(text_of(part[1:])) for part in parts if part[0] == Mark.CALL]
        self._unanswered = [call["id"] for call in calls]
        if calls:
            self._found.messages[-1]["tool_calls"] = calls

    def _call(self, body: str) -> dict[str, Any]:
        """Nine letters and digits are an id that every server takes, Mistral's too."""
        self._num_calls += 1
        name, arguments = read_call(body)
        return {
            "id": f"call{self._num_calls:05}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }


def _messages(ids: Sequence[int]) -> Iterator[tuple[Mark, list[list[int]], bool]]:
    """Yield each message: its mark, its ids cut before every further mark, whether it ended."""
    opened: Mark | None = None
    parts: list[list[int]] = []
    for token_id in ids:
        if opened is None:
            opened, parts = Mark(token_id), [[]]
        elif token_id == Mark.END:
            yield opened, parts, True
            opened = None
        elif token_id < NUM_BYTES:
            parts[-1].append(token_id)
        else:
            parts.append([token_id])
    if opened is not None:
        yield opened, parts, False


def _after_thoughts(parts: list[list[int]]) -> str:
    """Return a past reply's text; what the model thought before it is not given back to it."""
    return "".join(text_of(part[1:]) for part in parts if part[0] == Mark.END_THOUGHT)


def write_call(name: str, arguments: str) -> str:
    """Write a call's body around its arguments, which stay as the model wrote them."""
    return f"{NAME_OPEN}{json.dumps(name, ensure_ascii=False)}{ARGUMENTS_OPEN}{arguments}}}"


def read_call(body: str) -> tuple[str, str]:
    """Return name and arguments of a call's body, both good for a server.

    Servers refuse conversations with arguments that are no JSON object, so those of a malformed
    call become a string in one: the model still sees what it wrote.
    """
    name, end = _name(body)
    written = body[end:].removeprefix(ARGUMENTS_OPEN).removesuffix("}")
    try:
        is_object = isinstance(json.loads(written), dict)
    except (ValueError, RecursionError):
        is_object = False
    malformed = json.dumps({"malformed": written}, ensure_ascii=False)
    return name, written if is_object else malformed


def _name(body: str) -> tuple[str, int]:
    try:
        name, end = json.JSONDecoder().raw_decode(body, len(NAME_OPEN))
    except ValueError:
        return "unknown", 0
    return (name, end) if isinstance(name, str) and name else ("unknown", 0)
