"""A site on the loopback device with pages of every awkward kind."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest_asyncio

from tests.tools.files.documents import document

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c020000000b4944415478da6364f8"
    "0f00010501012718e3660000000049454e44ae426082"
)
PAPER = document(["kites " * 200 + f"on page {number}" for number in range(1, 9)])
MEGABYTE = b"<p>" + b"word " * 209_714 + b"</p>"

OPENSSL = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
    "-subj /CN=127.0.0.1 -days 2"
).split()
FILES = {
    "/text": (b"plain  text\nline two", "text/plain"),
    "/json": (b'{"kites": 3}', "application/json"),
    "/picture.png": (PNG, "image/png"),
    "/paper.pdf": (PAPER, "application/pdf"),
    "/get-paper": (PAPER, "application/pdf", 'attachment; filename="paper.pdf"'),
    "/broken.pdf": (b"%PDF-1.4\n", "application/pdf"),
    "/file": (b"data", "application/octet-stream", 'attachment; filename="../../a b.bin"'),
}


@dataclass
class Site:
    port: int = 0
    tls_port: int = 0
    pages: dict[str, str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if (first := await reader.read(1)) == b"\x16":  # the greeting of TLS
                writer.close()
                return
            line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
            line = (first + line).decode()
            path = line.split()[1]
            self.seen.append(line)
            await self._answer(path.partition("?")[0], path, writer)
        writer.close()

    async def _answer(self, path: str, whole: str, writer: asyncio.StreamWriter) -> None:
        if path in self.pages:
            await _send(writer, self.pages[path].encode())
        elif path in FILES:
            await _send(writer, *FILES[path])
        elif path == "/large-file":
            await _stream(writer, "application/octet-stream", 300)
        elif path == "/large":
            await _stream(writer, "text/html", 200)
        elif path == "/silent":
            await asyncio.Event().wait()
        elif path == "/for-ever":
            await _head(writer, "text/html")
            writer.write(b"<title>Slow</title><p>the beginning" + b" " * 2000)
            await asyncio.Event().wait()
        elif path == "/redirect":
            number = int(whole.partition("?")[2] or 0) + 1
            await _redirect(writer, f"/redirect?{number}")
        elif path == "/to":
            await _redirect(writer, whole.partition("?")[2])
        elif path == "/echo":
            await _send(writer, f"<p>you sent {whole}</p>".encode())
        else:
            await _send(writer, b"<h1>nothing here</h1>", status="404 Not Found")


async def _head(writer: asyncio.StreamWriter, kind: str, more: str = "") -> None:
    writer.write(
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}Connection: close\r\n\r\n".encode()
    )
    await writer.drain()


async def _send(
    writer: asyncio.StreamWriter,
    body: bytes,
    kind: str = "text/html; charset=utf-8",
    disposition: str = "inline",
    status: str = "200 OK",
) -> None:
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Disposition: {disposition}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()


async def _stream(writer: asyncio.StreamWriter, kind: str, megabytes: int) -> None:
    await _head(writer, kind, f"Content-Length: {megabytes * len(MEGABYTE)}\r\n")
    for _ in range(megabytes):
        writer.write(MEGABYTE)
        await writer.drain()


async def _redirect(writer: asyncio.StreamWriter, where: str) -> None:
    writer.write(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())
    await writer.drain()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory) -> AsyncGenerator[Site]:
    site = Site()
    plain = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    encrypted = await asyncio.start_server(
        site.serve, "127.0.0.1", 0, ssl=_self_signed(tmp_path_factory.mktemp("tls"))
    )
    site.port = plain.sockets[0].getsockname()[1]
    site.tls_port = encrypted.sockets[0].getsockname()[1]
    yield site
    plain.close()
    encrypted.close()


def _self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [*OPENSSL, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
