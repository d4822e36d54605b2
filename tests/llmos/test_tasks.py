"""Whole tasks with the real embedded model, the real tools and nothing in between.

The sentences share no phrasing with the training data.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from llmos import LLMOS, CallContext
from llmos.sdk import Label
from llmos_kernel.journal import JournalEvent
from llmos_kernel.policy import Approver, approve_all, deny_all
from llmos_tools.files import write_file
from llmos_tools.memory import remember

EVALUATION = Path(__file__).parents[1] / "evaluation"


def read_cases(name: str) -> list[Any]:
    """Return a file's cases; what the shipped model cannot do yet is expected to fail."""
    cases = [json.loads(line) for line in (EVALUATION / name).read_text().splitlines()]
    beyond = pytest.mark.xfail(reason="beyond the embedded model so far", strict=False)
    return [
        pytest.param(case, id=case["task"], marks=beyond if "is_beyond_the_model" in case else ())
        for case in cases
    ]


async def events_of(task: str, approve: Approver = deny_all) -> tuple[str, list[JournalEvent]]:
    async with LLMOS(approve=approve) as system:
        process = await system.spawn(task)
        events = [event async for event in process.events()]
        return await process.wait(), events


@contextmanager
def site(page: str) -> Generator[str]:
    """Serve a page under every address of this machine's loopback; yield where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<title>Page</title><p>{page}</p>".encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("case", read_cases("tasks.jsonl"))
async def test_the_embedded_model_does_the_task(
    home: Path, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOS_BROWSER__ALLOW_HOSTS", '["127.0.0.1"]')
    workspace = home / "workspace"
    workspace.mkdir(parents=True, exist_ok=True)
    for fact in case.get("facts", ()):
        remember(fact, CallContext(0, workspace, home=home, label=Label.TRUSTED))
    for files in (case.get("versions", {}), case.get("files", {})):
        for name, content in files.items():
            write_file(name, content, CallContext(0, workspace))
    for name, words in case.get("pictures", {}).items():
        picture = Image.new("RGB", (480, 80), "white")
        ImageDraw.Draw(picture).text((20, 20), words, "black", ImageFont.load_default(36))
        picture.save(workspace / name)
    with site(case.get("page", "")) as address:
        task = case["task"].replace("{site}", address)
        answer, events = await events_of(task, approve_all if "is_allowed" in case else deny_all)
    calls = [event.body for event in events if event.kind == "tool_call"]
    results = [event.body for event in events if event.kind == "tool_result"]
    assert [call["name"] for call in calls] == case["tools"]
    assert [result["status"] for result in results] == ["ok"] * len(calls)
    assert case.get("result_contains", "") in results[-1]["text"]
    for name, content in case.get("file_after", {}).items():
        assert (workspace / name).read_text().strip() == content
    assert case["answer_contains"] in answer


@pytest.mark.parametrize("case", read_cases("talk.jsonl"))
async def test_small_talk_is_answered_without_a_tool(home: Path, case: dict[str, Any]) -> None:
    answer, events = await events_of(case["task"])
    assert not [event for event in events if event.kind == "tool_call"]
    assert answer
