"""A small HTTP server that says what a test tells it to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Reply:
    """What is sent: JSON or bytes as a whole, or an iterable of pieces as a stream.

    A stream that `breaks` has no end.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False


@dataclass
class ScriptedServer:
    """Answers by `answers`: path to a reply, or to a function of the request's body."""

    url: str
    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def bodies(self, path: str = "/v1/chat/completions") -> list[Any]:
        return [body for asked, body in self.requests if asked == path]

    def reply(self, path: str, body: Any) -> Reply:
        answer = self.answers.get(path, Reply({"error": "nothing here"}, 404))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(body)
        return answer if isinstance(answer, Reply) else Reply(answer)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    scripted = ScriptedServer(f"http://127.0.0.1:{http.server_port}/v1")
    http.scripted = scripted  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield scripted
    scripted.released.set()
    http.shutdown()
    thread.join()
    http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: Any) -> None:
        scripted: ScriptedServer = self.server.scripted  # type: ignore[attr-defined]
        scripted.requests.append((self.path, body))
        scripted.headers.append({k.lower(): v for k, v in self.headers.items()})
        reply = scripted.reply(self.path, body)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, Iterable) and not isinstance(reply.body, (bytes, str, dict)):
            self._stream(scripted, reply)
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, scripted: ScriptedServer, reply: Reply) -> None:
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.close_connection = reply.breaks
        try:
            for piece in reply.body:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if not reply.breaks:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
            scripted.hung_up.set()

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def sse() -> Callable[..., bytes]:
    """Return a maker of one event from a choice's delta, or from a whole body."""

    def make(delta: dict[str, Any] | None = None, finish: str | None = None, **body: Any) -> bytes:
        choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
        event = {"object": "chat.completion.chunk", "choices": [choice], **body}
        return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"

    return make


@pytest.fixture
def reply() -> type[Reply]:
    return Reply
