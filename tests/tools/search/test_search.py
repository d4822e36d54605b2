"""The tool `search`: a SearXNG server on loopback, and what is found without a network."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from llmos.sdk import CallContext, Effect, RetryCall
from llmos_tools.search import Search
from llmos_tools.search.backends import SearchUnavailable, Searxng
from llmos_tools.search.seen import MOST_PAGES, Found, SeenPages
from llmos_tools.search.settings import SearchSettings

BOUND_S = 30


class Answering:
    def __init__(self, *found: Found) -> None:
        self.found = list(found)

    async def search(self, query: str, limit: int) -> list[Found]:
        return self.found[:limit]


class Unavailable:
    async def search(self, query: str, limit: int) -> list[Found]:
        raise SearchUnavailable("no network")


class Server:
    """Answers every request with one body and keeps the request lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.status, self.body = "200 OK", b"{}"
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode())
        head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + self.body)
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[Server]:
    server = Server()
    running = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    yield server
    running.close()


def search_of(tmp_path: Path, *backends: object) -> Search:
    return Search(SearchSettings(), backends=backends)


async def said(search: Search, query: str, tmp_path: Path) -> str:
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    async with asyncio.timeout(BOUND_S):
        return await search.search(query, CallContext(1, workspace, home=tmp_path / "state"))


async def test_results_are_numbered_with_address_and_snippet(tmp_path):
    backend = Answering(
        Found("Kites", "https://k.example/", "they  fly"), Found("", "https://b/", "")
    )
    text = await said(search_of(tmp_path, backend), "kites", tmp_path)
    assert text == "1. Kites - https://k.example/\n   they fly\n2. https://b/"


async def test_searxng_is_asked_in_json(tmp_path, server):
    server.body = json.dumps(
        {"results": [{"url": "https://k.example/", "title": "Kites", "content": "they fly"}]}
    ).encode()
    settings = SearchSettings(searxng_url=server.url + "/")
    text = await said(Search(settings), "red & kites", tmp_path)
    assert text == "1. Kites - https://k.example/\n   they fly"
    assert server.lines == ["GET /search?q=red+%26+kites&format=json HTTP/1.1"]


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        ("403 Forbidden", b"", "answered 403"),
        ("200 OK", b"<html>", "enable the format json"),
        ("200 OK", b'{"results": 1}', "enable the format json"),
        ("200 OK", b" " * 5_000_001, "more than 5 MB"),
    ],
)
async def test_a_searxng_that_does_not_answer_rightly_is_passed_over(
    tmp_path, server, status, body, why
):
    server.status, server.body = status, body
    backend = Answering(Found("Kites", "https://k.example/", ""))
    text = await said(search_of(tmp_path, Searxng(server.url), backend), "kites", tmp_path)
    assert why in text.splitlines()[0]
    assert text.splitlines()[1] == "1. Kites - https://k.example/"


async def test_a_searxng_that_is_not_there_is_told(tmp_path):
    text = await said(search_of(tmp_path, Searxng("http://127.0.0.1:1")), "kites", tmp_path)
    assert text.startswith("offline: http://127.0.0.1:1/search: ")


async def test_without_a_network_pages_read_before_and_the_workspace_are_searched(tmp_path):
    SeenPages(tmp_path / "state").add("https://k.example/", "Kites", "A kite flies on wind.")
    SeenPages(tmp_path / "state").add("https://c.example/", "Cake", "Flour and eggs.")
    (tmp_path / "workspace" / "notes").mkdir(parents=True)
    (tmp_path / "workspace" / "notes" / "a.txt").write_text("buy a red kite")
    (tmp_path / "workspace" / "b.bin").write_bytes(b"kite\0\xff")
    text = await said(search_of(tmp_path, Unavailable()), "Kite wind?", tmp_path)
    assert text == (
        "offline: no network. From pages read before and the workspace's files:\n"
        "1. Kites - https://k.example/\n   A kite flies on wind.\n"
        "2. notes/a.txt\n   buy a red kite"
    )


async def test_without_a_network_and_a_match_nothing_is_found(tmp_path):
    text = await said(search_of(tmp_path, Unavailable()), "kite", tmp_path)
    assert text.splitlines()[1:] == ["nothing was found"]


async def test_links_out_of_the_workspace_are_not_searched(tmp_path):
    (tmp_path / "secret.txt").write_text("kite")
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "link.txt").symlink_to(tmp_path / "secret.txt")
    os.link(tmp_path / "secret.txt", tmp_path / "workspace" / "hard.txt")
    text = await said(search_of(tmp_path, Unavailable()), "kite", tmp_path)
    assert "nothing was found" in text


@pytest.mark.parametrize("query", ['"', "a AND", "NEAR(", "url:x", "*", "a - b", "\ud800", "^ OR"])
async def test_any_text_is_a_query(tmp_path, query):
    SeenPages(tmp_path / "state").add("https://k.example/", "Kites", "A kite.")
    assert "offline" in await said(search_of(tmp_path, Unavailable()), query, tmp_path)


async def test_an_empty_query_is_sent_back_to_the_model(tmp_path):
    with pytest.raises(RetryCall, match="empty"):
        await said(search_of(tmp_path, Answering()), "  ", tmp_path)


def test_a_page_that_is_read_again_is_kept_once(tmp_path):
    seen = SeenPages(tmp_path)
    seen.add("https://k.example/", "Kites", "old wind")
    seen.add("https://k.example/", "Kites", "new wind")
    assert [found.snippet for found in seen.search("wind", 5)] == ["new wind"]


def test_the_oldest_pages_go_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("llmos_tools.search.seen.MOST_PAGES", 2)
    assert MOST_PAGES > 2
    seen = SeenPages(tmp_path)
    for number in range(3):
        seen.add(f"https://k.example/{number}", "", "wind")
    assert {one.place[-1] for one in seen.search("wind", 5)} == {"1", "2"}


def test_a_wrong_setting_says_what_is_right():
    with pytest.raises(ValueError, match="begins with http://"):
        SearchSettings(searxng_url="localhost:8888")


def test_the_model_reads_the_words_it_was_trained_on():
    spec = Search.search.spec
    assert (spec.name, spec.description) == ("search", "Search the web.")
    assert spec.parameters["properties"]["query"]["description"] == "what to look for"
    assert spec.effects == {Effect.NETWORK}
