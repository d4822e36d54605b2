"""Runs the programs that make and play sound; a cancelled call ends its program at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from subprocess import DEVNULL, PIPE

from llmos.sdk import ToolFailed


@asynccontextmanager
async def running(command: Sequence[str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a program that reads a pipe, for the length of the block; then it has ended."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=DEVNULL, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def fed(command: Sequence[str], data: bytes) -> None:
    """Run a program over its whole input.

    Raises:
        ToolFailed: it says that it failed.
    """
    async with running(command) as process:
        _, errors = await process.communicate(data)
    check(process, command[0], errors)


def check(process: asyncio.subprocess.Process, name: str, errors: bytes) -> None:
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise ToolFailed(f"{name} failed: {lines[-1] if lines else 'it does not say why'}")
