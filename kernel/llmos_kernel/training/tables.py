"""Draws tool tables from functions: renamed, reworded, reordered, among others like them.

Knows no requests.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmos_kernel.abi import Json, JsonObject, ToolSpec
from llmos_kernel.training.functions import EXAMPLES, Function, Parameter
from llmos_kernel.training.kinds import Drawn
from llmos_kernel.training.naming import STYLES, Naming, noun_phrase, words_of

MOST_DESCRIPTION_WORDS = 18
COMMON_WORDS = frozenset(
    "a an the of for to in on at and or by with from is are be as what which who whose when where "
    "how it its this that whether get retrieve create calculate compute check update analyze add "
    "generate delete send perform find search list show set make tell name names information info "
    "about specific given id number data based details certain particular value new use".split()
)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as it stands in a table. `paths` are where its arguments lie in a call."""

    function: Function
    spec: ToolSpec
    paths: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, Sequence[str]]

    def arguments(self, values: Mapping[str, Json | Drawn]) -> JsonObject:
        """Return a call's arguments, in the order of the schema, from values by parameter."""
        arguments: dict[str, Json] = {}
        for name, path in self.paths.items():
            if name in values:
                value = values[name]
                *outer, last = path
                inner: Any = arguments
                for key in outer:
                    inner = inner.setdefault(key, {})
                inner[last] = value.value if isinstance(value, Drawn) else value
        return arguments


def content_words(function: Function) -> frozenset[str]:
    """Return the stems of the words that say what a function is about."""
    text = f"{' '.join(words_of(function.name))} {function.description}".lower()
    words = re.findall(r"[a-z]{3,}", text)
    return frozenset(word.rstrip("s")[:6] for word in words if word not in COMMON_WORDS)


class Tables:
    """Draws tables of a few tools. `functions` are those to draw from, all of one half."""

    def __init__(self, rng: random.Random, functions: Sequence[Function], naming: Naming) -> None:
        self._rng = rng
        self._naming = naming
        self._by_domain: dict[str, list[Function]] = {}
        for function in functions:
            self._by_domain.setdefault(function.domain, []).append(function)
        self._written = [f for f in functions if f.patterns]
        self._schemas = [f for f in functions if not f.patterns]
        self._content = {id(function): content_words(function) for function in functions}

    def draw(self) -> list[Tool]:
        """Draw a table: tools of one domain and others, none too much like another."""
        size = self._rng.choices(range(1, 9), [5, 6, 6, 5, 4, 3, 1, 1])[0]
        chosen = [self.any_function()]
        for _ in range(size * 2):
            near = self._by_domain[chosen[0].domain]
            other = self._rng.choice(near) if self._rng.random() < 0.5 else self.any_function()
            if len(chosen) < size and not any(self._is_alike(other, one) for one in chosen):
                chosen.append(other)
        return self.renamed(chosen)

    def renamed(self, functions: Sequence[Function]) -> list[Tool]:
        """Return functions as tools under other names, in random order."""
        style = self._naming.style() if self._rng.random() < 0.8 else None
        order = self._rng.sample(functions, len(functions))
        tools = [self._tool(function, style) for function in order]
        names = [tool.spec.name for tool in tools]
        return tools if len(set(names)) == len(names) else self.renamed(functions)

    def any_function(self) -> Function:
        written = self._written if self._rng.random() < 0.62 else self._schemas
        return self._rng.choice(written or self._schemas)

    def foreign(self, tools: Sequence[Tool]) -> Function | None:
        """Draw a function that none of the tools can stand in for."""
        domains = [t.function.domain for t in tools if t.function.patterns]
        if domains and self._rng.random() < 0.25:
            other = self._rng.choice(self._by_domain[self._rng.choice(domains)])
            if not any(self._overlap(other, tool.function) > 0.25 for tool in tools):
                return other
        for _ in range(5):
            other = self.any_function()
            if not any(
                other.domain == t.function.domain or self._overlap(other, t.function) for t in tools
            ):
                return other
        return None

    def is_about(self, text: str, tools: Sequence[Tool]) -> bool:
        """Whether a text has a content word in common with any tool."""
        words = {word.rstrip("s")[:6] for word in re.findall(r"[a-z]{3,}", text.lower())}
        return any(words & self._content[id(tool.function)] for tool in tools)

    def _is_alike(self, one: Function, other: Function) -> bool:
        return one is other or one.name == other.name or self._overlap(one, other) > 0.6

    def _overlap(self, one: Function, other: Function) -> float:
        """Return the share of content words that two functions have in common, 0 to 1."""
        first, second = self._content[id(one)], self._content[id(other)]
        return len(first & second) / max(1, min(len(first), len(second)))

    def _tool(self, function: Function, style: str | None) -> Tool:
        style = style or self._naming.style()
        name, description = self._header(function, style)
        parameters = list(function.parameters)
        if self._rng.random() < 0.4:
            self._rng.shuffle(parameters)
        properties: dict[str, Any] = {}
        required: list[Json] = []
        paths: dict[str, tuple[str, ...]] = {}
        labels: dict[str, Sequence[str]] = {}
        for parameter in parameters:
            *outer, last = self._path(parameter, style, paths)
            inside, needs = properties, required
            if outer:
                holder = properties.setdefault(outer[0], _empty_object(outer[0]))
                if parameter.is_required and outer[0] not in required:
                    required.append(outer[0])
                inside, needs = holder["properties"], holder["required"]
            inside[last] = self._argument(parameter)
            if parameter.is_required:
                needs.append(last)
            paths[parameter.name] = (*outer, last)
            labels[parameter.name] = self._labels(parameter, last)
        schema: dict[str, Json] = {"type": "object", "properties": properties, "required": required}
        return Tool(function, ToolSpec(name, description, schema), paths, labels)

    def _header(self, function: Function, style: str) -> tuple[str, str]:
        description = self._naming.verb(function.description, 0.3)
        if self._rng.random() < 0.3:
            description = description.rstrip(".")
        roll = self._rng.random()
        if roll < 0.08:
            return self._naming.made_up(style), description
        if roll < 0.16 and len(words_of(function.name)) > 1:
            return STYLES[style](words_of(function.name)), ""
        return self._naming.tool(function.name, function.domain, style), description

    def _path(
        self, parameter: Parameter, style: str, taken: Mapping[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Return where an argument lies, under a name that none has yet."""
        *outer, last = parameter.name.split(".")
        path = (*outer, self._naming.argument(last, style))
        return path if path not in taken.values() else (*outer, last)

    def _argument(self, parameter: Parameter) -> dict[str, Json]:
        schema = parameter.kind.schema()
        if (description := self._described(parameter)) is not None:
            schema["description"] = description
        return schema

    def _described(self, parameter: Parameter) -> str | None:
        text = parameter.description
        roll = self._rng.random()
        if "YYYY" in text or "HH:MM" in text:
            return text
        if roll < 0.15:
            return None
        if roll < 0.45:
            text = EXAMPLES.sub("", text)
        if roll < 0.3:
            text = noun_phrase(text)
        return " ".join(text.split()[:MOST_DESCRIPTION_WORDS])

    def _labels(self, parameter: Parameter, name: str) -> list[str]:
        """Return what a request may call an argument."""
        own = " ".join(words_of(parameter.name.split(".")[-1]))
        shown = " ".join(words_of(name))
        return [own, own, shown, name, noun_phrase(parameter.description).lower()]


def _empty_object(name: str) -> dict[str, Any]:
    return {"type": "object", "description": name, "properties": {}, "required": []}
