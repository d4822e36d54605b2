"""Asks the user at the terminal whether a call may run."""

from __future__ import annotations

import asyncio
import json

from llmos.shell.progress import console
from llmos.shell.screen import printable
from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.policy import needs_approval


async def ask_on_terminal(call: ToolCall, spec: ToolSpec) -> bool:
    """Show the call and why it is asked for, and return whether the user typed yes."""
    if not needs_approval(spec) and call.confidence is not None:
        console.print(f"I am only {call.confidence:.0%} sure what you want.", markup=False)
        question = printable(f"Shall I call {call}? [y/N] ")
        console.print(question, end="", markup=False)
        return await _has_said_yes()
    effects = ", ".join(sorted(effect.value for effect in spec.effects))
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    console.print(printable(f"{call.name} {arguments}"), markup=False)
    console.print(f"It may reach: {effects}. Allow it? [y/N] ", end="", markup=False)
    return await _has_said_yes()


async def _has_said_yes() -> bool:
    return (await asyncio.to_thread(input)).strip().lower() in ("y", "yes")
