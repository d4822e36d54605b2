"""Asks the user at the terminal whether a call may run."""

from __future__ import annotations

import asyncio
import json

from llmos.shell.progress import console
from llmos.shell.screen import printable
from llmos_kernel.abi import ToolCall, ToolSpec


async def ask_on_terminal(call: ToolCall, spec: ToolSpec) -> bool:
    """Show the call and its effects, and return whether the user typed yes."""
    effects = ", ".join(sorted(effect.value for effect in spec.effects))
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    console.print(printable(f"{call.name} {arguments}"), markup=False)
    console.print(f"It may reach: {effects}. Allow it? [y/N] ", end="", markup=False)
    return (await asyncio.to_thread(input)).strip().lower() in ("y", "yes")
