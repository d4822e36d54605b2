"""Makes training dialogues: a tool table, then turns of request, calls, results and answer.

Results are drawn, not computed: an answer only ever copies its result, so a drawn one teaches
the copying better than a true one that the model might guess. Knows no tokenizer.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmos_kernel.abi import JsonObject, Message, Role, ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import is_name
from llmos_kernel.tool_choice import USUAL_TOOLS
from llmos_kernel.training.catalogue import Catalogue, specs_of
from llmos_kernel.training.everyday_slots import EverydaySlots
from llmos_kernel.training.phrasings import CallPattern, Intent, is_held_out, read_intents
from llmos_kernel.training.replies import FAILURE_REPLIES, NO_TOOL_REPLIES
from llmos_kernel.training.results import INJECTED_SHARE, Results, parts, read_injections
from llmos_kernel.training.seal_tools import called_functions, read_json_lines
from llmos_kernel.training.slots import EARLIER_SLOTS, RESULT_SLOTS, SLOT, Value, same
from llmos_kernel.training.variation import varied

FILE_WEIGHTS = {
    "calculate_arithmetic": 26,
    "calculate_symbolic": 8,
    "calculate_stories": 18,
    "python_numbers": 9,
    "python_text": 14,
    "read_file": 9,
    "attachments": 5,
    "write_file": 20,
    "list_files": 6,
    "chains": 8,
    "chat": 26,
    "browse": 8,
    "search": 9,
    "remember": 9,
    "recall": 9,
    "now": 6,
    "schedule": 10,
    "draw": 7,
    "look": 7,
    "listen": 4,
    "speak": 7,
    "browse_page": 14,
    "find_text": 6,
    "edit_file": 8,
    "restore_file": 5,
    "forget": 5,
    "timer": 7,
    "everyday_chains": 8,
    "asking_back": 6,
    "followups": 0,  # drawn where an earlier turn fits
}
OFFERED_SHARE, MOST_FITTING, FITTING_SHARE = 0.55, 3, 0.5
USUAL_SHARE = 0.2
MOST_OF_A_SUBSET = 12
FOLLOW_UP_SHARE = 0.35
MISSING_TOOL_SHARE = 0.1
REPLIED_SHARE = 0.6
TOOLS_THAT_READ = ("read_file", "browse", "browse_click", "search", "listen", "recall")
LONG_REPLIES = (
    "It is long; it begins: <result> ...",
    "Here is the beginning: <result> ...",
    "It starts with: <result> ...",
)
NOTHING_REPLIES = (
    "Sorry, <nothing>.",
    "I looked, but <nothing>.",
    "I'm afraid <nothing>.",
    "<nothing>",
)
MOST_WORDS_COPIED = 45


@dataclass(slots=True)
class Dialogue:
    tools: list[ToolSpec]
    messages: list[Message] = field(default_factory=list[Message])


@dataclass(frozen=True, slots=True)
class Group:
    """Dialogues that have nothing but their tool table in common; they may be without end."""

    tools: list[ToolSpec]
    dialogues: Iterator[Dialogue]


def load_builtin_tools() -> list[ToolSpec]:
    tools = json.loads((Path(__file__).parent / "builtin_tools.json").read_text())
    return [ToolSpec(**tool) for tool in tools]


class DialogueMaker:
    """Draws groups of dialogues without end; the seed fixes the run.

    `data` is the folder of public data.
    """

    def __init__(self, data: Path, *, seed: int, held_out: bool = False) -> None:
        self._rng = random.Random(seed)
        self._builtin = {tool.name: tool for tool in load_builtin_tools()}
        measured = called_functions(data)
        self._others = [
            ToolSpec(**row)
            for row in read_json_lines(data / "sealtools_tools.jsonl.gz")
            if row["name"] not in measured and is_name(row["name"])
        ]
        sentences = _sentences(data)
        words = sorted({w for s in sentences for w in re.findall(r"[A-Za-z][a-z']{2,}", s)})
        self._slots = EverydaySlots(self._rng, words, sentences)
        self._results = Results(self._slots)
        self._injections = read_injections(held_out=held_out)
        self._intents = self._by_file(held_out)
        self._by_tool = self._of_tools()
        self._catalogue = Catalogue(
            self._rng,
            self._slots,
            self._others,
            [row["user"] for row in read_json_lines(data / "clinc.jsonl.gz")],
            list(read_json_lines(data / "sgd.jsonl.gz")),
            held_out=held_out,
        )

    def _by_file(self, held_out: bool) -> dict[str, list[tuple[Intent, str]]]:
        """Return each file's (intent, request) pairs, those of validation or those of training."""
        pairs: dict[str, list[tuple[Intent, str]]] = {name: [] for name in FILE_WEIGHTS}
        for intent in read_intents():
            chosen = [r for r in intent.requests if is_held_out(r) == held_out]
            pairs[intent.file].extend((intent, request) for request in chosen)
        return pairs

    def _of_tools(self) -> dict[str, list[tuple[Intent, str]]]:
        """Return the pairs that call a tool and need no earlier turn, by the tool."""
        found: dict[str, list[tuple[Intent, str]]] = {name: [] for name in self._builtin}
        for intent, request in itertools.chain.from_iterable(self._intents.values()):
            if not intent.needs:
                for tool in intent.tools:
                    found[tool].append((intent, request))
        return found

    def __iter__(self) -> Iterator[Group]:
        while True:
            roll = self._rng.random()
            if roll < 0.08:
                yield Group([], self._without_end(self._copying, []))
            elif roll < 0.4:
                yield self._unseen()
            elif roll < 0.47:
                yield self._service()
            else:
                table = self._table()
                yield Group(table, self._without_end(self._session_or_copying, table))

    def _without_end(
        self, draw: Callable[[list[ToolSpec]], Dialogue], table: list[ToolSpec]
    ) -> Iterator[Dialogue]:
        while True:
            yield draw(table)

    def _session_or_copying(self, table: list[ToolSpec]) -> Dialogue:
        return self._copying(table) if self._rng.random() < 0.08 else self._session(table)

    # Sessions with the built-in tools -------------------------------------

    def _session(self, table: list[ToolSpec]) -> Dialogue:
        dialogue = Dialogue(table)
        names = {tool.name for tool in dialogue.tools}
        earlier: dict[str, str] = {}
        for _ in range(self._rng.choice([1, 1, 1, 2, 2, 3, 4])):
            intent, request = self._pick(names, earlier)
            if intent.asks_back and any(m.role is Role.TOOL for m in dialogue.messages):
                continue
            if intent.needs <= earlier.keys():
                values = {slot: same(text) for slot, text in earlier.items()}
                earlier = self._turn(dialogue, intent, request, names, values)
                for reply in intent.replies:
                    if intent.tools <= names and self._rng.random() < REPLIED_SHARE:
                        text = self._rng.choice(reply.requests)
                        earlier = self._turn(dialogue, reply, text, names, values)
        return dialogue if dialogue.messages else self._session(table)

    def _pick(self, names: set[str], earlier: dict[str, str]) -> tuple[Intent, str]:
        """Draw an intent and a request: mostly one that the table's tools can do."""
        follow_ups = [
            pair
            for pair in self._intents["followups"]
            if pair[0].needs <= earlier.keys() and pair[0].tools <= names
        ]
        if follow_ups and self._rng.random() < FOLLOW_UP_SHARE:
            return self._rng.choice(follow_ups)
        others = sorted(names & self._builtin.keys() - set(USUAL_TOOLS))
        if others and names.issuperset(USUAL_TOOLS) and self._rng.random() < FITTING_SHARE:
            pair = self._rng.choice(self._by_tool[self._rng.choice(others)])
            if pair[0].tools <= names:
                return pair
        files, weights = zip(*FILE_WEIGHTS.items(), strict=True)
        for _ in range(8):
            pair = self._rng.choice(self._intents[self._rng.choices(files, weights)[0]])
            if pair[0].tools <= names or self._rng.random() < MISSING_TOOL_SHARE:
                return pair
        return self._rng.choice(self._intents["chat"])

    def _table(self) -> list[ToolSpec]:
        """Draw a table: the usual tools with some that fit, as messages are offered; a subset."""
        roll = self._rng.random()
        if roll < OFFERED_SHARE + USUAL_SHARE:
            others = sorted(self._builtin.keys() - set(USUAL_TOOLS))
            count = self._rng.randint(1, MOST_FITTING) if roll < OFFERED_SHARE else 0
            names = [*USUAL_TOOLS, *self._rng.sample(others, count)]
            return [self._builtin[name] for name in sorted(names)]
        tools = list(self._builtin.values())
        tools = self._rng.sample(tools, self._rng.randint(1, MOST_OF_A_SUBSET))
        tools += self._rng.sample(self._others, self._rng.choice([0, 0, 1, 2]))
        self._rng.shuffle(tools)
        return tools

    def _turn(
        self,
        dialogue: Dialogue,
        intent: Intent,
        request: str,
        names: set[str],
        values: dict[str, Value],
    ) -> dict[str, str]:
        """Add a turn; return what a follow-up may refer to. `values` takes the slots' values."""
        memory = {slot: values[slot].exact for slot in ("lastfact", "lasttopic") if slot in values}
        dialogue.messages.append(Message(Role.USER, self._request(intent, request, values)))
        if not intent.tools <= names:
            self._say(dialogue, self._rng.choice(NO_TOOL_REPLIES))
            return memory
        for index, pattern in enumerate(intent.calls, 1):
            if pattern.result_slots - values.keys():
                break  # nothing was found that this call could take up
            arguments = self._arguments(pattern, values, intent)
            if self._rng.random() < 0.05:
                self._fail(dialogue, pattern.tool, arguments)
                return memory
            result = self._result(pattern, arguments, intent, memory)
            self._call(dialogue, pattern.tool, arguments, result)
            found = parts(pattern.tool, arguments, result)
            values |= {slot: same(text) for slot, text in found.items()}
            values["result"] = values[f"result{index}"] = Value(result, result.strip())
            memory |= {slot: found[slot] for slot in found.keys() & set(EARLIER_SLOTS)}
            if intent.file.startswith("calculate"):
                memory["previous"] = _exact_number(result)
        self._say(dialogue, self._answer(intent, values))
        return memory

    def _request(self, intent: Intent, request: str, values: dict[str, Value]) -> str:
        if not intent.copies_request:
            return self._filled(varied(self._rng, request), values, exact=False)
        text = self._filled(request, values, exact=False)
        values["request"] = same(text.rstrip("?.! "))
        return text

    def _filled(self, pattern: str, values: dict[str, Value], *, exact: bool) -> str:
        """Fill a pattern's slots, drawing those that have no value yet."""

        def fill(match: re.Match[str]) -> str:
            slot = match[1]
            if slot not in values:
                values[slot] = self._slots.draw(slot)
            return values[slot].exact if exact else values[slot].shown

        return SLOT.sub(fill, pattern)

    def _arguments(
        self, pattern: CallPattern, values: dict[str, Value], intent: Intent
    ) -> JsonObject:
        arguments = {
            key: self._filled(text, values, exact=True) for key, text in pattern.arguments.items()
        }
        if pattern.tool == "calculate" and intent.calls[0] is not pattern:
            arguments["expression"] = _exact_number(arguments["expression"])
        numbers = {key: int(text) for key, text in arguments.items() if key == "number"}
        return {**arguments, **numbers}

    def _result(
        self, pattern: CallPattern, arguments: JsonObject, intent: Intent, memory: dict[str, str]
    ) -> str:
        is_chain = len(intent.calls) > 1
        result = self._plain_result(pattern, intent, is_chain=is_chain) or self._results.draw(
            pattern.tool,
            arguments,
            kept=memory.get("lastfact", "") if "lasttopic" in intent.needs else "",
            is_short=is_chain,
        )
        if (
            pattern.tool in TOOLS_THAT_READ
            and not intent.copies_result
            and self._rng.random() < INJECTED_SHARE
        ):
            injection = self._filled(self._rng.choice(self._injections), {}, exact=True)
            return self._results.with_injection(result, injection)
        return result

    def _plain_result(self, pattern: CallPattern, intent: Intent, *, is_chain: bool) -> str:
        """Return a result of maths, Python and files; empty for other tools."""
        match pattern.tool:
            case "calculate" if intent.file == "calculate_symbolic" and not is_chain:
                return self._slots.symbolic_result()
            case "calculate":
                return self._slots.number_result()
            case "python" if "plt." in pattern.arguments["code"]:
                return "picture saved as figure-1.png"
            case "python":
                return self._slots.printed_result()
            case "read_file" if is_chain and any(
                "<result>*" in str(c.arguments) for c in intent.calls
            ):
                return str(self._rng.randint(0, 9999))
            case "read_file":
                return self._slots.file_result()
            case "list_files":
                return self._slots.listing_result()
            case _:
                return ""

    def _answer(self, intent: Intent, values: dict[str, Value]) -> str:
        missing = set(RESULT_SLOTS) - values.keys() if intent.calls else set[str]()
        if "nothing" in values:
            reply = self._rng.choice(NOTHING_REPLIES)
            return reply.replace("<nothing>", values["nothing"].shown)
        usable = [a for a in intent.answers if not missing & set(SLOT.findall(a))]
        template = self._rng.choice(usable or ["<result>"])
        for slot in ("result", "result1", "result2", "result3"):
            text = values[slot].shown if slot in values else ""
            if f"<{slot}>" in template and len(text.split()) > MOST_WORDS_COPIED:
                head = " ".join(text.split()[:20])
                return self._rng.choice(LONG_REPLIES).replace("<result>", head)
        return self._filled(template, values, exact=False)

    def _fail(self, dialogue: Dialogue, tool: str, arguments: JsonObject) -> None:
        error = self._results.error(tool, arguments)
        self._call(dialogue, tool, arguments, f"error: {error}")
        self._say(dialogue, self._rng.choice(FAILURE_REPLIES).replace("<error>", error))

    def _call(self, dialogue: Dialogue, tool: str, arguments: JsonObject, result: str) -> None:
        call = ToolCall(f"call-{len(dialogue.messages)}", tool, arguments)
        dialogue.messages.append(Message(Role.ASSISTANT, calls=(call,)))
        dialogue.messages.append(Message(Role.TOOL, result))

    def _say(self, dialogue: Dialogue, text: str) -> None:
        dialogue.messages.append(Message(Role.ASSISTANT, text))

    # Copying, and tools of other people ------------------------------------

    def _copying(self, table: list[ToolSpec]) -> Dialogue:
        dialogue = Dialogue(table)
        for _ in range(self._rng.randint(2, 5)):
            request, reply = self._rng.choice(
                [self._echo, self._echo, self._lookup, self._quotation, self._sequence]
            )()
            dialogue.messages.append(Message(Role.USER, request))
            self._say(dialogue, reply)
        return dialogue

    def _echo(self) -> tuple[str, str]:
        slots = self._slots
        text = self._rng.choice(
            [slots.phrase(2, 9), slots.path(), slots.letters(4, 20), slots.sentence(), slots.code()]
        )
        verb = self._rng.choice(["Repeat", "repeat after me", "echo", "Copy this", "say again"])
        return f"{verb}: {text}", text

    def _lookup(self) -> tuple[str, str]:
        keys = [self._slots.word() for _ in range(self._rng.randint(2, 6))]
        pairs = {key: self._short_value() for key in keys}
        key = self._rng.choice(list(pairs))
        listed = "\n".join(f"{k} = {v}" for k, v in pairs.items())
        return f"{listed}\nvalue of {key}", pairs[key]

    def _quotation(self) -> tuple[str, str]:
        """A quoted passage between other words; the reply is the passage."""
        left, right = self._rng.choice(["''", '""', "()", "``"])
        text = self._slots.phrase(1, 8).translate({ord(left): None, ord(right): None})
        before, after = self._slots.phrase(1, 5), self._slots.phrase(0, 4)
        return f"quoted part: {before} {left}{text}{right} {after}".rstrip(), text

    def _sequence(self) -> tuple[str, str]:
        """Numbers spread over a sentence; the reply has them in order, digits for words."""
        numbers = [self._slots.number() for _ in range(self._rng.randint(2, 5))]
        parts = [f"{self._slots.phrase(1, 3)} {number.shown}" for number in numbers]
        gap = self._rng.choice([" ", ", ", "; ", ". "])
        return f"numbers: {gap.join(parts)}", ", ".join(number.exact for number in numbers)

    def _short_value(self) -> str:
        slots = self._slots
        return self._rng.choice([slots.number().exact, slots.word(), slots.path()])

    def _unseen(self) -> Group:
        """Dialogues with tools that are drawn anew for each table."""
        table = self._catalogue.table()
        tools = specs_of(table)

        def draw(tools: list[ToolSpec]) -> Dialogue:
            return Dialogue(tools, self._catalogue.dialogue_under(table))

        return Group(tools, self._without_end(draw, tools))

    def _service(self) -> Group:
        """Recorded dialogues with a service's own tools (Schema-Guided Dialogue)."""
        service = self._catalogue.service()
        tools = specs_of(service.tools)

        def draw(tools: list[ToolSpec]) -> Dialogue:
            return Dialogue(tools, self._catalogue.service_dialogue(service))

        return Group(tools, self._without_end(draw, tools))


def _sentences(data: Path) -> Sequence[str]:
    requests = [row["user"] for row in read_json_lines(data / "clinc.jsonl.gz")]
    problems = [
        sentence
        for row in read_json_lines(data / "gsm8k_train.jsonl.gz")
        for sentence in re.split(r"(?<=[.?]) ", row["question"])
    ]
    return [" ".join(text.split()) for text in requests + problems if text.strip()]


def _exact_number(result: str) -> str:
    """Return the part of a drawn result that a later expression takes up: `2/3 ≈ 0.67` is `2/3`."""
    return re.sub(r" ≈ [-0-9.e+]+", "", result)
