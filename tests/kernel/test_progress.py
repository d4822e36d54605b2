from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from llmos_kernel.abi import CallContext, JsonObject, Output
from llmos_kernel.progress import Progress
from tests.kernel.conftest import ScriptedTool, System, tool_spec

MakeSystem = Callable[..., System]


class Reporting(ScriptedTool):
    """A driver whose calls run `behave` with their context."""

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        return Output(str(await self.behave({"context": context})))  # pyright: ignore[reportArgumentType]


def reporting(behave: Callable[[CallContext], Any]) -> Reporting:
    return Reporting(tool_spec(), lambda arguments: behave(arguments["context"]))  # pyright: ignore[reportArgumentType]


async def test_people_see_how_far_a_call_is_and_the_journal_does_not(
    make_system: MakeSystem, says: Any, calls: Any
) -> None:
    seen: list[Progress] = []

    async def behave(context: CallContext) -> str:
        context.report("step 1\nof 2")
        return "done"

    system = make_system(
        [calls(("echo", {"text": "x"})), says("Done.")],
        reporting(behave),
        on_progress=seen.append,
    )
    process = system.kernel.spawn("go")
    await system.kernel.wait(process.pid)
    (call,) = system.bodies("tool_call")
    assert [(p.pid, p.call_id, p.text) for p in seen] == [(process.pid, call["id"], "step 1 of 2")]
    assert "progress" not in {event.kind for event in system.journal.events(process.pid)}
    await system.kernel.close()


async def test_a_flood_of_lines_from_a_thread_is_told_by_its_first_and_its_last(
    make_system: MakeSystem, says: Any, calls: Any
) -> None:
    seen: list[Progress] = []
    loop_thread = threading.get_ident()
    told_in: set[int] = set()

    def see(progress: Progress) -> None:
        seen.append(progress)
        told_in.add(threading.get_ident())

    async def behave(context: CallContext) -> str:
        await asyncio.to_thread(lambda: [context.report(f"step {n}") for n in range(10_000)])
        return "done"

    system = make_system(
        [calls(("echo", {"text": "x"})), says("Done.")], reporting(behave), on_progress=see
    )
    await system.kernel.wait(system.kernel.spawn("go").pid)
    assert seen[-1].text == "step 9999"
    assert len(seen) < 20
    assert told_in == {loop_thread}
    await system.kernel.close()


async def test_what_is_reported_after_the_end_of_a_call_is_dropped(
    make_system: MakeSystem, says: Any, calls: Any
) -> None:
    seen: list[Progress] = []
    contexts: list[CallContext] = []

    async def behave(context: CallContext) -> str:
        contexts.append(context)
        return "done"

    system = make_system(
        [calls(("echo", {"text": "x"})), says("Done.")], reporting(behave), on_progress=seen.append
    )
    process = system.kernel.spawn("go")
    await system.kernel.wait(process.pid)
    contexts[0].report("still at work")
    await asyncio.sleep(0)
    assert seen == []
    await system.kernel.close()
