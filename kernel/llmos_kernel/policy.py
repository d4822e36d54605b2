"""Decides whether a call may run, from the effects that its tool declares.

Covered: effects outside the machine's sandbox and workspace need the user's word. Not covered
yet: labels of the data that steered the call; the README's status table says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from llmos_kernel.abi import Effect, ToolCall, ToolSpec

# Effects that stay inside the workspace, the sandbox or llmos' own memory.
CONTAINED = frozenset({Effect.FILES, Effect.SANDBOX, Effect.MEMORY})

Approver: TypeAlias = Callable[[ToolCall, ToolSpec], Awaitable[bool]]


def needs_approval(spec: ToolSpec) -> bool:
    """Whether a tool reaches beyond what llmos contains."""
    return not spec.effects <= CONTAINED


async def approve_all(call: ToolCall, spec: ToolSpec) -> bool:
    return True


async def deny_all(call: ToolCall, spec: ToolSpec) -> bool:
    return False
