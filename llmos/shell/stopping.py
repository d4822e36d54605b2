"""Work of the session itself that Ctrl-C stops. Knows no process of the kernel."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

Made = TypeVar("Made")


async def stoppable(work: Coroutine[Any, Any, Made]) -> Made:
    """Run work that Ctrl-C and SIGTERM stop.

    Raises:
        KeyboardInterrupt: they did.
    """
    task = asyncio.ensure_future(work)
    was_stopped = False

    def stop() -> None:
        nonlocal was_stopped
        was_stopped = True
        task.cancel()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if was_stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
