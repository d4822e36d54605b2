"""A kernel that kills itself, for the tests of recovery: a script and the parts of its scenario.

    python crashing_kernel.py FOLDER TOKENIZER [SECONDS ...]

Runs the scenario in FOLDER/whole undisturbed; then once for each place in it, killed by SIGKILL
before or after that append to the journal; then once for each of SECONDS, killed that long after
its start. After each kill it copies the folder and lets a new kernel resume in both. Each run is a
process of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from tokenizers import Tokenizer

from llmos_kernel.abi import CallContext, Effect, JsonObject, Output, ToolCall, ToolSpec
from llmos_kernel.dialects.dialect import EMBEDDED
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.journal import Journal, JournalEvent
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import approve_all
from llmos_kernel.recovery import NotRecoverable
from llmos_kernel.syscalls import OwnedDriver, SyscallTable
from llmos_kernel.tool_choice import ToolChoice

ANSWER = "All done."


class GreedyEngine(FakeEngine):
    """Says what follows from the context alone: the n-th script after n assistant steps."""

    def __init__(self, renderer: Renderer, scripts: Sequence[Sequence[int]]) -> None:
        super().__init__()
        (self._open_id,) = renderer.assistant_open_ids()
        self._replies = scripts

    async def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        self.requests.append(request)
        tokens = list(request.tokens)
        num_said = len(tokens) - 1 - max(i for i, t in enumerate(tokens) if t == self._open_id)
        script = self._replies[tokens.count(self._open_id) - 1]
        for token_id in script[num_said:][: request.max_new_tokens]:
            await asyncio.sleep(0)
            yield token_id


class FileTool:
    """Appends its text to the file `effects` where it has effects, and says it back."""

    def __init__(self, name: str, folder: Path, **options: Any) -> None:
        schema = {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        }
        self.spec = ToolSpec(name, "Do something.", schema, **options)
        self._folder = folder

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        if self.spec.effects:
            with (self._folder / "effects").open("a") as file:
                file.write(f"{self.spec.name} {arguments['text']}\n")
        await asyncio.sleep(0)
        return Output(f"{self.spec.name} {arguments['text']}")

    async def close(self) -> None:
        pass


def replies(renderer: Renderer) -> list[list[int]]:
    """Return what the model says in the scenario's six steps."""

    def calls(*bodies: tuple[str, JsonObject] | str) -> list[int]:
        ids: list[int] = []
        for body in bodies:
            text = body if isinstance(body, str) else EMBEDDED.call_body(ToolCall("", *body))
            ids += [renderer.call_open_id, *renderer.content_ids(text), renderer.call_close_id]
        return [*ids, renderer.stop_id]

    return [
        calls(("effect", {"text": "a"}), ("look", {"text": "b"})),
        calls(("receive_message", {})),
        calls(("again", {"text": "c"})),
        calls(("effect", {"text": "d"}), ("effect", {"text": "e"})),
        calls(("look", {"text": "f"}), "{bad", ("effect", {"text": "never"})),
        [*renderer.content_ids(ANSWER), renderer.stop_id],
    ]


MakeKernel: TypeAlias = Callable[[Path, Renderer], tuple[Kernel, Journal, FakeEngine]]


def make_kernel(
    folder: Path,
    renderer: Renderer,
    on_event: Callable[[JournalEvent], None] = lambda e: None,
    *,
    tool_choice: ToolChoice | None = None,
) -> tuple[Kernel, Journal, GreedyEngine]:
    """Return a kernel whose journal and effects are in a folder."""
    journal = Journal(folder / "journal.db")
    engine = GreedyEngine(renderer, replies(renderer))
    files = frozenset({Effect.FILES})
    tools = [
        FileTool("effect", folder, effects=files),
        FileTool("again", folder, effects=files, is_repeatable=True),
        FileTool("look", folder, effects=frozenset[Effect]()),
    ]
    table = SyscallTable(OwnedDriver(tool, "the test") for tool in tools)
    kernel = Kernel(
        engine,
        renderer,
        table,
        journal,
        workspace=folder,
        model="greedy",
        approve=approve_all,
        has_process_calls=True,
        tool_choice=tool_choice,
        on_event=on_event,
    )
    return kernel, journal, engine


async def run(folder: Path, renderer: Renderer, make: MakeKernel = make_kernel) -> None:
    """Run the scenario to its end."""
    kernel, _, _ = make(folder, renderer)
    process = kernel.spawn("do it")
    kernel.send(process.pid, "hello")
    assert await kernel.wait(process.pid) == ANSWER
    await kernel.close()


async def resume(folder: Path, renderer: Renderer, make: MakeKernel = make_kernel) -> None:
    """Resume the scenario in a new kernel and run it to its end."""
    kernel, journal, _ = make(folder, renderer)
    has_message = any(event.kind == "message" for event in journal.events(1))
    with suppress(NotRecoverable):
        kernel.resume(1)
        if not has_message:
            kernel.send(1, "hello")
    assert await kernel.wait(1) == ANSWER
    await kernel.close()


def kill_at(place: int, *, is_before: bool) -> None:
    """Have this process killed at its append number `place` to a journal."""
    append = Journal.append
    number = 0

    def killing(self: Journal, *args: Any, **options: Any) -> JournalEvent:
        nonlocal number
        number += 1
        if number == place and is_before:
            os.kill(os.getpid(), signal.SIGKILL)
        event = append(self, *args, **options)
        if number == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return event

    Journal.append = killing


def in_process(work: Callable[[], Any], *, kill_after_s: float | None = None) -> int:
    """Do work in a forked process and return its wait status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.run(work())
            status = 0
        finally:
            os._exit(status)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def crash_and_resume(
    folder: Path, crash: Callable[[], int], renderer: Renderer, make: MakeKernel
) -> bool:
    """Return whether the crash was one; then what is left has been resumed, twice."""
    folder.mkdir()
    if crash() == 0:
        return False
    crashed, copy = Path(f"{folder}.crashed"), Path(f"{folder}.copy")
    shutil.copytree(folder, crashed)
    shutil.copytree(folder, copy)
    journal = Journal(crashed / "journal.db")
    has_process = bool(journal.processes())
    journal.close()
    if not has_process:
        shutil.rmtree(crashed)
        return True
    for each in (folder, copy):
        assert in_process(lambda each=each: resume(each, renderer, make)) == 0, each
    return True


def main(
    root: Path,
    tokenizer: str,
    delays: Sequence[str],
    make: MakeKernel = make_kernel,
    places: Iterable[int] = itertools.count(1),
) -> None:
    renderer = Renderer(Tokenizer.from_file(tokenizer), EMBEDDED)
    (root / "whole").mkdir()
    started = time.monotonic()
    assert in_process(lambda: run(root / "whole", renderer, make)) == 0
    whole_s = time.monotonic() - started
    for place in places:
        has_crashed = True
        for is_before in (True, False):
            folder = root / f"{place}-{'before' if is_before else 'after'}"

            async def killed(
                folder: Path = folder, place: int = place, is_before: bool = is_before
            ) -> None:
                kill_at(place, is_before=is_before)
                await run(folder, renderer, make)

            has_crashed = crash_and_resume(
                folder, lambda killed=killed: in_process(killed), renderer, make
            )
        if not has_crashed:
            break
    for number, share in enumerate(delays):
        folder = root / f"random-{number}"
        crash_and_resume(
            folder,
            lambda folder=folder, share=share: in_process(
                lambda: run(folder, renderer, make), kill_after_s=float(share) * whole_s
            ),
            renderer,
            make,
        )
    assert "torch" not in sys.modules


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
