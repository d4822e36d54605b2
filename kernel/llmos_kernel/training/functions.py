"""Functions that a tool table may hold: those written by hand and those of other schemas.

The format of `catalogue/functions_*.txt` is described in `catalogue/README.md`. Draws nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos_kernel.abi import Json, ToolSpec
from llmos_kernel.training.kinds import Kind, read_kind

FOLDER = Path(__file__).parent / "catalogue"
SLOT = re.compile(r"<([\w.]+)>")
PARAMETER = re.compile(r"([\w.]+)(\?)? ([^:]+): (.+)")
HEADER = re.compile(r"(\w+): (.+)")
EXAMPLES = re.compile(r"\s*\((?:e\.g\.|for example|such as),?:? ?([^)]*)\)?")
HELD_OUT_SHARE = 20
FUNCTIONS_A_DOMAIN = 12
KINDS_BY_NAME = (
    (r"email", "email"),
    (r"(^|_)(url|link|website)", "url"),
    (r"phone", "phone"),
    (r"(^|_)ip(_|$)", "ip"),
    (r"(^|_)(id|number|code|key|token|password)$", "id"),
    (r"date|deadline", "date"),
    (r"(^|_)time$|_at$", "time"),
    (r"duration|period|frame", "duration"),
    (r"year", "year"),
    (r"country|nationality", "country"),
    (r"city|location|destination|origin|region|place|venue|area", "city"),
    (r"address", "address"),
    (r"user_?name|handle", "user"),
    (r"language", "language"),
    (r"currency", "currency"),
    (r"colou?r", "colour"),
    (r"file|path", "path"),
    (r"(first|last|full|patient|client|customer|employee|player|artist|author)_?name", "person"),
    (r"^(artist|author|player|recipient|sender|student|teacher|director)$", "person"),
    (r"company|manufacturer|organization|employer|brand", "company"),
    (r"title|name|book|movie|song|game", "title"),
    (r"text|message|content|comment|description|sentence|note", "sentence"),
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a function; one named `a.b` is the field `b` of the object `a`."""

    name: str
    kind: Kind
    description: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """A request with slots `<parameter>`; `fixed` are arguments that it says without a slot."""

    text: str
    fixed: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Function:
    """Something that can be called. One without patterns is asked for in composed sentences."""

    domain: str
    name: str
    description: str
    parameters: tuple[Parameter, ...]
    patterns: tuple[Pattern, ...] = ()

    @property
    def is_held_out(self) -> bool:
        return is_held_out(self.name)

    @property
    def required(self) -> frozenset[str]:
        return frozenset(p.name for p in self.parameters if p.is_required)


def is_held_out(text: str) -> bool:
    """Whether a function or a frame belongs to validation: one in `HELD_OUT_SHARE`, by its hash."""
    return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT_SHARE == 0


def read_functions(folder: Path = FOLDER) -> list[Function]:
    """Return the functions written by hand, in the order of file names and lines.

    Raises:
        ValueError: a line is not in the format; the message names file and line.
    """
    paths = sorted(folder.glob("functions_*.txt"))
    return [function for path in paths for function in _read_file(path)]


def _read_file(path: Path) -> Iterator[Function]:
    domain = path.stem
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*path.read_text().splitlines(), ""], 1):
        if line.startswith("# "):
            domain = line[2:]
        elif line:
            block.append((number, line))
        elif block:
            yield _function(domain, block, path)
            block = []


def _function(domain: str, block: list[tuple[int, str]], path: Path) -> Function:
    parameters: list[Parameter] = []
    patterns: list[Pattern] = []
    (first, header), *lines = block
    if not (head := HEADER.fullmatch(header)):
        raise ValueError(f"{path.name}:{first}: expected `name: description`, not {header!r}")
    for number, line in lines:
        try:
            if line.startswith("- "):
                patterns.append(_pattern(line[2:]))
            else:
                parameters.append(_parameter(line))
        except ValueError as error:
            raise ValueError(f"{path.name}:{number}: {error}") from error
    return Function(domain, head[1], head[2], tuple(parameters), tuple(patterns))


def _parameter(line: str) -> Parameter:
    if not (match := PARAMETER.fullmatch(line)):
        raise ValueError(f"expected `name kind: description`, not {line!r}")
    return Parameter(match[1], read_kind(match[3]), match[4], match[2] is None)


def _pattern(line: str) -> Pattern:
    text, _, fixed = line.partition(" => ")
    return Pattern(text, json.loads(fixed) if fixed else {})


def functions_of(specs: Iterable[ToolSpec]) -> list[Function]:
    """Return other people's schemas as functions; neighbours in their order share a domain.

    Those that are not described by what they do (`Allows a robot to ...`) are left out.
    """
    return [
        _of_schema(spec, index // FUNCTIONS_A_DOMAIN)
        for index, spec in enumerate(specs)
        if not re.match(r"(Allow|Provide)", spec.description)
    ]


def _of_schema(spec: ToolSpec, domain: int) -> Function:
    schema: Any = spec.parameters
    parameters = tuple(
        Parameter(name, _kind(name, about), about["description"], name in schema["required"])
        for name, about in schema["properties"].items()
    )
    return Function(f"schemas {domain}", spec.name, spec.description, parameters)


def _kind(name: str, about: dict[str, Any]) -> Kind:
    examples = _examples(str(about["description"]))
    if "enum" in about:
        return _closed(about["enum"])
    match about["type"]:
        case "boolean":
            return Kind("yes")
        case "integer" | "number":
            name = "int" if about["type"] == "integer" else "num"
            numbers = [float(e) for e in examples if re.fullmatch(r"\d+(\.\d+)?", e)]
            return Kind(name, low=0, high=max(numbers, default=50) * 2 + 2)
        case _ if len(examples) > 1 and not re.search(r"date|time|_id$", name):
            return Kind("of", examples)
        case _:
            kinds = (kind for pattern, kind in KINDS_BY_NAME if re.search(pattern, name.lower()))
            return Kind(next(kinds, "words"))


def _closed(values: list[str]) -> Kind:
    """Return the kind of a closed list, in which numbers and truth may be written as words."""
    if values == ["True", "False"]:
        return Kind("yes")
    if all(value.isdecimal() for value in values):
        numbers = list(map(int, values))
        return Kind("int", low=min(numbers), high=max(numbers))
    return Kind("one", tuple(values))


def _examples(description: str) -> tuple[str, ...]:
    found = EXAMPLES.search(description)
    parts = re.split(r", (?:and |or )?| or ", found[1]) if found else []
    cleaned = (part.strip(" .'\"") for part in parts)
    return tuple(part for part in cleaned if part and part != "etc")
