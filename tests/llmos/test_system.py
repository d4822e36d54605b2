"""llmos from Python: with the real embedded model, and steering over a fake one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import llmos
from llmos import LLMOS, Budget, Signal, tool
from llmos_kernel.engine.fake import Gate
from llmos_kernel.errors import ConfigError, LlmosError
from llmos_kernel.journal import Journal
from llmos_kernel.process import TaskFailed

pytestmark = pytest.mark.usefixtures("home")


def test_run_is_a_blocking_one_liner() -> None:
    assert "408" in llmos.run("What is 17 * 24?")


async def test_several_processes_share_one_model() -> None:
    async with LLMOS() as system:
        processes = [await system.spawn(f"what is {n} + {n}") for n in (21, 32, 43)]
        answers = await asyncio.gather(*(process.wait() for process in processes))
    assert ["42" in answers[0], "64" in answers[1], "86" in answers[2]] == [True] * 3


async def test_an_empty_task_is_refused() -> None:
    async with LLMOS() as system:
        with pytest.raises(ConfigError, match="the task is empty"):
            await system.run(" ")


async def test_a_tool_of_the_same_name_as_an_installed_one_is_refused() -> None:
    @tool(name="calculate")
    def other(expression: str) -> str:
        """Work it out in another way."""
        return expression

    with pytest.raises(ConfigError, match=r"'calculate'.*'llmos'.*the caller"):
        async with LLMOS(tools=[other]):
            pass


async def test_outside_its_block_a_system_refuses_tasks() -> None:
    with pytest.raises(ConfigError, match="async with"):
        await LLMOS().run("hi")


async def test_leaving_the_block_ends_what_still_runs(home: Path) -> None:
    async with LLMOS() as system:
        process = await system.spawn("What is 17 * 24?")
    with pytest.raises(TaskFailed, match="was interrupted"):
        await process.wait()


SetReplies = Callable[..., None]


async def test_a_process_gets_its_share_and_budget_and_tells_all_from_its_first_event(
    fake_model: SetReplies,
) -> None:
    fake_model({1: [("Much more than two tokens.",)]})
    async with LLMOS() as system:
        process = await system.spawn("talk", nice=5, budget=Budget(max_tokens=2))
        events = [event async for event in process.events()]
        with pytest.raises(TaskFailed, match="budget, max_tokens 2"):
            await process.wait()
    assert [event.seq for event in events] == list(range(len(events)))
    assert events[0].kind == "spawn"
    assert (events[0].body["nice"], events[0].body["is_interactive"]) == (5, False)
    assert events[-1].body == {"state": "ZOMBIE", "exit": "failed"}


async def test_signals_messages_and_forks_reach_a_process(fake_model: SetReplies) -> None:
    gate = Gate()
    fake_model({1: [("One", gate, ", two.")], 2: [("Other.",)]})
    async with LLMOS() as system:
        process = await system.spawn("count")
        await gate.reached.wait()
        process.signal(Signal.STOP)
        process.send("hello")
        fork = process.fork(at=2)
        assert await fork.wait() == "Other."
        gate.opened.set()
        process.signal(Signal.CONTINUE)
        assert await process.wait() == "One, two."
        assert [event.kind async for event in process.events()].count("message") == 1
        assert [event async for event in fork.events()][-1].body["exit"] == "done"
        with pytest.raises(LlmosError, match="no live process 1"):
            process.signal(Signal.KILL)


async def test_cancel_ends_a_process(fake_model: SetReplies) -> None:
    fake_model({1: [(Gate(),)]})
    async with LLMOS() as system:
        process = await system.spawn("count")
        await process.cancel()
        with pytest.raises(TaskFailed, match="process 1 was interrupted"):
            await process.wait()


async def test_a_process_that_a_kernel_left_behind_goes_on(
    fake_model: SetReplies, home: Path
) -> None:
    fake_model({1: [("First.",)], 2: [("After all.",)]})
    async with LLMOS() as system:
        await system.run("talk")
    journal = Journal(home / "journal.db")
    left = journal.add_process("talk", "embedded", events=list(journal.events(1))[:3])
    journal.close()
    async with LLMOS() as system:
        process = await system.resume(left)
        assert await process.wait() == "After all."
        with pytest.raises(LlmosError, match=r"has ended \(done\)"):
            await system.resume(left)
