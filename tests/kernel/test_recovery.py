"""Recovery from the journal: what a killed kernel left goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import llmos_kernel
from llmos_kernel.abi import Effect
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.fake import Gate
from llmos_kernel.errors import ConfigError, StateError
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.kernel import Limits
from llmos_kernel.process import Budget, Signal
from llmos_kernel.recovery import NotRecoverable, RecoveredProcess, rebuild

Make = Callable[..., Any]
SCRIPT = Path(__file__).with_name("crashing_kernel.py")
TOKENIZER = Path(llmos_kernel.__file__).parent / "model" / "tokenizer.json"


@pytest.fixture(scope="module")
def scenario() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crashing_kernel", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crashing_kernel"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kill a kernel at every append of the scenario and at random moments, and resume it."""
    root = tmp_path_factory.mktemp("crashes")
    delays = [f"{random.Random(seed).uniform(0.1, 1):.3f}" for seed in range(12)]
    command = [sys.executable, str(SCRIPT), str(root), str(TOKENIZER), *delays]
    subprocess.run(command, check=True, timeout=200)
    return root


def events_in(folder: Path) -> list[JournalEvent]:
    journal = Journal(folder / "journal.db")
    events = list(journal.events(1))
    journal.close()
    return events


def rebuilt(folder: Path, renderer: Renderer) -> RecoveredProcess:
    journal = Journal(folder / "journal.db")
    recovered = rebuild(list(journal.events(1)), 1, renderer, journal.blob)
    journal.close()
    return recovered


def crashed_folders(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (as it was left by the kill, as it was after the resume) of every crash."""
    for crashed in sorted(root.glob("*.crashed")):
        yield crashed, crashed.with_suffix("")


def test_every_append_of_the_scenario_was_a_place_of_a_crash(crashes: Path) -> None:
    num_appends = len(events_in(crashes / "whole")) - 1  # `spawn` comes with the process
    for place in range(1, num_appends + 1):
        assert (crashes / f"{place}-before.crashed").exists()
        assert (crashes / f"{place}-after.crashed").exists()
    assert num_appends > 30


def test_a_resumed_context_continues_the_journalled_one_to_the_same_answer(
    crashes: Path, renderer: Renderer
) -> None:
    answer = events_in(crashes / "whole")
    whole = rebuilt(crashes / "whole", renderer).conversation.context
    for crashed, resumed in crashed_folders(crashes):
        before = rebuilt(crashed, renderer).conversation.context
        after = rebuilt(resumed, renderer).conversation.context
        assert after[: len(before)] == before, crashed
        texts = [e.body["text"] for e in events_in(resumed) if e.kind == "answer"]
        assert texts == [e.body["text"] for e in answer if e.kind == "answer"], crashed
        if all(e.body.get("status") != "unknown" for e in events_in(resumed)):
            assert after == whole, crashed


def test_every_effect_happens_once_or_is_said_to_be_unknown(crashes: Path) -> None:
    statuses: Counter[str] = Counter()
    for crashed, resumed in crashed_folders(crashes):
        done = Counter((resumed / "effects").read_text().splitlines())
        events = events_in(resumed)
        results = {e.body["id"]: e.body["status"] for e in events if e.kind == "tool_result"}
        for event in events:
            if event.kind == "tool_call" and event.body["name"] == "effect":
                text = event.body["arguments"]["text"]
                status = results[event.body["id"]]
                statuses[status] += 1
                allowed = {"ok": (1,), "unknown": (0, 1), "not_run": (0,)}[status]
                assert done[f"effect {text}"] in allowed, (crashed, text, status)
    assert statuses["unknown"] >= 6
    assert statuses["ok"] > statuses["unknown"]


def test_every_result_and_message_is_consumed_once(crashes: Path, renderer: Renderer) -> None:
    for _, resumed in crashed_folders(crashes):
        events = events_in(resumed)
        for kind in ("tool_call", "tool_result"):
            ids = [e.body["id"] for e in events if e.kind == kind]
            assert len(ids) == len(set(ids)) == 7
        texts = [e.body["text"] for e in events if e.kind == "tool_result"]
        assert texts.count("from the user: hello") == 1
        recovered = rebuilt(resumed, renderer)
        assert recovered.conversation.mailbox == []
        context = renderer.text(recovered.conversation.context)
        assert context.count("from the user: hello") == 1


def test_recovering_twice_from_the_same_journal_comes_to_the_same(crashes: Path) -> None:
    for _, resumed in crashed_folders(crashes):
        copies = [events_in(resumed), events_in(Path(f"{resumed}.copy"))]
        first, second = ([(e.seq, e.kind, e.body) for e in events] for events in copies)
        assert first == second


async def test_every_prefix_of_a_journal_rebuilds_a_beginning_of_the_context(
    scenario: ModuleType, renderer: Renderer, tmp_path: Path
) -> None:
    kernel, journal, engine = scenario.make_kernel(tmp_path, renderer)
    process = kernel.spawn("do it")
    kernel.send(process.pid, "hello")
    await asyncio.wait_for(kernel.wait(process.pid), 10)
    events = list(journal.events(process.pid))
    requests = iter(engine.requests)
    for end in range(1, len(events) + 1):
        talk = rebuild(events[:end], process.pid, renderer, journal.blob).conversation
        assert process.context[: len(talk.context)] == talk.context
        if events[end - 1].kind == "step":
            said = [*next(requests).tokens, *events[end - 1].body["tokens"]]
            assert talk.context == [*said, *renderer.after_stop_ids()]
    assert talk.context == process.context
    assert (talk.num_tokens, talk.num_calls) == (process.num_tokens, 9)


async def test_a_journal_that_makes_no_sense_is_refused(
    scenario: ModuleType, renderer: Renderer, tmp_path: Path
) -> None:
    kernel, journal, _ = scenario.make_kernel(tmp_path, renderer)
    process = kernel.spawn("do it")
    kernel.send(process.pid, "hello")
    await asyncio.wait_for(kernel.wait(process.pid), 10)
    events = list(journal.events(process.pid))
    with pytest.raises(NotRecoverable, match="does not tell how it began"):
        rebuild([], process.pid, renderer, journal.blob)
    for lost in range(len(events) - 1):
        with pytest.raises(NotRecoverable):
            rebuild(events[:lost] + events[lost + 1 :], process.pid, renderer, journal.blob)
    renumbered = [
        JournalEvent(e.pid, i, e.time, e.kind, e.body)
        for i, e in enumerate(e for e in events if e.kind != "tool_result")
    ]
    with pytest.raises(NotRecoverable, match="does not follow"):
        rebuild(renumbered, process.pid, renderer, journal.blob)


async def test_forks_of_the_same_event_have_the_same_context_and_answer(
    scenario: ModuleType, renderer: Renderer, tmp_path: Path
) -> None:
    kernel, journal, engine = scenario.make_kernel(tmp_path, renderer)
    process = kernel.spawn("do it")
    kernel.send(process.pid, "hello")
    await asyncio.wait_for(kernel.wait(process.pid), 10)
    events = list(journal.events(process.pid))
    message = next(event.seq for event in events if event.kind == "message")
    for at in range(message, len(events), 3):
        twins = [kernel.fork(process.pid, at=at) for _ in range(2)]
        assert twins[0].context == twins[1].context
        assert process.context[: len(twins[0].context)] == twins[0].context
        assert engine.forks[-1] == (process.pid, twins[1].pid, len(twins[1].context))
        answers = [await asyncio.wait_for(kernel.wait(twin.pid), 10) for twin in twins]
        assert answers == [scenario.ANSWER] * 2
        assert twins[0].context == twins[1].context
    with pytest.raises(ConfigError, match="has no event 999"):
        kernel.fork(process.pid, at=999)
    await kernel.close()


async def test_a_running_process_is_forked_in_the_middle_of_its_step(
    make_system: Make, says: Make
) -> None:
    gate = Gate()
    whole = says("one two three")
    system = make_system([], by_pid={1: [[*whole[:2], gate, *whole[2:]]], 2: [whole[2:]]})
    process = system.kernel.spawn("t")
    await asyncio.wait_for(gate.reached.wait(), 10)
    system.kernel.signal(process.pid, Signal.STOP)
    await system.until(lambda: process.state == "STOPPED")
    fork = system.kernel.fork(process.pid)
    assert fork.context == process.context
    assert await asyncio.wait_for(system.kernel.wait(fork.pid), 10) == "one two three"
    assert process.state == "STOPPED"


async def test_a_process_of_a_living_kernel_cannot_be_resumed(
    make_system: Make, says: Make, tmp_path: Path
) -> None:
    system = make_system([says("x")])
    holder = (
        "import sys, pathlib; from llmos_kernel.journal import Journal;"
        "print(Journal(pathlib.Path(sys.argv[1])).add_process('t', 'fake'), flush=True);"
        "sys.stdin.read()"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", holder, str(tmp_path / "journal.db"), stdin=-1, stdout=-1
    )
    assert other.stdout is not None
    pid = int(await other.stdout.readline())
    with pytest.raises(StateError, match=f"living kernel .*{other.pid}"):
        system.kernel.resume(pid)
    await other.communicate(b"")
    with pytest.raises(NotRecoverable, match="how it began"):
        system.kernel.resume(pid)


async def test_what_has_ended_or_is_at_work_or_had_another_model_is_not_resumed(
    make_system: Make, says: Make
) -> None:
    system = make_system([says("x"), [Gate()]])
    ended = system.kernel.spawn("t")
    await asyncio.wait_for(system.kernel.wait(ended.pid), 10)
    with pytest.raises(NotRecoverable, match=r"has ended \(done\); `llmos fork 1`"):
        system.kernel.resume(ended.pid)
    working = system.kernel.spawn("t")
    with pytest.raises(NotRecoverable, match="at work already"):
        system.kernel.resume(working.pid)
    events = list(system.journal.events(ended.pid))
    events[0].body["model"] = "another"
    foreign = system.journal.add_process("t", "another", events=events[:3])
    with pytest.raises(NotRecoverable, match="'another'"):
        system.kernel.resume(foreign)


async def test_a_resumed_process_has_used_what_it_used_before(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    first = calls(("echo", {"text": "x"}))
    budget = Budget(max_tokens=len(first) + 2, max_seconds=100)
    system = make_system([first, says("one two three four")], make_tool())
    process = system.kernel.spawn("t", budget=budget, nice=3)
    system.kernel.renice(process.pid, 7)
    with pytest.raises(Exception, match="max_tokens"):
        await asyncio.wait_for(system.kernel.wait(process.pid), 10)
    events = [e for e in system.journal.events(process.pid) if e.kind != "error"]
    cut = next(i for i, e in enumerate(events) if e.kind == "tool_result") + 1
    copy = system.journal.add_process("t", "fake", events=events[:cut])
    resumed = system.kernel.resume(copy)
    assert resumed.num_tokens == len(first)
    assert (resumed.nice, resumed.tokens_left) == (7, 2)
    assert resumed.deadline is not None


async def test_children_go_on_with_their_parent(
    make_system: Make, says: Make, calls: Make, tmp_path: Path
) -> None:
    spawns = calls(("spawn_process", {"task": "add"}))
    waits = calls(("wait_process", {"pid": 2}))
    system = make_system([], by_pid={1: [spawns, waits], 2: [[Gate()]]}, has_process_calls=True)
    parent = system.kernel.spawn("t")
    await system.until(lambda: len(system.engine.requests) == 3 and parent.is_calling)
    scripts = {1: [says("So it is 5.")], 2: [says("5")]}
    successor = make_system([], by_pid=scripts, has_process_calls=True)
    resumed = successor.kernel.resume(parent.pid)
    assert await asyncio.wait_for(successor.kernel.wait(resumed.pid), 10) == "So it is 5."
    assert successor.bodies("tool_result")[-1]["text"] == "5"


# Lack of disk ---------------------------------------------------------------------


def set_room(journal: Journal, *, is_full: bool) -> None:
    connection = journal._connection  # pyright: ignore
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages if is_full else 1 << 30}")


def fill(journal: Journal, pid: int) -> None:
    """Leave no room for the least event."""
    set_room(journal, is_full=True)
    text = "x" * 2000
    while text:
        try:
            journal.store_blob(f"{pid} {random.random()} {text}".encode())
        except StateError:
            text = text[: len(text) // 2]


@pytest.mark.parametrize("is_by_signal", [True, False])
async def test_without_disk_a_process_stops_before_its_effect_and_goes_on_when_there_is_room(
    make_system: Make, says: Make, calls: Make, make_tool: Make, is_by_signal: bool
) -> None:
    tool = make_tool(effects=frozenset({Effect.FILES}))
    gate = Gate()
    reply = calls(("echo", {"text": "some words " * 300}))
    # The step that could not be journalled is made again.
    system = make_system(
        [[gate, *reply], reply, says("Done.")], tool, limits=Limits(max_step_tokens=4000)
    )
    process = system.kernel.spawn("t")
    await asyncio.wait_for(gate.reached.wait(), 10)
    fill(system.journal, process.pid)
    waiter = asyncio.ensure_future(system.kernel.wait(process.pid))
    await asyncio.sleep(0)
    gate.opened.set()
    with pytest.raises(StateError, match="free space"):
        await asyncio.wait_for(waiter, 10)
    assert process.state == "STOPPED"
    assert tool.calls == []
    with pytest.raises(StateError):
        await system.kernel.wait(process.pid)
    set_room(system.journal, is_full=False)
    if is_by_signal:
        system.kernel.signal(process.pid, Signal.CONTINUE)
    else:
        system.kernel.resume(process.pid)
    assert await asyncio.wait_for(system.kernel.wait(process.pid), 10) == "Done."
    assert len(tool.calls) == 1


async def test_a_result_that_the_journal_could_not_take_is_taken_later_not_made_again(
    make_system: Make, says: Make, calls: Make, make_tool: Make
) -> None:
    def behave(arguments: Any) -> str:
        fill(system.journal, 1)
        return "y" * 3000

    tool = make_tool(behave, effects=frozenset({Effect.FILES}))
    system = make_system([calls(("echo", {"text": "x"})), says("Done.")], tool)
    process = system.kernel.spawn("t")
    await system.until(lambda: process.failure is not None)
    set_room(system.journal, is_full=False)
    system.kernel.signal(process.pid, Signal.CONTINUE)
    assert await asyncio.wait_for(system.kernel.wait(process.pid), 10) == "Done."
    assert len(tool.calls) == 1
    assert [b["status"] for b in system.bodies("tool_result")] == ["ok"]


async def test_a_process_without_disk_is_resumed_by_the_next_kernel(
    make_system: Make, says: Make
) -> None:
    gate = Gate()
    system = make_system([[gate, *says("never said " * 300)]])
    process = system.kernel.spawn("t")
    await asyncio.wait_for(gate.reached.wait(), 10)
    fill(system.journal, process.pid)
    gate.opened.set()
    await system.until(lambda: process.failure is not None)
    await asyncio.wait_for(system.kernel.close(), 10)
    successor = make_system([says("Said.")])
    resumed = successor.kernel.resume(process.pid)
    assert await asyncio.wait_for(successor.kernel.wait(resumed.pid), 10) == "Said."


async def test_a_read_only_journal_stops_a_process_and_can_be_mended(
    make_system: Make, says: Make
) -> None:
    gate = Gate()
    system = make_system([[gate, *says("x")], says("Said.")])
    process = system.kernel.spawn("t")
    await asyncio.wait_for(gate.reached.wait(), 10)
    connection = system.journal._connection  # pyright: ignore
    connection.execute("PRAGMA query_only = 1")
    gate.opened.set()
    await system.until(lambda: process.failure is not None)
    assert process.state == "STOPPED"
    connection.execute("PRAGMA query_only = 0")
    system.kernel.signal(process.pid, Signal.CONTINUE)
    assert await asyncio.wait_for(system.kernel.wait(process.pid), 10) == "Said."
