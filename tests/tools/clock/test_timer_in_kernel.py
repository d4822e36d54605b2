"""A timer in a kernel: others go on meanwhile, and a crash does not make it longer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tokenizers import Tokenizer

import llmos_kernel
from llmos.sdk import tools_of
from llmos_kernel.abi import ToolCall
from llmos_kernel.dialects.dialect import EMBEDDED
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.journal import Journal
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import deny_all
from llmos_kernel.process import ProcessState
from llmos_kernel.syscalls import OwnedDriver, SyscallTable
from llmos_tools.clock import Clock

TOKENIZER = Path(llmos_kernel.__file__).parent / "model" / "tokenizer.json"


class Sleeper:
    """Sleeps until it is let; `begun` gives each length."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[float] = asyncio.Queue()
        self.late_s = 0.0

    def clock(self) -> float:
        return time.time() + self.late_s

    async def sleep(self, seconds: float) -> None:
        self.begun.put_nowait(seconds)
        await asyncio.Event().wait()


def make_kernel(folder: Path, sleeper: Sleeper) -> Kernel:
    renderer = Renderer(Tokenizer.from_file(str(TOKENIZER)), EMBEDDED)
    body = EMBEDDED.call_body(ToolCall("", "timer", {"duration": "10 minutes"}))
    wait = [renderer.call_open_id, *renderer.content_ids(body), renderer.call_close_id]
    says = {1: [wait], 2: [renderer.content_ids("Hello.")], 3: [renderer.content_ids("Done.")]}
    scripts = {pid: [[*ids, renderer.stop_id] for ids in replies] for pid, replies in says.items()}
    (timer,) = tools_of(Clock(sleeper.clock, sleeper.sleep).timer)
    return Kernel(
        FakeEngine(by_pid=scripts),
        renderer,
        SyscallTable([OwnedDriver(timer, "the test")]),
        Journal(folder / "journal.db"),
        workspace=folder,
        model="fake",
        approve=deny_all,
    )


async def test_others_go_on_while_a_timer_runs_and_it_ends_in_time_after_a_crash(
    tmp_path: Path,
) -> None:
    sleeper = Sleeper()
    kernel = make_kernel(tmp_path, sleeper)
    async with asyncio.timeout(20):
        waiting = kernel.spawn("wait 10 minutes")
        assert await sleeper.begun.get() > 0
        assert waiting.state is ProcessState.WAITING
        assert await kernel.wait(kernel.spawn("say hello").pid) == "Hello."
        assert waiting.state is ProcessState.WAITING
    journal = Journal(tmp_path / "journal.db")
    events = list(journal.events(waiting.pid))
    await kernel.close()
    left = journal.add_process("wait 10 minutes", "fake", events=events)
    journal.close()
    later = Sleeper()
    later.late_s = 595
    async with asyncio.timeout(20):
        again = make_kernel(tmp_path, later)
        again.resume(left)
        assert 0 < await later.begun.get() <= 5
        await again.close()
