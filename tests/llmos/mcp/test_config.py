"""The mcpServers file: what it may say, and what its mistakes are answered with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos.mcp.config import Server, expanded, read_servers
from llmos_kernel.abi import ALL_EFFECTS, Effect
from llmos_kernel.errors import ConfigError

ENVIRONMENT = {"KEY": "k3y", "EMPTY": ""}


def read(path: Path, **entries: Any) -> tuple[list[Server], list[str]]:
    path.write_text(json.dumps({"mcpServers": entries, "theme": "dark"}))
    lines: list[str] = []
    return read_servers(path, ENVIRONMENT, lines.append), lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mcp.json"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Bearer ${KEY}", "Bearer k3y"),
        ("${KEY}${KEY:-no}", "k3yk3y"),
        ("${ABSENT:-http://a:1/b}", "http://a:1/b"),
        ("${ABSENT:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-full}", "full"),
        ("$KEY $$ {KEY}", "$KEY $$ {KEY}"),
    ],
)
def test_variables_are_put_in(text: str, value: str) -> None:
    assert expanded(text, ENVIRONMENT) == value


def test_a_server_over_pipes_and_one_over_http_are_read(file: Path) -> None:
    servers, lines = read(
        file,
        files={"command": "npx", "args": ["-y", "${KEY}"], "env": {"A": "${KEY}"}, "cwd": "/tmp"},
        far={"type": "http", "url": "https://h/mcp", "headers": {"Authorization": "${KEY}"}},
    )
    assert lines == []
    assert servers[0] == Server(
        "files", command="npx", args=("-y", "k3y"), env={"A": "k3y"}, cwd="/tmp"
    )
    assert servers[1] == Server("far", url="https://h/mcp", headers={"Authorization": "k3y"})
    assert "k3y" not in repr(servers[1])


def test_a_server_that_lacks_a_variable_is_left_out_with_one_line(file: Path) -> None:
    servers, lines = read(
        file,
        good={"command": "a"},
        poor={"command": "b", "env": {"TOKEN": "${ABSENT}"}},
        odd={"command": "${env:KEY}"},
    )
    assert [server.name for server in servers] == ["good"]
    assert lines[0].endswith("'poor' is left out: set the environment variable 'ABSENT'")
    assert "'${env:KEY}' is not of the form ${VAR} or ${VAR:-default}" in lines[1]


def test_what_only_other_hosts_know_is_reported_and_disabled_servers_are_not_read(
    file: Path,
) -> None:
    servers, lines = read(
        file, a={"command": "a", "alwaysAllow": ["x"]}, b={"command": "b", "disabled": True}
    )
    assert [server.name for server in servers] == ["a"]
    assert len(lines) == 1
    assert "'a' has the key 'alwaysAllow'" in lines[0]


def test_effects_are_all_unless_the_user_says_less(file: Path) -> None:
    servers, _ = read(
        file,
        undeclared={"command": "a"},
        harmless={"command": "b", "llmos": {"effects": [], "timeout_s": 5}},
        wired={"command": "c", "llmos": {"effects": ["network"]}},
    )
    effects = [server.effects for server in servers]
    assert effects == [ALL_EFFECTS, frozenset(), frozenset({Effect.NETWORK})]
    assert servers[1].timeout_s == 5


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "give either a command or a url"),
        ({"command": "a", "url": "http://b"}, "give either a command or a url"),
        ({"url": "ftp://b"}, "'ftp://b' is not one of http or https"),
        ({"url": "http://b", "type": "sse"}, "the type 'sse' is not spoken here"),
        ({"command": "a", "args": "b"}, "args: Input should be a valid list"),
        ({"command": "a", "llmos": {"effect": []}}, "llmos.effect: Extra inputs"),
        ({"command": "a", "llmos": {"effects": ["fire"]}}, "llmos.effects.0: Input should be"),
    ],
)
def test_a_wrong_entry_is_an_error_that_names_the_server(
    file: Path, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match="the server 'bad' is wrong") as raised:
        read(file, bad=entry)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_people_are_shown_of_a_server_holds_no_secret() -> None:
    assert Server("a", url="https://me:pass@host:1/mcp?key=k").address == "https://host:1/mcp"
    assert Server("a", command="npx", args=("--key", "k")).address == "npx"


@pytest.mark.parametrize("text", ["{", "[]", '{"mcpServers": []}'])
def test_a_damaged_file_is_an_error_that_names_it(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"mcp\.json"):
        read_servers(file, {}, lambda line: None)
