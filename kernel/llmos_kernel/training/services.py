"""Turns recorded dialogues with services into dialogues under renamed tables.

What people wrote stays; names of tools and arguments change, and values are exchanged for others
of their kind in text and call alike. A call holds a date or a time as it was written. A dialogue
ends before a call whose arguments nobody has said. The recordings are those of Schema-Guided
Dialogue (Rastogi et al. 2020), whose day is 1 March 2019.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from llmos_kernel.abi import Json, Message, Role, ToolCall, ToolSpec
from llmos_kernel.training.functions import Function, functions_of, is_held_out
from llmos_kernel.training.kinds import Kind, Values
from llmos_kernel.training.slots import number_in_words
from llmos_kernel.training.tables import Tables, Tool

TODAY = date(2019, 3, 1)
DATE = re.compile(r"2019-\d\d-\d\d")
TIME = re.compile(r"([0-2]?\d):([0-5]\d)")
LEAST_REPLACED = 4
MOST_RESULTS = 2
OF_THE_DAY = r"(?:[ap]\.?m\b\.?|o'? ?clock|in the (?:morning|afternoon|evening)|at night)"

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """A table of a service's tools, and the recorded dialogues that it serves."""

    tools: list[Tool]
    rows: Sequence[Row]


class Services:
    """Draws services, then dialogues under each. `rows` are recorded dialogues."""

    def __init__(
        self,
        rng: random.Random,
        tables: Tables,
        values: Values,
        rows: Sequence[Row],
        *,
        held_out: bool,
    ) -> None:
        self._rng = rng
        self._tables = tables
        self._values = values
        groups: dict[str, list[Row]] = {}
        for row in rows:
            names = " ".join(sorted(tool["name"] for tool in row["tools"]))
            if is_held_out(names) == held_out and _is_sound(row):
                groups.setdefault(json.dumps(row["tools"]), []).append(row)
        self._groups = [(_functions(rows[0]), rows) for rows in groups.values()]
        self._weights = [len(rows) for _, rows in self._groups]

    def draw(self) -> Service:
        functions, rows = self._rng.choices(self._groups, self._weights)[0]
        other = self._tables.any_function()
        is_alone = self._rng.random() < 0.7 or other.name in {f.name for f in functions}
        return Service(self._tables.renamed(functions if is_alone else [*functions, other]), rows)

    def dialogue(self, service: Service) -> list[Message]:
        """Return a recorded dialogue up to the answer to its first, second or third call.

        One that ends without a call is kept in one of four cases.
        """
        while True:
            row = self._rng.choice(service.rows)
            messages = self._messages(row["messages"], service.tools)
            while messages and not _is_answer(messages[-1]):
                messages.pop()
            if any(message.calls for message in messages) or (
                messages and self._rng.random() < 0.25
            ):
                return messages

    def _messages(self, row: Sequence[Row], tools: Sequence[Tool]) -> list[Message]:
        most_calls = self._rng.choice([1, 1, 2, 3])
        by_name = {tool.function.name: tool for tool in tools}
        changes = self._changes(row, by_name)
        messages: list[Message] = []
        seen = ""
        for entry in row:
            if not most_calls and _is_answer(messages[-1]) and not messages[-1].calls:
                break
            if calls := entry.get("tool_calls"):
                if not most_calls or (call := self._call(calls[0], by_name, seen, changes)) is None:
                    break
                most_calls -= 1
                messages.append(Message(Role.ASSISTANT, calls=(call,)))
                continue
            text = str(entry["content"])
            if entry["role"] == "tool":
                text = _shortened(text)
            seen += f"\n{text}"
            messages.append(Message(Role(entry["role"]), _changed(text, changes)))
        return messages

    def _call(
        self, call: Row, tools: Mapping[str, Tool], seen: str, changes: Mapping[str, str]
    ) -> ToolCall | None:
        tool = tools[call["name"]]
        kinds = {p.name: p.kind for p in tool.function.parameters}
        values: dict[str, Json] = {}
        for name, value in call["arguments"].items():
            said = _as_said(str(value), kinds[name], seen)
            if isinstance(said, str) and kinds[name].is_text:
                said = _changed(said, changes)
            if said is not None:
                values[name] = said
        if tool.function.required - values.keys():
            return None
        return ToolCall(f"call-{len(seen)}", tool.spec.name, tool.arguments(values))

    def _changes(self, row: Sequence[Row], tools: Mapping[str, Tool]) -> dict[str, str]:
        """Draw other values for about half of the dialogue's open arguments."""
        changes: dict[str, str] = {}
        parameters = [p for tool in tools.values() for p in tool.function.parameters]
        closed = {option.lower() for p in parameters for option in p.kind.options}
        for key, value, kind in _open_values(row, tools):
            if key not in changes and key not in closed:
                other = self._values.draw(kind).shown.replace('"', "")
                changes[key] = self._rng.choice([value, other])
        return changes


def _open_values(row: Sequence[Row], tools: Mapping[str, Tool]) -> Iterator[tuple[str, str, Kind]]:
    """Yield each argument of the dialogue that is not one of a list: its key, it, its kind."""
    for entry in row:
        for call in entry.get("tool_calls") or ():
            kinds = {p.name: p.kind for p in tools[call["name"]].function.parameters}
            for name, value in call["arguments"].items():
                if _is_open(value, kinds[name]):
                    yield value.lower(), value, kinds[name]


def _functions(row: Row) -> list[Function]:
    return functions_of([ToolSpec(**tool) for tool in row["tools"]])


def _is_sound(row: Row) -> bool:
    """Whether each call has a tool of its own name with those arguments: some services clash."""
    known = {tool["name"]: set(tool["parameters"]["properties"]) for tool in row["tools"]}
    calls = [call for entry in row["messages"] for call in entry.get("tool_calls") or ()]
    is_known = all(call["arguments"].keys() <= known[call["name"]] for call in calls)
    return is_known and len(known) == len(row["tools"])


def _is_answer(message: Message) -> bool:
    return message.role is Role.ASSISTANT


def _is_open(value: str, kind: Kind) -> bool:
    is_marked = DATE.fullmatch(value) or TIME.fullmatch(value) or value[0].isdigit()
    return kind.is_text and not is_marked and len(value) >= LEAST_REPLACED


def _changed(text: str, changes: Mapping[str, str]) -> str:
    """Exchange the keys of `changes`, which are in lower case, wherever they are whole words."""
    found = [old for old in changes if old in text.lower()]
    if not found:
        return text
    pattern = rf"(?<!\w)({'|'.join(map(re.escape, found))})(?!\w)"
    return re.sub(pattern, lambda match: changes[match[1].lower()], text, flags=re.IGNORECASE)


def _shortened(result: str) -> str:
    """Leave the first few of a service's results, which are a JSON list."""
    return json.dumps(json.loads(result)[:MOST_RESULTS])


def _as_said(value: str, kind: Kind, seen: str) -> Json:
    """Return a value as it stands in what was said before the call; None if it does not."""
    match kind.name:
        case "yes":
            return value == "True"
        case "int":
            is_said = re.search(rf"\b({value}|{number_in_words(int(value))})\b", seen, re.I)
            return int(value) if is_said or value in "12" else None
        case "one":
            return value if value.lower() in seen.lower() else None
        case _ if DATE.fullmatch(value):
            return _last(_day_pattern(date.fromisoformat(value)), seen)
        case _ if match := TIME.fullmatch(value):
            return _last(_time_pattern(int(match[1]), match[2]), seen)
        case _:
            return value if value in seen else _last(re.escape(value), seen)


def _last(pattern: str, seen: str) -> str | None:
    found = list(re.finditer(rf"(?<!\w)(?:{pattern})", seen, re.I))
    return found[-1][0] if found else None


def _day_pattern(day: date) -> str:
    relative = {0: "today", 1: "tomorrow", 2: "(?:the )?day after tomorrow"}
    number = rf"{day.day}(?:st|nd|rd|th)?"
    ways = [
        rf"{day:%B} {number}\b",
        rf"{day:%b} {number}\b",
        rf"(?:the )?{number} of (?:{day:%B}|{day:%b}|this month)\b",
        rf"the {day.day}(?:st|nd|rd|th)\b",
        rf"{day.isoformat()}",
    ]
    if (distance := (day - TODAY).days) in relative:
        ways.insert(0, rf"{relative[distance]}\b")
    if distance < 14:
        ways.append(rf"(?:(?:next|this|coming|on) )?{day:%A}(?: next week)?\b")
    return "|".join(ways)


def _time_pattern(hour: int, minute: str) -> str:
    half = hour % 12 or 12
    hours = f"(?:{half}|{number_in_words(half)})"
    if minute == "00":
        return rf"{hour:02}:00\b|{half}(?::00)? ?{OF_THE_DAY}|{hours} {OF_THE_DAY}"
    ways = [rf"{hour}:{minute}\b(?: ?{OF_THE_DAY})?", rf"{half}:{minute}\b(?: ?{OF_THE_DAY})?"]
    spoken = {"30": "half past", "15": "quarter past"}
    if minute in spoken:
        ways.append(rf"(?:a )?{spoken[minute]} {hours}\b(?: ?{OF_THE_DAY})?")
    return "|".join(ways)
