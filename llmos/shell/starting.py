"""Starts the system for a person: progress while the model loads, reports on stderr."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from llmos.boot import BootOptions, booted
from llmos.config import Settings
from llmos.schedules.runner import watching
from llmos.shell.progress import working
from llmos_kernel.kernel import Kernel


@asynccontextmanager
async def started(settings: Settings, options: BootOptions) -> AsyncGenerator[Kernel]:
    """Run a kernel, and what is scheduled, for the length of the block; raises as `booted`."""
    async with AsyncExitStack() as stack:
        with working("Loading the model"):
            kernel = await stack.enter_async_context(booted(settings, options))
        if not options.is_dry_run:
            await stack.enter_async_context(watching(options.home, kernel, report=options.report))
        yield kernel


def report(line: str) -> None:
    """Print a line for people."""
    print(f"llmos: {line}", file=sys.stderr)
