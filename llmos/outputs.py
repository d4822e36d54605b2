"""What a tool returned becomes an `Output`: text for the model, media as files of the workspace.

Covered: no file of the workspace is written over, and no link in it is followed. Knows neither
the tool nor the model, and imports neither Pillow nor matplotlib.
"""

from __future__ import annotations

import io
import itertools
import json
import mimetypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from llmos_kernel.abi import CallContext, Output
from llmos_kernel.errors import ToolFailed

KINDS = {"image": "picture", "audio": "recording", "video": "video"}


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, a recording or any other file as bytes. `name` is the file's, if it matters."""

    data: bytes
    media_type: str
    name: str | None = None


def as_output(value: Any, context: CallContext) -> Output:
    """Make an output of what a tool returned; a list that holds media becomes each in turn.

    Raises:
        ToolFailed: a file that it names is missing, or the workspace cannot be written to.
        TypeError: it is bytes without a media type.
    """
    match value:
        case Output():
            return value
        case None:
            return Output("done")
        case str():
            return Output(value)
        case BaseModel():
            return Output(value.model_dump_json())
        case list() | tuple() if any(_media(part) is not None for part in value):
            parts = [as_output(part, context) for part in value]
            files = tuple(name for part in parts for name in part.files)
            return Output("\n".join(part.text for part in parts), files)
        case bytes():
            raise TypeError("bytes need a media type: return Media(data, 'image/png')")
        case _:
            media = _media(value)
            return _json(value) if media is None else _saved(media, context)


def save_free(workspace: Path, name: str, data: bytes) -> str:
    """Write a new file under a name, or the next that is free (`name-2`), and return that.

    Raises:
        ToolFailed: the workspace cannot be written to.
    """
    stem, dot, suffix = name.partition(".")
    names = itertools.chain([name], (f"{stem}-{n}{dot}{suffix}" for n in itertools.count(2)))
    try:
        folder = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            free = next(free for free in names if _write_new(folder, free, data))
        finally:
            os.close(folder)
    except OSError as error:
        raise ToolFailed(f"the file {name!r} cannot be saved: {error.strerror}") from error
    return free


def _write_new(folder: int, name: str, data: bytes) -> bool:
    """Write a file where there is none of this name, a link that leads nowhere included."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return True


def _json(value: Any) -> Output:
    plain = to_jsonable_python(value, fallback=str)
    return Output(json.dumps(plain, ensure_ascii=False))


def _media(value: Any) -> Media | Path | None:
    """Return what is a file or can be made one. What was not imported is not there to be it."""
    if isinstance(value, Media | Path):
        return value
    pillow, matplotlib = sys.modules.get("PIL.Image"), sys.modules.get("matplotlib.figure")
    picture = io.BytesIO()
    if pillow is not None and isinstance(value, pillow.Image):
        value.save(picture, format="PNG")
    elif matplotlib is not None and isinstance(value, matplotlib.Figure):
        value.savefig(picture, format="png", bbox_inches="tight")
    else:
        return None
    return Media(picture.getvalue(), "image/png")


def _saved(media: Media | Path, context: CallContext) -> Output:
    if isinstance(media, Path):
        return _taken_in(media, context.workspace)
    kind = KINDS.get(media.media_type.partition("/")[0], "file")
    name = media.name or kind + (mimetypes.guess_extension(media.media_type) or ".bin")
    saved = save_free(context.workspace, Path(name).name, media.data)
    return Output(f"{kind} saved as {saved}", (saved,))


def _taken_in(path: Path, workspace: Path) -> Output:
    """Name a file of the workspace, or copy one from elsewhere into it."""
    inside = workspace / path
    if inside.resolve().is_relative_to(workspace.resolve()) and inside.is_file():
        name = str(inside.resolve().relative_to(workspace.resolve()))
        return Output(f"file saved as {name}", (name,))
    if not path.is_absolute():
        raise ToolFailed(f"there is no file {str(path)!r} in the workspace")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ToolFailed(f"the file {str(path)!r} cannot be read: {error.strerror}") from error
    saved = save_free(workspace, path.name, data)
    return Output(f"file saved as {saved}", (saved,))
