"""What a server answered, as what the model reads: texts, links, and files in the workspace.

Covered: a file is written under a new name in the workspace itself, a link there is never
followed, and what is too large or not base64 is left out with a word. Knows no connection.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import mimetypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from llmos.mcp.listing import safe_name
from llmos.sdk import Output, ToolFailed

if TYPE_CHECKING:
    import mcp_types as types

MOST_FILE_BYTES = 50_000_000


class ResultReader:
    """Reads the parts of one result. `stem` begins the names of the files it makes."""

    def __init__(self, workspace: Path, stem: str) -> None:
        self._workspace = workspace
        self._stem = safe_name(stem)
        self._files: list[str] = []

    def read(self, result: types.CallToolResult) -> Output:
        """Return all that a result says, in its order.

        Raises:
            ToolFailed: the tool says that it failed, or a file cannot be written.
        """
        parts = [self._part(block) for block in result.content]
        if result.structured_content is not None and not _is_said(result.structured_content, parts):
            parts.append(json.dumps(result.structured_content, ensure_ascii=False))
        text = "\n".join(part for part in parts if part)
        if result.is_error:
            raise ToolFailed(text or "the tool failed and does not say why")
        return Output(text or "done", tuple(self._files))

    def _part(self, block: types.ContentBlock) -> str:
        match block.type:
            case "text":
                return block.text
            case "image" | "audio":
                return self._file(block.type, block.data, block.mime_type)
            case "resource_link":
                about = f": {block.description}" if block.description else ""
                return f"[resource {block.name} at {block.uri}{about}]"
            case "resource":
                return self._resource(block.resource)
            case _:
                assert_never(block)

    def _resource(self, found: types.TextResourceContents | types.BlobResourceContents) -> str:
        import mcp_types as types

        if isinstance(found, types.TextResourceContents):
            return found.text
        kind = found.mime_type or "application/octet-stream"
        return self._file(f"resource {found.uri}", found.blob, kind)

    def _file(self, what: str, data: str, mime_type: str) -> str:
        if len(data) * 3 // 4 > MOST_FILE_BYTES:
            return f"[{what} left out: larger than {MOST_FILE_BYTES:,} bytes]"
        try:
            content = base64.b64decode(data, validate=True)
        except binascii.Error:
            return f"[{what} left out: its data is not base64]"
        try:
            name = self._saved(content, mimetypes.guess_extension(mime_type) or ".bin")
        except OSError as error:
            raise ToolFailed(f"the {what} cannot be saved: {error.strerror}") from error
        self._files.append(name)
        return f"[{what} saved as {name}]"

    def _saved(self, content: bytes, suffix: str) -> str:
        """Write a new file. `O_EXCL` refuses any name that exists, a dangling link included."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for number in itertools.count(1):
            name = f"{self._stem}-{number}{suffix}"
            try:
                opened = os.open(self._workspace / name, flags, 0o644)
            except FileExistsError:
                continue
            with os.fdopen(opened, "wb") as file:
                file.write(content)
            return name
        raise AssertionError("the numbers are endless")


def _is_said(structured: Any, parts: list[str]) -> bool:
    """Whether a text says what the structured content says; a lone value may be wrapped."""
    wanted = [structured]
    if isinstance(structured, dict) and list(structured) == ["result"]:  # pyright: ignore
        wanted.append(structured["result"])
    return any(part in wanted or _parsed(part) in wanted for part in parts)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
