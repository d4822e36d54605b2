"""A server of the tests, written with the protocol's own library.

    python servers.py          over stdin and stdout
    python servers.py PORT     over HTTP on the loopback

Writes a line to the file `STARTS` when it starts, and to `CANCELLED` when `slow` is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ResourceLink, TextContent

PNG = b"\x89PNG\r\n\x1a\nnot a whole one"
server = MCPServer("tests")


def note(variable: str) -> None:
    with Path(os.environ[variable]).open("a") as file:
        file.write(f"{os.getpid()}\n")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers.
    ignore_me: a second line"""
    return a + b


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("the well is dry")


@server.tool()
def picture() -> Image:
    """Draw."""
    return Image(data=PNG, format="png")


@server.tool()
def point() -> dict[str, int]:
    """Return structured content."""
    return {"x": 3, "y": 4}


@server.tool()
def link() -> CallToolResult:
    """Return a text and a link."""
    return CallToolResult(
        content=[
            TextContent(text="see there"),
            ResourceLink(name="report", uri="file:///report.txt", description="of May"),
        ]
    )


@server.tool()
async def slow() -> str:
    """Wait for ever."""
    note("SLOW")
    try:
        await asyncio.Event().wait()
    finally:
        note("CANCELLED")
    return "never"


@server.tool()
def die() -> str:
    """End the server in the middle of a call."""
    os._exit(3)


@server.tool(name="odd name/é")
def odd() -> str:
    """Have a name that no model's protocol takes."""
    print("a word on stderr", file=sys.stderr, flush=True)
    return os.environ.get("GREETING", "none")


if __name__ == "__main__":
    note("STARTS")
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
