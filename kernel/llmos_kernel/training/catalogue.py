"""Makes dialogues with tools that a model has never seen, so that it learns to read the table.

First a table is drawn, then any number of dialogues under it. Results are drawn, not computed.
Knows no tokenizer and no files of public data.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from llmos_kernel.abi import Json, Message, Role, ToolCall, ToolSpec
from llmos_kernel.training.composer import Composer
from llmos_kernel.training.functions import FOLDER, SLOT, Function, functions_of, read_functions
from llmos_kernel.training.kinds import Drawn, Kind, Values, read_pools
from llmos_kernel.training.naming import (
    QUESTION_WORDS,
    SYNONYMS,
    Naming,
    noun_phrase,
    read_sections,
    words_of,
)
from llmos_kernel.training.replies import FAILURE_REPLIES, NO_TOOL_REPLIES
from llmos_kernel.training.services import Row, Service, Services
from llmos_kernel.training.slots import Slots
from llmos_kernel.training.tables import Tables, Tool
from llmos_kernel.training.variation import varied

TURNS = {"call": 66, "parallel": 9, "none": 14, "ask": 6, "follow": 5}
FAILURES = (
    "not found",
    "the service is not available",
    "timed out after 30 s",
    "permission denied",
    "HTTP 503",
    "invalid argument",
    "too many requests, try again later",
    "unknown error",
    "no connection",
)

Known: TypeAlias = dict[str, "Json | Drawn"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a tool: its text, and the values of the arguments that it mentions."""

    tool: Tool
    text: str
    values: Known


@dataclass(slots=True)
class Turns:
    """A dialogue as it grows; `last` is the request that was answered last."""

    messages: list[Message] = field(default_factory=list[Message])
    last: Request | None = None

    def ask(self, text: str) -> None:
        self.messages.append(Message(Role.USER, text))

    def say(self, text: str) -> None:
        self.messages.append(Message(Role.ASSISTANT, text))


class Catalogue:
    """Draws tables and dialogues from one random source; the seed fixes them.

    `schemas` are other people's tools, `talk` requests that no tool of a catalogue serves,
    `recorded` dialogues with services.
    With `held_out` only the functions and frames kept apart for validation are used.
    """

    def __init__(
        self,
        rng: random.Random,
        slots: Slots,
        schemas: Sequence[ToolSpec],
        talk: Sequence[str],
        recorded: Sequence[Row],
        *,
        held_out: bool = False,
    ) -> None:
        self._rng = rng
        self._talk = talk
        self._naming = Naming(rng, read_sections(SYNONYMS))
        frames = read_sections(FOLDER / "frames.txt")
        self._composer = Composer(rng, frames, self._naming, held_out=held_out)
        self._values = Values(rng, slots, read_pools())
        functions = [*read_functions(), *functions_of(schemas)]
        chosen = [function for function in functions if function.is_held_out == held_out]
        self._tables = Tables(rng, chosen, self._naming)
        self._services = Services(rng, self._tables, self._values, recorded, held_out=held_out)

    def table(self) -> list[Tool]:
        """Draw a table of one to eight tools."""
        return self._tables.draw()

    def service(self) -> Service:
        """Draw a table of tools of recorded services."""
        return self._services.draw()

    def service_dialogue(self, service: Service) -> list[Message]:
        """Draw a recorded dialogue under its service's table."""
        return self._services.dialogue(service)

    def dialogue_under(self, tools: Sequence[Tool]) -> list[Message]:
        """Draw a dialogue of one to three turns under a table."""
        turns = Turns()
        for _ in range(self._rng.choice([1, 1, 1, 2, 2, 3])):
            kind = self._rng.choices(list(TURNS), list(TURNS.values()))[0]
            match kind:
                case "none":
                    self._no_tool(turns, tools)
                case "ask":
                    self._ask_back(turns, self._rng.choice(tools))
                case "parallel":
                    self._parallel(turns, tools)
                case "follow" if turns.last:
                    self._follow(turns, turns.last)
                case _:
                    self._single(turns, self._request(self._rng.choice(tools)))
        return turns.messages

    # Turns ----------------------------------------------------------------

    def _single(self, turns: Turns, request: Request) -> None:
        missing = request.tool.function.required - request.values.keys()
        turns.ask(request.text)
        if missing:
            request = self._completed(turns, request, sorted(missing))
        self._call(turns, [request])

    def _completed(self, turns: Turns, request: Request, missing: Sequence[str]) -> Request:
        """Ask for each argument that is missing, and be told."""
        values = dict(request.values)
        for name in missing:
            label = self._question_label(request.tool, name)
            turns.say(self._composer.line("ask").replace("<name>", label))
            drawn = self._value(request.tool, name)
            reply = self._composer.line("reply").replace("<name>", label)
            turns.ask(reply.replace("<value>", drawn.shown))
            values[name] = drawn
        return Request(request.tool, request.text, values)

    def _question_label(self, tool: Tool, name: str) -> str:
        described = self._description_in(tool, name)
        words = noun_phrase(described)
        if not words or described.split()[0].lower() in QUESTION_WORDS:
            return " ".join(words_of(name.rsplit(".", maxsplit=1)[-1]))
        return words[:1].lower() + words[1:] if words[1:2].islower() else words

    def _description_in(self, tool: Tool, name: str) -> str:
        schema: Any = tool.spec.parameters
        for key in tool.paths[name]:
            schema = schema["properties"][key]
        return str(schema.get("description", ""))

    def _ask_back(self, turns: Turns, tool: Tool) -> None:
        needed = sorted(tool.function.required)
        if not needed:
            return self._single(turns, self._request(tool))
        left_out = self._rng.choice(needed)
        chosen = [name for name in self._chosen(tool.function) if name != left_out]
        return self._single(turns, self._composed(tool, chosen))

    def _parallel(self, turns: Turns, tools: Sequence[Tool]) -> None:
        if self._rng.random() < 0.5 and (both := self._twice(self._rng.choice(tools))):
            turns.ask(both[0].text)
            return self._call(turns, both)
        requests = [self._whole(self._rng.choice(tools)) for _ in range(2)]
        first, second = map(_without_end_mark, requests)
        text = self._composer.line("join").replace("<first>", first).replace("<second>", second)
        turns.ask(text)
        return self._call(turns, requests)

    def _twice(self, tool: Tool) -> list[Request]:
        """Return two requests in one text that differ in one argument, if the tool allows it."""
        text, fixed = self._pattern(tool)
        slots = list(dict.fromkeys(SLOT.findall(text)))
        kinds = {p.name: p.kind for p in tool.function.parameters}
        open_slots = [s for s in slots if text.count(f"<{s}>") == 1 and kinds[s].name != "list"]
        if not open_slots or tool.function.required - set(slots) - fixed.keys():
            return []
        slot = self._rng.choice(open_slots)
        values: Known = {name: self._value(tool, name) for name in slots}
        first, second = self._value(tool, slot), self._value(tool, slot)
        shown = {n: v.shown for n, v in values.items() if isinstance(v, Drawn)}
        word = self._rng.choice([" and ", " and ", " and also ", " as well as ", " & "])
        shown[slot] = f"{first.shown}{word}{second.shown}"
        filled = SLOT.sub(lambda match: shown[match[1]], varied(self._rng, text))
        return [
            Request(tool, filled, {**fixed, **values, slot: first}),
            Request(tool, filled, {**fixed, **values, slot: second}),
        ]

    def _follow(self, turns: Turns, last: Request) -> None:
        """Ask for the same again with one argument changed."""
        names = [n for n, v in last.values.items() if isinstance(v, Drawn)]
        if not names:
            return self._single(turns, self._request(last.tool))
        name = self._rng.choice(names)
        drawn = self._value(last.tool, name)
        kinds = {p.name: p.kind for p in last.tool.function.parameters}
        is_clear = sum(kinds[n].name == kinds[name].name for n in names) == 1
        section = "follow" if is_clear and self._rng.random() < 0.6 else "follow_named"
        label = self._rng.choice(last.tool.labels[name])
        text = self._composer.line(section).replace("<name>", label)
        turns.ask(varied(self._rng, text.replace("<value>", f"<{name}>")).replace(
            f"<{name}>", drawn.shown
        ))  # fmt: skip
        return self._call(turns, [Request(last.tool, last.text, {**last.values, name: drawn})])

    def _no_tool(self, turns: Turns, tools: Sequence[Tool]) -> None:
        text = self._rng.choice(self._talk)
        if self._rng.random() < 0.75 or self._tables.is_about(text, tools):
            function = self._tables.foreign(tools)
            if function is None:
                return self._single(turns, self._request(self._rng.choice(tools)))
            text = self._request(self._as_written(function)).text
        turns.ask(text)
        return turns.say(self._rng.choice(NO_TOOL_REPLIES))

    def _as_written(self, function: Function) -> Tool:
        paths = {p.name: tuple(p.name.split(".")) for p in function.parameters}
        labels = {name: [" ".join(words_of(path[-1]))] for name, path in paths.items()}
        return Tool(function, ToolSpec(function.name, function.description, {}), paths, labels)

    # Requests --------------------------------------------------------------

    def _whole(self, tool: Tool) -> Request:
        """Draw a request that has all that the tool needs."""
        request = self._request(tool)
        if tool.function.required <= request.values.keys():
            return request
        return self._composed(tool, self._chosen(tool.function))

    def _request(self, tool: Tool) -> Request:
        text, fixed = self._pattern(tool)
        return self._filled(tool, text, fixed)

    def _pattern(self, tool: Tool) -> tuple[str, dict[str, Json]]:
        """Return a request's text with its slots, and the arguments that it says without one."""
        if not tool.function.patterns or self._rng.random() < 0.2:
            return self._composed_text(tool, self._chosen(tool.function)), {}
        pattern = self._rng.choice(tool.function.patterns)
        return self._expanded(pattern.text), pattern.fixed

    def _expanded(self, text: str) -> str:
        """Choose among `{one|other}`, keep or leave out what stands in `[...]`."""
        text = re.sub(r"\{([^{}]*)\}", lambda m: self._rng.choice(m[1].split("|")), text)
        return re.sub(r"\[([^\[\]]*)\]", lambda m: m[1] if self._rng.random() < 0.5 else "", text)

    def _chosen(self, function: Function) -> list[str]:
        """Return the arguments to mention: what is required, and some of the rest."""
        share = self._rng.choice([0.0, 0.3, 0.5])
        return [p.name for p in function.parameters if p.is_required or self._rng.random() < share]

    def _composed(self, tool: Tool, names: Sequence[str]) -> Request:
        return self._filled(tool, self._composed_text(tool, names), {})

    def _composed_text(self, tool: Tool, names: Sequence[str]) -> str:
        kinds = {p.name: p.kind for p in tool.function.parameters}
        mentioned = [kinds[name].name for name in names]
        is_told_apart = len(set(mentioned)) == len(mentioned) < 4
        can_be_bare = is_told_apart and not {"yes", "list"} & set(mentioned)
        labels = {name: self._rng.choice(tool.labels[name]) for name in names}
        text = tool.function.description
        request = self._composer.request(text, labels, can_be_bare=can_be_bare)
        return request[:1].upper() + request[1:] if self._rng.random() < 0.5 else request

    def _filled(self, tool: Tool, text: str, fixed: dict[str, Json]) -> Request:
        names = dict.fromkeys(SLOT.findall(text))
        values = {name: self._value(tool, name) for name in names}
        shown = {name: self._quoted(tool, name, drawn) for name, drawn in values.items()}
        filled = SLOT.sub(lambda match: shown[match[1]], varied(self._rng, text))
        return Request(tool, filled, {**fixed, **values})

    def _quoted(self, tool: Tool, name: str, drawn: Drawn) -> str:
        kind = next(p.kind for p in tool.function.parameters if p.name == name)
        if not kind.is_text or drawn.shown != drawn.value or self._rng.random() > 0.06:
            return drawn.shown
        mark = self._rng.choice(["'", '"']) if "'" not in drawn.shown else '"'
        return f"{mark}{drawn.shown}{mark}"

    def _value(self, tool: Tool, name: str) -> Drawn:
        kind = next(p.kind for p in tool.function.parameters if p.name == name)
        return self._values.draw(kind)

    # Calls and results -------------------------------------------------------

    def _call(self, turns: Turns, requests: Sequence[Request]) -> None:
        first = len(turns.messages)
        calls = tuple(
            ToolCall(f"call-{first + i}", r.tool.spec.name, r.tool.arguments(r.values))
            for i, r in enumerate(requests)
        )
        turns.messages.append(Message(Role.ASSISTANT, calls=calls))
        if self._rng.random() < 0.05:
            self._fail(turns, len(requests))
            return
        outcomes = [self._outcome(request) for request in requests]
        turns.messages += [Message(Role.TOOL, result) for result, _ in outcomes]
        turns.say(" ".join(dict.fromkeys(answer for _, answer in outcomes)))
        turns.last = requests[-1]

    def _fail(self, turns: Turns, count: int) -> None:
        error = self._rng.choice([*FAILURES, f"{self._values.other_words()} is not known"])
        turns.messages += [Message(Role.TOOL, f"error: {error}")] * count
        turns.say(self._rng.choice(FAILURE_REPLIES).replace("<error>", error))

    def _outcome(self, request: Request) -> tuple[str, str]:
        """Return a result and the answer that copies it."""
        roll = self._rng.random()
        if not self._naming.is_lookup(request.tool.function.description) and roll < 0.35:
            result = self._rng.choice(["ok", "done", "success", "true", "saved", "accepted"])
            return result, self._composer.line("done").replace("<result>", result)
        if roll < 0.55:
            return self._fields()
        if roll < 0.65:
            return self._listing()
        if roll < 0.85:
            number = str(self._values.draw(Kind("num", low=0, high=5000)).value)
            return number, self._composer.line("number").replace("<result>", number)
        text = self._values.draw(Kind("sentence")).shown
        return text, self._composer.line("text").replace("<result>", text)

    def _fields(self) -> tuple[str, str]:
        kinds = ("num", "int", "word", "words", "date", "time", "id", "city", "person")
        keys = self._rng.sample(
            ["status", "total", "price", "name", "id", "date", "time", "place", "count", "level"],
            self._rng.randint(1, 4),
        )
        values = {key: self._values.draw(Kind(self._rng.choice(kinds))).value for key in keys}
        key = self._rng.choice(keys)
        if self._rng.random() < 0.2:
            result = "\n".join(f"{key}: {value}" for key, value in values.items())
        else:
            result = json.dumps(values, ensure_ascii=False)
        line = self._composer.line("fields") if len(keys) == 1 else ""
        told = line or ", ".join(f"{key}: {value}" for key, value in values.items())
        return result, told.replace("<key>", key).replace("<result>", str(values[key]))

    def _listing(self) -> tuple[str, str]:
        kind = Kind(self._rng.choice(["words", "city", "person", "id", "title", "date"]))
        items = [self._values.draw(kind).shown for _ in range(self._rng.randint(1, 4))]
        result = json.dumps(items, ensure_ascii=False)
        if self._rng.random() < 0.3:
            result = "\n".join(items)
        line = self._composer.line("listing").replace("<count>", str(len(items)))
        return result, line.replace("<result>", ", ".join(items))


def _without_end_mark(request: Request) -> str:
    """Return a request's text without its last mark, unless that belongs to a value."""
    shown = tuple(v.shown for v in request.values.values() if isinstance(v, Drawn))
    return request.text if request.text.endswith(shown) else re.sub(r"[?.!]\s*$", "", request.text)


def specs_of(tools: Sequence[Tool]) -> list[ToolSpec]:
    return [tool.spec for tool in tools]
