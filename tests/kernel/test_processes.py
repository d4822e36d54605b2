"""Many processes of one kernel over the fake engine: lives, signals, budgets, messages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from llmos_kernel.abi import Effect
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import Gate
from llmos_kernel.errors import ConfigError, LlmosError
from llmos_kernel.process import (
    Budget,
    ExitStatus,
    Interrupted,
    ProcessState,
    Signal,
    TaskFailed,
)

Make = Callable[..., Any]


class Door:
    """A tool's behaviour that waits: `entered` when a call has begun, ends once `opened`."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    def __call__(self, arguments: Any) -> Any:
        return self._wait(arguments)

    async def _wait(self, arguments: Any) -> str:
        self.entered.set()
        await self.opened.wait()
        return f"through {arguments['text']}"


async def within(work: Any) -> Any:
    return await asyncio.wait_for(work, 10)


async def test_a_spawned_process_runs_its_whole_life_and_every_waiter_gets_its_answer(
    make_system: Make, says: Make
) -> None:
    system = make_system([says("Forty-two.")])
    process = system.kernel.spawn("what?")
    waiters = [asyncio.ensure_future(system.kernel.wait(process.pid)) for _ in range(2)]
    assert await within(asyncio.gather(*waiters)) == ["Forty-two."] * 2
    assert await system.kernel.wait(process.pid) == "Forty-two."
    assert system.states(process.pid) == ["READY", "RUNNING", "READY", "ZOMBIE"]
    assert system.bodies("state")[-1]["exit"] == "done"
    assert len(system.kernel.processes) == 0
    assert system.engine.released == [process.pid]


async def test_a_waiter_gets_what_a_process_died_of_also_afterwards(
    make_system: Make, calls: Make
) -> None:
    system = make_system([calls("{bad")] * 3)
    process = system.kernel.spawn("t")
    for _ in range(2):
        with pytest.raises(TaskFailed, match="3 malformed calls"):
            await within(system.kernel.wait(process.pid))
    assert system.bodies("state")[-1]["exit"] == "failed"


async def test_an_engine_that_breaks_fails_the_process_and_says_so(make_system: Make) -> None:
    system = make_system([])
    process = system.kernel.spawn("t")
    with pytest.raises(Exception, match="StopIteration"):
        await within(system.kernel.wait(process.pid))
    assert "StopIteration" in system.bodies("error")[0]["text"]


@pytest.mark.parametrize("cut", range(1, 9))
async def test_a_stopped_process_goes_on_at_the_same_token(
    make_system: Make, says: Make, calls: Make, make_tool: Make, cut: int
) -> None:
    gate = Gate()
    whole = calls(("echo", {"text": "hey you"}))
    cut = min(cut, len(whole) - 1)
    system = make_system([[*whole[:cut], gate, *whole[cut:]], says("Done.")], make_tool())
    process = system.kernel.spawn("t")
    await within(gate.reached.wait())
    system.kernel.signal(process.pid, Signal.STOP)
    await system.until(lambda: process.state is ProcessState.STOPPED)
    assert process.context[-cut:] == whole[:cut]
    assert system.bodies("step") == [{"tokens": whole[:cut], "reason": "signal"}]
    gate.opened.set()
    system.kernel.signal(process.pid, Signal.CONTINUE)
    assert await within(system.kernel.wait(process.pid)) == "Done."
    first, second = system.engine.requests[:2]
    assert list(second.tokens) == [*first.tokens, *whole[:cut]]
    assert system.bodies("step")[1] == {"tokens": whole[cut:], "reason": "stop"}
    assert system.bodies("tool_result")[0]["text"] == "echo hey you"


async def test_a_tool_goes_on_while_its_process_is_stopped_and_the_result_is_taken_after(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    door = Door()
    system = make_system([calls(("echo", {"text": "x"})), says("Done.")], make_tool(door))
    process = system.kernel.spawn("t")
    await within(door.entered.wait())
    system.kernel.signal(process.pid, Signal.STOP)
    assert process.state is ProcessState.STOPPED
    length = len(process.context)
    door.opened.set()
    await system.until(lambda: bool(system.bodies("tool_result")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(process.context) == length
    assert len(system.engine.requests) == 1
    system.kernel.signal(process.pid, Signal.CONTINUE)
    assert await within(system.kernel.wait(process.pid)) == "Done."


async def test_a_process_continued_while_its_tool_runs_waits_for_it(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    door = Door()
    system = make_system([calls(("echo", {"text": "x"})), says("Done.")], make_tool(door))
    process = system.kernel.spawn("t")
    await within(door.entered.wait())
    system.kernel.signal(process.pid, Signal.STOP)
    system.kernel.signal(process.pid, Signal.CONTINUE)
    assert process.state is ProcessState.WAITING
    door.opened.set()
    assert await within(system.kernel.wait(process.pid)) == "Done."


@pytest.mark.parametrize(
    ("signal", "status"),
    [(Signal.KILL, ExitStatus.KILLED), (Signal.INTERRUPT, ExitStatus.INTERRUPTED)],
)
@pytest.mark.parametrize("moment", ["new", "running", "waiting", "stopped"])
async def test_a_signal_ends_a_process_wherever_it_is(
    make_system: Make,
    calls: Make,
    make_tool: Make,
    signal: Signal,
    status: ExitStatus,
    moment: str,
) -> None:
    gate, door = Gate(), Door()
    script = calls(("echo", {"text": "x"}))
    if moment != "waiting":
        script = [*script[:3], gate, *script[3:]]
    system = make_system([script], make_tool(door))
    process = system.kernel.spawn("t")
    if moment != "new":
        await within(door.entered.wait() if moment == "waiting" else gate.reached.wait())
    if moment == "stopped":
        system.kernel.signal(process.pid, Signal.STOP)
        await system.until(lambda: process.state is ProcessState.STOPPED)
    waiter = asyncio.ensure_future(system.kernel.wait(process.pid))
    await asyncio.sleep(0)
    system.kernel.signal(process.pid, signal)
    with pytest.raises(Interrupted, match=status.value):
        await within(waiter)
    assert process.exit_status is status
    assert process.pid not in system.kernel.processes
    assert [b["status"] for b in system.bodies("tool_result")] == (
        ["cancelled"] if moment == "waiting" else []
    )


async def test_interrupting_a_turn_leaves_a_process_that_takes_another(
    make_system: Make, says: Make
) -> None:
    gate = Gate()
    system = make_system([[*says("Never")[:1], gate], says("Here.")])
    process = system.kernel.start("t")
    work = asyncio.ensure_future(system.kernel.turn(process, "go"))
    await within(gate.reached.wait())
    system.kernel.signal(process.pid, Signal.INTERRUPT)
    with pytest.raises(Interrupted):
        await within(work)
    assert process.state is ProcessState.READY
    assert await system.kernel.turn(process, "there?") == "Here."


async def test_killing_a_parent_kills_its_children_before_it(make_system: Make) -> None:
    system = make_system([[Gate()] for _ in range(3)])
    parent = system.kernel.spawn("a")
    child = system.kernel.spawn("b", parent=parent.pid)
    grandchild = system.kernel.spawn("c", parent=child.pid)
    await system.until(lambda: len(system.engine.requests) == 3)
    system.kernel.signal(parent.pid, Signal.KILL)
    with pytest.raises(Interrupted):
        await within(system.kernel.wait(parent.pid))
    ended = [e.pid for e in system.events if e.body.get("exit") == "killed"]
    assert ended == [grandchild.pid, child.pid, parent.pid]


async def test_an_orphan_does_not_outlive_its_parent(make_system: Make, says: Make) -> None:
    system = make_system([], by_pid={1: [says("Done.")], 2: [[Gate()]]})
    parent = system.kernel.spawn("a")
    child = system.kernel.spawn("b", parent=parent.pid)
    assert await within(system.kernel.wait(parent.pid)) == "Done."
    assert child.exit_status is ExitStatus.KILLED


async def test_closing_the_kernel_ends_running_processes(make_system: Make) -> None:
    system = make_system([[Gate()] for _ in range(2)])
    parent = system.kernel.spawn("a")
    child = system.kernel.spawn("b", parent=parent.pid)
    await system.until(lambda: len(system.engine.requests) == 2)
    await within(system.kernel.close())
    assert {parent.state, child.state} == {ProcessState.ZOMBIE}
    assert parent.exit_status is ExitStatus.INTERRUPTED


async def test_a_process_that_has_used_up_its_tokens_fails_and_says_which_budget(
    make_system: Make, says: Make
) -> None:
    system = make_system([says("one two three four five six seven")])
    process = system.kernel.spawn("t", budget=Budget(max_tokens=3))
    with pytest.raises(TaskFailed, match="max_tokens 3; give it a larger one"):
        await within(system.kernel.wait(process.pid))
    assert process.num_tokens == 3
    assert process.exit_status is ExitStatus.FAILED


async def test_an_answer_that_fits_its_budget_exactly_is_an_answer(
    make_system: Make, says: Make
) -> None:
    reply = says("one two three")
    system = make_system([reply])
    process = system.kernel.spawn("t", budget=Budget(max_tokens=len(reply)))
    assert await within(system.kernel.wait(process.pid)) == "one two three"


@pytest.mark.parametrize("is_in_tool", [True, False])
async def test_a_process_that_has_used_up_its_seconds_fails_wherever_it_waits(
    make_system: Make, calls: Make, make_tool: Make, is_in_tool: bool
) -> None:
    script = calls(("echo", {"text": "x"})) if is_in_tool else [Gate()]
    system = make_system([script], make_tool(Door()))
    process = system.kernel.spawn("t", budget=Budget(max_seconds=0.05))
    with pytest.raises(TaskFailed, match=r"max_seconds 0\.05"):
        await within(system.kernel.wait(process.pid))


async def test_a_child_has_no_more_than_its_parent_has_left(
    make_system: Make, make_tool: Make, renderer: Renderer
) -> None:
    system = make_system([], make_tool(name="one"), make_tool(name="two"))
    parent = system.kernel.start("t", budget=Budget(max_tokens=10), tools=frozenset({"one"}))
    assert system.kernel.start("c", parent=parent.pid).budget == Budget(max_tokens=10)
    assert system.kernel.start("c", parent=parent.pid).tools == frozenset({"one"})
    with pytest.raises(ConfigError, match="max_tokens 11"):
        system.kernel.start("c", parent=parent.pid, budget=Budget(max_tokens=11))
    with pytest.raises(ConfigError, match="two"):
        system.kernel.start("c", parent=parent.pid, tools=frozenset({"two"}))
    text = renderer.text(parent.context)
    assert "one:" in text
    assert "two:" not in text


async def test_a_tool_that_is_not_granted_is_none_to_the_process(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    tool = make_tool(name="two")
    system = make_system([calls(("two", {"text": "x"})), says("ok")], tool, make_tool(name="one"))
    process = system.kernel.spawn("t", tools=frozenset({"one"}))
    await within(system.kernel.wait(process.pid))
    assert tool.calls == []
    assert "the tools are one" in system.bodies("tool_result")[0]["text"]


async def test_requests_say_whose_they_are_and_renice_reaches_the_engine(
    make_system: Make, says: Make
) -> None:
    system = make_system([[gate := Gate(), *says("x")]])
    process = system.kernel.spawn("t", nice=5, is_interactive=True)
    await within(gate.reached.wait())
    (request,) = system.engine.requests
    assert (request.pid, request.nice, request.is_interactive) == (process.pid, 5, True)
    system.kernel.renice(process.pid, -3)
    assert system.engine.nices == {process.pid: -3}
    with pytest.raises(ConfigError, match="20"):
        system.kernel.renice(process.pid, 20)


async def test_a_signal_for_nobody_is_an_error(make_system: Make) -> None:
    with pytest.raises(LlmosError, match="no live process 9"):
        make_system([]).kernel.signal(9, Signal.KILL)


# Parallel calls ---------------------------------------------------------------


async def test_calls_of_different_tools_run_side_by_side_and_results_keep_their_order(
    make_system: Make, says: Make, calls: Make, make_tool: Make, renderer: Renderer
) -> None:
    slow, quick = Door(), Door()
    reply = calls(("slow", {"text": "1"}), ("quick", {"text": "2"}))
    system = make_system(
        [reply, says("ok")], make_tool(slow, name="slow"), make_tool(quick, name="quick")
    )
    process = system.kernel.spawn("t")
    await within(slow.entered.wait())
    await within(quick.entered.wait())
    quick.opened.set()
    await system.until(lambda: len(system.bodies("tool_result")) == 1)
    slow.opened.set()
    await within(system.kernel.wait(process.pid))
    assert [body["text"] for body in system.bodies("tool_result")] == ["through 2", "through 1"]
    given = renderer.results_ids(["through 1", "through 2"]) + renderer.assistant_open_ids()
    assert list(system.engine.requests[1].tokens)[-len(given) :] == given


@pytest.mark.parametrize(("is_repeatable", "most"), [(False, 1), (True, 3)])
async def test_calls_of_one_tool_keep_their_order_unless_it_is_repeatable(
    make_system: Make, says: Make, calls: Make, make_tool: Make, is_repeatable: bool, most: int
) -> None:
    at_work: list[str] = []
    peak: list[int] = []

    async def work(text: str) -> str:
        at_work.append(text)
        peak.append(len(at_work))
        for _ in range(5):
            await asyncio.sleep(0)
        at_work.remove(text)
        return text

    tool = make_tool(lambda a: work(a["text"]), is_repeatable=is_repeatable)
    reply = calls(*(("echo", {"text": name}) for name in "abc"))
    system = make_system([reply, says("ok")], tool)
    await within(system.kernel.wait(system.kernel.spawn("t").pid))
    assert max(peak) == most
    assert [call["text"] for call in tool.calls] == ["a", "b", "c"]


async def test_a_tool_runs_as_many_calls_at_once_as_it_allows_over_all_processes(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    door = Door()
    tool = make_tool(door, max_concurrent=2)
    scripts = {pid: [calls(("echo", {"text": "x"})), says("ok")] for pid in (1, 2, 3)}
    system = make_system([], tool, by_pid=scripts)
    processes = [system.kernel.spawn("t") for _ in range(3)]
    await system.until(lambda: all(p.is_calling for p in processes))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(tool.calls) == 2
    door.opened.set()
    for process in processes:
        assert await within(system.kernel.wait(process.pid)) == "ok"
    assert len(tool.calls) == 3


async def test_one_process_decodes_while_another_waits_for_its_tool(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    door = Door()
    scripts = {1: [calls(("echo", {"text": "x"})), says("late")], 2: [says("early")]}
    system = make_system([], make_tool(door), by_pid=scripts)
    caller, other = system.kernel.spawn("a"), system.kernel.spawn("b")
    await within(door.entered.wait())
    assert await within(system.kernel.wait(other.pid)) == "early"
    assert caller.state is ProcessState.WAITING
    door.opened.set()
    assert await within(system.kernel.wait(caller.pid)) == "late"


async def test_killing_a_process_cancels_all_its_calls(
    make_system: Make, calls: Make, make_tool: Make
) -> None:
    doors = [Door(), Door()]
    tools = [make_tool(door, name=name) for door, name in zip(doors, "ab", strict=True)]
    reply = calls(("a", {"text": "1"}), ("a", {"text": "2"}), ("b", {"text": "3"}))
    system = make_system([reply], *tools)
    process = system.kernel.spawn("t")
    await within(doors[0].entered.wait())
    await within(doors[1].entered.wait())
    system.kernel.signal(process.pid, Signal.KILL)
    with pytest.raises(Interrupted):
        await within(system.kernel.wait(process.pid))
    assert [b["status"] for b in system.bodies("tool_result")] == ["cancelled"] * 3
    assert [len(tool.calls) for tool in tools] == [1, 1]


# System calls about processes ---------------------------------------------------


async def test_a_model_spawns_a_process_and_waits_for_its_answer(
    make_system: Make, says: Make, calls: Make
) -> None:
    scripts = {
        1: [
            calls(("spawn_process", {"task": "add"})),
            calls(("wait_process", {"pid": 2})),
            says("It is 5."),
        ],
        2: [says("5")],
    }
    system = make_system([], by_pid=scripts, has_process_calls=True)
    parent = system.kernel.spawn("t")
    assert await within(system.kernel.wait(parent.pid)) == "It is 5."
    texts = [body["text"] for body in system.bodies("tool_result")]
    assert texts == ["started process 2", "5"]
    assert system.kernel.processes.children(1) == []


async def test_parent_and_child_exchange_messages(
    make_system: Make, says: Make, calls: Make
) -> None:
    scripts = {
        1: [
            calls(("spawn_process", {"task": "add"})),
            calls(("send_message", {"pid": 2, "text": "ping"})),
            calls(("receive_message", {})),
            says("Got it."),
        ],
        2: [
            calls(("receive_message", {})),
            calls(("send_message", {"pid": 1, "text": "pong"})),
            [Gate()],
        ],
    }
    system = make_system([], by_pid=scripts, has_process_calls=True)
    parent = system.kernel.spawn("t")
    assert await within(system.kernel.wait(parent.pid)) == "Got it."
    texts = [b["text"] for b in system.bodies("tool_result")]
    assert sorted(texts) == [
        "from process 1: ping",
        "from process 2: pong",
        "sent",
        "sent",
        "started process 2",
    ]


async def test_a_message_wakes_a_process_that_waits_for_one_and_is_read_once(
    make_system: Make, says: Make, calls: Make
) -> None:
    receive = calls(("receive_message", {}), ("receive_message", {}))
    system = make_system([receive, says("Both.")], has_process_calls=True)
    process = system.kernel.spawn("t")
    await system.until(lambda: process.is_calling)
    system.kernel.send(process.pid, "first")
    await system.until(lambda: len(system.bodies("tool_result")) == 1)
    system.kernel.send(process.pid, "second")
    assert await within(system.kernel.wait(process.pid)) == "Both."
    texts = [body["text"] for body in system.bodies("tool_result")]
    assert texts == ["from the user: first", "from the user: second"]
    assert process.conversation.mailbox == []


@pytest.mark.parametrize(
    "call",
    [
        ("wait_process", {"pid": 1}),
        ("signal_process", {"pid": 1, "signal": "kill"}),
        ("send_message", {"pid": 1, "text": "x"}),
        ("wait_process", {"pid": 2}),
        ("signal_process", {"pid": 99, "signal": "kill"}),
    ],
)
async def test_a_process_acts_on_its_own_descendants_only(
    make_system: Make, says: Make, calls: Make, call: Any
) -> None:
    system = make_system(
        [], by_pid={1: [[Gate()]], 2: [calls(call), says("no")]}, has_process_calls=True
    )
    stranger = system.kernel.spawn("a")
    process = system.kernel.spawn("b")
    assert await within(system.kernel.wait(process.pid)) == "no"
    (result,) = system.bodies("tool_result")
    assert result["status"] == "failed"
    assert "none of yours" in result["text"]
    assert stranger.state is ProcessState.RUNNING


async def test_a_cycle_of_waits_ends_with_the_budget(make_system: Make, calls: Make) -> None:
    scripts = {
        1: [
            calls(("spawn_process", {"task": "wait for me"})),
            calls(("wait_process", {"pid": 2})),
        ],
        2: [calls(("receive_message", {}))],
    }
    system = make_system([], by_pid=scripts, has_process_calls=True)
    parent = system.kernel.spawn("t", budget=Budget(max_seconds=0.3))
    with pytest.raises(TaskFailed, match="max_seconds"):
        await within(system.kernel.wait(parent.pid))
    assert len(system.kernel.processes) == 0


async def test_process_calls_are_offered_only_where_they_are_asked_for(
    make_system: Make, renderer: Renderer
) -> None:
    for has_them in (False, True):
        system = make_system([], has_process_calls=has_them)
        text = renderer.text(system.kernel.start("t").context)
        assert ("spawn_process" in text) is has_them


# Random operations ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_random_signals_leave_every_process_ended_and_its_journal_sound(
    make_system: Make, says: Make, calls: Make, make_tool: Make, seed: int
) -> None:
    generator = random.Random(seed)
    reply = calls(("echo", {"text": "a"}), ("echo", {"text": "b"}))
    scripts = {pid: [reply, reply, says("end")] for pid in range(1, 9)}
    system = make_system([], make_tool(effects=frozenset({Effect.FILES})), by_pid=scripts)
    pids: list[int] = []
    for _ in range(8):
        parent = generator.choice([None, *(p for p in pids if p in system.kernel.processes)])
        pids.append(system.kernel.spawn("t", parent=parent).pid)
    for _ in range(200):
        live = [process.pid for process in system.kernel.processes]
        if not live:
            break
        kinds = [Signal.STOP, Signal.CONTINUE, Signal.STOP, Signal.CONTINUE, Signal.KILL]
        weights = [10, 10, 10, 10, 1]
        system.kernel.signal(generator.choice(live), generator.choices(kinds, weights)[0])
        for _ in range(generator.randrange(4)):
            await asyncio.sleep(0)
    for process in list(system.kernel.processes):
        if process.pid in system.kernel.processes:
            system.kernel.signal(process.pid, Signal.CONTINUE)
    await system.until(lambda: len(system.kernel.processes) == 0)
    for record in system.journal.processes():
        assert record.state == "ZOMBIE"
        events = list(system.journal.events(record.pid))
        intents = [e.body["id"] for e in events if e.kind == "tool_call"]
        results = [e.body["id"] for e in events if e.kind == "tool_result"]
        assert sorted(intents) == sorted(results)
    await system.kernel.close()
