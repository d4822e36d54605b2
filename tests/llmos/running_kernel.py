"""A kernel over the fake engine in a process of its own, for the tests of other terminals.

    python running_kernel.py

Runs `llmos run`'s way of a system over the state folder `LLMOS_HOME`: process 1 works and halts in
the middle of its answer, process 2 waits behind it. Prints `ready` then. A line `go` on stdin lets
process 1 finish; the end of stdin ends the kernel. Prints how each process ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from llmos import boot
from llmos.boot import BootOptions, booted
from llmos.config import Settings, load_settings
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import FakeEngine, Gate
from llmos_kernel.errors import LlmosError
from llmos_kernel.kernel import Kernel

TASKS = ("Count the [red] sheep.", "Say hello.")


async def end_of(kernel: Kernel, pid: int) -> None:
    try:
        print(pid, await kernel.wait(pid), flush=True)
    except LlmosError as error:
        print(pid, error, flush=True)


async def main() -> None:
    gates = [Gate(), Gate()]
    last_pid = 0

    def load_model(settings: Settings, **_: Any) -> tuple[Renderer, Any]:
        renderer = boot.load_renderer(settings)

        def says(*parts: str | Gate) -> list[int | Gate]:
            ids: list[int | Gate] = []
            for part in parts:
                ids += [part] if isinstance(part, Gate) else renderer.content_ids(part)
            return [*ids, renderer.stop_id]

        scripts = {
            1: [says("One, two", gates[0], ", three.")],
            2: [says(gates[1], "Hello.")],
            3: [says("Forked.")],
        }
        return renderer, FakeEngine(by_pid=scripts)

    boot.load_model = load_model
    ends: list[asyncio.Task[None]] = []
    async with booted(load_settings(), BootOptions()) as kernel:
        for task in TASKS:
            last_pid = kernel.spawn(task).pid
            ends.append(asyncio.create_task(end_of(kernel, last_pid)))
        for gate in gates:
            await gate.reached.wait()
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            gates[line.strip() == "go 2"].opened.set()
    await asyncio.gather(*ends)


asyncio.run(main())
