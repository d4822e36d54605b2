"""A recorded process, run again from its record alone, makes the same events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from llmos_kernel.abi import Effect
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import Gate
from llmos_kernel.errors import LlmosError, StateError
from llmos_kernel.policy import deny_all
from llmos_kernel.process import Budget, ExitStatus, Signal
from llmos_kernel.recovery import NotRecoverable
from llmos_kernel.replay import ReplayDiverged, replay

Make = Callable[..., Any]


async def assert_replays(system: Any, pid: int, renderer: Renderer) -> list[str]:
    """Replay a process, compare, and return the kinds of its events."""
    recorded = [(e.seq, e.kind, e.body) for e in system.journal.events(pid)]
    async with asyncio.timeout(20):
        again = [(e.seq, e.kind, e.body) async for e in replay(system.journal, pid, renderer)]
    assert again == recorded
    return [kind for _, kind, _ in recorded]


async def test_a_life_with_calls_of_every_outcome_replays(
    make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    files = frozenset({Effect.FILES})

    def fail(arguments: Any) -> str:
        raise ValueError("boom")

    tools = [
        make_tool(name="write", effects=files),
        make_tool(name="look"),
        make_tool(fail, name="fail"),
        make_tool(name="send", effects=frozenset({Effect.NETWORK})),
    ]
    replies = [
        calls(("write", {"text": "a"}), ("look", {"text": "b"}), ("write", {"text": "c"})),
        calls(("fail", {"text": "d"}), ("send", {"text": "e"})),
        calls(("nothing", {}), ("look", {"text": "f"})),
        calls("{bad"),
        says("End."),
    ]
    system = make_system(replies, *tools, approve=deny_all)
    process = system.kernel.spawn("the task")
    assert await asyncio.wait_for(system.kernel.wait(process.pid), 10) == "End."
    num_calls = [len(tool.calls) for tool in tools]
    await assert_replays(system, process.pid, renderer)
    assert [len(tool.calls) for tool in tools] == num_calls


async def test_stops_messages_and_kills_replay_at_their_places(
    make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    gate, last = Gate(), Gate()
    reply = calls(("receive_message", {}))
    whole = says("never to be said")
    system = make_system(
        [[*reply[:4], gate, *reply[4:]], [*whole[:2], last]], has_process_calls=True
    )
    system.kernel.start("so that the pid is not 1")
    process = system.kernel.spawn("t", parent=1, nice=2, budget=Budget(max_tokens=500))
    await asyncio.wait_for(gate.reached.wait(), 10)
    system.kernel.signal(process.pid, Signal.STOP)
    await system.until(lambda: process.state == "STOPPED")
    gate.opened.set()
    system.kernel.renice(process.pid, 4)
    system.kernel.signal(process.pid, Signal.CONTINUE)
    await system.until(lambda: process.is_calling)
    system.kernel.signal(process.pid, Signal.STOP)
    system.kernel.send(process.pid, "hello")
    system.kernel.signal(process.pid, Signal.CONTINUE)
    await asyncio.wait_for(last.reached.wait(), 10)
    system.kernel.signal(process.pid, Signal.KILL)
    await system.until(lambda: process.pid not in system.kernel.processes)
    kinds = await assert_replays(system, process.pid, renderer)
    assert kinds.count("signal") == 5
    assert kinds.count("step") == 3


async def test_several_turns_and_a_failure_replay(
    make_system: Make, says: Make, renderer: Renderer
) -> None:
    system = make_system([says("One."), says("Two."), says("three " * 30)])
    process = system.kernel.start("shell", budget=Budget(max_tokens=30))
    await system.kernel.turn(process, "one?")
    await system.kernel.turn(process, "two?")
    with pytest.raises(Exception, match="max_tokens"):
        await system.kernel.turn(process, "three?")
    system.kernel.finish(process, ExitStatus.DONE)
    kinds = await assert_replays(system, process.pid, renderer)
    assert kinds.count("answer") == 2
    assert kinds.count("error") == 1


async def test_an_engine_that_failed_fails_again(
    make_system: Make, says: Make, renderer: Renderer
) -> None:
    system = make_system([says("x")], context_length=20)
    process = system.kernel.spawn("word " * 30)
    with pytest.raises(LlmosError, match="filled the model"):
        await asyncio.wait_for(system.kernel.wait(process.pid), 10)
    assert "error" in await assert_replays(system, process.pid, renderer)


async def test_a_fork_replays_from_where_it_began(
    make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    reply = calls(("echo", {"text": "a"}))
    system = make_system([reply, says("One."), says("Two.")], make_tool())
    process = system.kernel.spawn("t")
    await asyncio.wait_for(system.kernel.wait(process.pid), 10)
    events = list(system.journal.events(process.pid))
    at = next(e.seq for e in events if e.kind == "tool_result")
    fork = system.kernel.fork(process.pid, at=at)
    assert await asyncio.wait_for(system.kernel.wait(fork.pid), 10) == "Two."
    assert "resume" in await assert_replays(system, fork.pid, renderer)


async def test_a_process_that_is_still_at_work_replays_up_to_now(
    make_system: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    tool = make_tool(lambda a: asyncio.Event().wait(), effects=frozenset({Effect.FILES}))
    system = make_system([calls(("echo", {"text": "a"}))], tool)
    process = system.kernel.spawn("t")
    await system.until(lambda: bool(tool.calls))
    assert (await assert_replays(system, process.pid, renderer))[-1] == "tool_start"
    await system.kernel.close()


async def test_a_record_that_was_changed_is_seen_to_diverge(
    make_system: Make, says: Make, renderer: Renderer
) -> None:
    system = make_system([says("True.")])
    process = system.kernel.spawn("t")
    await asyncio.wait_for(system.kernel.wait(process.pid), 10)
    system.journal._connection.execute(  # pyright: ignore
        "UPDATE events SET body = '{\"text\": \"False.\"}' WHERE kind = 'answer'"
    )
    with pytest.raises(ReplayDiverged, match=r"False\."):
        await assert_replays(system, process.pid, renderer)


async def test_what_is_not_recorded_cannot_be_replayed(
    make_system: Make, renderer: Renderer
) -> None:
    system = make_system([])
    with pytest.raises(StateError, match="no process 7"):
        await assert_replays(system, 7, renderer)
    system.journal.add_process("t", "fake")
    with pytest.raises(NotRecoverable, match="beginning"):
        await assert_replays(system, 1, renderer)
