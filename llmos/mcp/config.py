"""Reads the `mcpServers` file: which servers there are, how each is reached and what it may do.

Knows the file and the environment; starts nothing and speaks no protocol.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmos_kernel.abi import ALL_EFFECTS, Effect
from llmos_kernel.errors import ConfigError

NAME = "mcp.json"
HTTP_TYPES = ("http", "streamable-http", "streamableHttp")
REFERENCE = re.compile(r"\$\{([^}]*)\}")
VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


class ServerRules(BaseModel):
    """The part of an entry that is llmos' own: what the user says of all tools of the server."""

    model_config = ConfigDict(extra="forbid")

    effects: frozenset[Effect] = ALL_EFFECTS
    timeout_s: float = Field(60.0, gt=0)


class Entry(BaseModel):
    """One server, as other hosts write it too; what only they know is kept as extra."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None
    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    disabled: bool = False
    llmos: ServerRules = ServerRules()  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _is_reached_one_way(self) -> Entry:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either a command or a url")
        allowed = ("stdio",) if self.url is None else HTTP_TYPES
        if self.type is not None and self.type not in allowed:
            raise ValueError(f"the type {self.type!r} is not spoken here; use {allowed[0]!r}")
        if self.url is not None and not self.url.startswith(("http://", "https://", "${")):
            raise ValueError(f"the url {self.url!r} is not one of http or https")
        return self


@dataclass(frozen=True, slots=True)
class Server:
    """One server, with all variables put in. `command` is empty where it is reached by `url`."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    effects: frozenset[Effect] = ALL_EFFECTS
    timeout_s: float = 60.0

    @property
    def address(self) -> str:
        """Where it is, for people: no arguments and no query, which can hold secrets."""
        return re.sub("(?<=//)[^/@]*@", "", self.url.partition("?")[0]) or self.command

    @property
    def digest(self) -> str:
        """A hash of how it is reached: another one may offer other tools."""
        value = {**asdict(self), "effects": None, "timeout_s": None}
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_servers(
    path: Path, environment: Mapping[str, str], report: Callable[[str], None]
) -> list[Server]:
    """Return the servers of a file, but for the disabled ones and those that lack a variable.

    `report` gets a line for each that lacks one, and for each key that only other hosts know.

    Raises:
        ConfigError: the file cannot be read, or an entry is wrong.
    """
    servers: list[Server] = []
    for name, value in _entries(path).items():
        entry = _checked(path, name, value)
        for key in entry.model_extra or {}:
            report(f"{path}: the server {name!r} has the key {key!r}, which llmos does not use")
        if entry.disabled:
            continue
        try:
            servers.append(_expanded(name, entry, environment))
        except LookupError as error:
            report(f"{path}: the MCP server {name!r} is left out: {error.args[0]}")
    return servers


def _entries(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; mend it or move it away") from error
    entries = whole.get("mcpServers") if isinstance(whole, dict) else None
    if not isinstance(entries, dict):
        raise ConfigError(f'{path} holds no servers; write {{"mcpServers": {{"name": {{...}}}}}}')
    return entries  # pyright: ignore[reportUnknownVariableType]


def _checked(path: Path, name: str, value: Any) -> Entry:
    try:
        return Entry.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{path}: the server {name!r} is wrong: {f'{where}: ' if where else ''}{message}"
        ) from error


def _expanded(name: str, entry: Entry, environment: Mapping[str, str]) -> Server:
    def expand(text: str) -> str:
        return expanded(text, environment)

    return Server(
        name=name,
        command=expand(entry.command or ""),
        args=tuple(expand(argument) for argument in entry.args),
        env={key: expand(value) for key, value in entry.env.items()},
        cwd=None if entry.cwd is None else str(Path(expand(entry.cwd)).expanduser()),
        url=expand(entry.url or ""),
        headers={key: expand(value) for key, value in entry.headers.items()},
        effects=entry.llmos.effects,
        timeout_s=entry.llmos.timeout_s,
    )


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Put in `${VAR}` and `${VAR:-default}`; the default also stands in for an empty variable.

    Raises:
        LookupError: a variable is not set and has no default, or a reference has another form.
    """

    def value(match: re.Match[str]) -> str:
        reference = VARIABLE.fullmatch(match[1])
        if reference is None:
            raise LookupError(f"{match[0]!r} is not of the form ${{VAR}} or ${{VAR:-default}}")
        found = environment.get(reference["name"])
        if reference["default"] is not None:
            return found or reference["default"]
        if found is None:
            raise LookupError(f"set the environment variable {reference['name']!r}")
        return found

    return REFERENCE.sub(value, text)
