"""Reads the phrasing files; their format is described in `phrasings/README.md`.

Knows the names of slots, and nothing of how they are filled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from llmos_kernel.training.slots import EARLIER_SLOTS, RESULT_SLOTS, SLOT

FOLDER = Path(__file__).parent / "phrasings"
HELD_OUT_SHARE = 20


@dataclass(frozen=True, slots=True)
class CallPattern:
    """A call whose argument strings hold slots."""

    tool: str
    arguments: dict[str, str]

    @property
    def slots(self) -> set[str]:
        return {slot for text in self.arguments.values() for slot in SLOT.findall(text)}

    @property
    def result_slots(self) -> set[str]:
        """The slots that only the result of an earlier call can fill."""
        return self.slots & set(RESULT_SLOTS)


@dataclass(slots=True)
class Intent:
    """Requests that mean the same: a chain of calls (none for talk) and what is said after.

    `replies` are intents of the user's next turn, where the answer asks back.
    """

    file: str
    calls: list[CallPattern] = field(default_factory=list[CallPattern])
    answers: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])
    replies: list[Intent] = field(default_factory=list["Intent"])

    @property
    def tools(self) -> set[str]:
        """The tools that it calls, at once or after the reply to what it asks back."""
        return {call.tool for intent in (self, *self.replies) for call in intent.calls}

    @property
    def needs(self) -> set[str]:
        """The slots of its calls that only an earlier turn can fill."""
        return self._slots_of_calls() & set(EARLIER_SLOTS)

    @property
    def copies_request(self) -> bool:
        return "request" in self._slots_of_calls()

    @property
    def copies_result(self) -> bool:
        """Whether a later call takes up the result of an earlier one."""
        return any(call.result_slots for call in self.calls)

    def _slots_of_calls(self) -> set[str]:
        return set[str]().union(*(call.slots for call in self.calls))

    @property
    def asks_back(self) -> bool:
        """Whether the reply is a question; such a request is complete once there is a result."""
        return not self.calls and any(answer.endswith("?") for answer in self.answers)


def is_held_out(request: str) -> bool:
    """Whether a phrasing belongs to validation: one in `HELD_OUT_SHARE`, by its hash."""
    return hashlib.sha256(request.encode()).digest()[0] % HELD_OUT_SHARE == 0


def read_intents(folder: Path = FOLDER) -> list[Intent]:
    """Return the intents of all phrasing files, in the order of file names and lines.

    Raises:
        ValueError: a line is not in the format; the message names file and line.
    """
    return [intent for path in sorted(folder.glob("*.txt")) for intent in _read_file(path)]


def _read_file(path: Path) -> list[Intent]:
    defaults: list[str] = []
    intents: list[Intent] = []
    intent: Intent | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        place = f"{path.name}:{number}"
        if not line.strip():
            continue
        if line.startswith("=> "):
            call = line.removeprefix("=> ")
            if intent is None or intent.requests:
                intent = Intent(path.stem)
                (intents[-1].replies if call.startswith("then ") else intents).append(intent)
            intent.calls.extend(_call_patterns(call.removeprefix("then "), place))
        elif line.startswith("<= "):
            (defaults if intent is None else intent.answers).append(line[3:])
        elif intent is None:
            raise ValueError(f"{place}: a request before the first '=>'")
        else:
            intent.requests.append(line.replace("\\n", "\n"))
    for each in intents:
        each.answers = each.answers or defaults
    return intents


def _call_patterns(call: str, place: str) -> list[CallPattern]:
    tool, _, arguments = call.partition(" ")
    if tool == "none":
        return []
    try:
        return [CallPattern(tool, json.loads(arguments))]
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: the call is not valid JSON: {error}") from error
