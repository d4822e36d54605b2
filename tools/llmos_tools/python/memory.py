"""Which variables the Python of each process held, so that their loss can be told of.

A small file in the workspace: it outlives the kernel, which the variables do not.
Not covered: what the variables were.
"""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from typing import Any

from llmos.sdk import CallContext, ToolFailed
from llmos_tools.files.versions import replace
from llmos_tools.files.workspace import PYTHON_NAMES, READ, opened, workspace_of

MOST_PROCESSES = 200
MOST_BYTES = 1 << 20


def names_held(context: CallContext) -> tuple[str, ...]:
    """Return the names that the process's Python held last."""
    with suppress(OSError, ToolFailed), workspace_of(context) as folder:
        match _all(folder).get(str(context.pid)):
            case list(names):
                return tuple(str(name) for name in names)
            case _:
                return ()
    return ()


def keep_names(names: tuple[str, ...], context: CallContext) -> None:
    """Note the names for the process; a disk that is full only costs this note."""
    with suppress(OSError, ToolFailed), workspace_of(context, is_changed=True) as folder:
        every = _all(folder)
        every.pop(str(context.pid), None)
        every[str(context.pid)] = list(names)
        latest = dict(list(every.items())[-MOST_PROCESSES:])
        replace(folder, PYTHON_NAMES, io.BytesIO(json.dumps(latest).encode()))


def _all(folder: int) -> dict[str, Any]:
    try:
        with opened(folder, [PYTHON_NAMES], READ) as file:
            every = json.loads(os.read(file, MOST_BYTES))
    except (FileNotFoundError, ValueError):
        return {}
    return every if isinstance(every, dict) else {}
