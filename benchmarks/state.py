"""State: what a system call costs without its tool, a process that waits, a fork, a swap."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.llmos_engine import EngineServer, warm_engine
from benchmarks.method import (
    Comparison,
    Spread,
    Variant,
    check_equal,
    environment,
    measure_rounds,
    save,
)
from benchmarks.models import (
    EMBEDDED_FOLDER,
    TIMED_DTYPE,
    BenchmarkModel,
    embedded_model,
    random_model,
)
from benchmarks.transformers_generate import generate, load_model
from llmos_kernel.abi import (
    CallContext,
    Driver,
    Effect,
    JsonObject,
    Message,
    Output,
    Role,
    ToolCall,
    ToolSpec,
)
from llmos_kernel.dialects.renderer import Renderer, detect_dialect
from llmos_kernel.engine.fake import FakeEngine
from llmos_kernel.engine.torch.engine import TorchEngine
from llmos_kernel.journal import Journal
from llmos_kernel.kernel import Kernel, Limits, ignore
from llmos_kernel.policy import approve_all
from llmos_kernel.syscalls import OwnedDriver, SyscallTable

CALLS_PER_TURN = 50
TURNS = 10
NUM_BATCHES = 5
BATCH_PROCESSES = 2000
NUM_WAITING = NUM_BATCHES * BATCH_PROCESSES
WAKES = 5
TOOL = "work"
NUM_HELD = 560
NUM_CHECKED = 8
PARENT, CHILD, NOBODY = 0, 1, 2
PREFILL, FORK = "prefill", "fork"

METHOD = f"""
The kernel over an engine that says prepared tokens at once, its journal on the disk. A system call:
{TURNS} turns of {CALLS_PER_TURN} calls, from the first token of the call to the first token after
its result, the tool doing nothing; with effects, the intent is on the disk before the tool runs.
Waiting: {NUM_WAITING:,} processes whose tool has not answered, memory by the growth of the resident
set in {NUM_BATCHES} batches, without keys and values; the time from one tool's answer to the first
token after it. A held context: {NUM_HELD} tokens in {TIMED_DTYPE}, one compute thread; its prefill,
a fork of it, its swap to a file, and one more token with and without that swap before it.
"""


class Nothing:
    """A tool that does nothing, with these effects."""

    def __init__(self, effects: frozenset[Effect]) -> None:
        self.spec = _spec(effects)

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        return Output("done")

    async def close(self) -> None:
        """Hold nothing, so give nothing back."""


class Waiting:
    """A tool that answers a process when it is told to."""

    def __init__(self) -> None:
        self.spec = _spec(frozenset())
        self._answers: dict[int, asyncio.Future[Output]] = {}
        self._calls = asyncio.Semaphore(0)

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        answer = asyncio.get_running_loop().create_future()
        self._answers[context.pid] = answer
        self._calls.release()
        return await answer

    async def wait_for_calls(self, count: int) -> None:
        for _ in range(count):
            await self._calls.acquire()

    def waiting(self) -> list[int]:
        return list(self._answers)

    def answer(self, pid: int) -> None:
        self._answers.pop(pid).set_result(Output("done"))

    async def close(self) -> None:
        """Hold nothing, so give nothing back."""


def _spec(effects: frozenset[Effect]) -> ToolSpec:
    properties = {"item": {"type": "string", "description": "what to work on"}}
    parameters = {"type": "object", "properties": properties, "required": ["item"]}
    return ToolSpec(TOOL, "Work on an item.", parameters, effects=effects, timeout_s=3600)


class Script:
    """What the model says, as tokens: a call, or an answer."""

    def __init__(self) -> None:
        tokenizer = Tokenizer.from_file(str(EMBEDDED_FOLDER / "tokenizer.json"))
        self.renderer = Renderer(tokenizer, detect_dialect(tokenizer))
        call = ToolCall("", TOOL, {"item": "letter"})
        self.call = self.renderer.assistant_ids(Message(Role.ASSISTANT, calls=(call,)))
        self.answer = self.renderer.assistant_ids(Message(Role.ASSISTANT, "Done."))


@asynccontextmanager
async def _system(
    script: Script,
    driver: Driver,
    replies: Iterable[Sequence[int]],
    on_text: Callable[[int, str], None] = ignore,
) -> AsyncGenerator[tuple[Kernel, FakeEngine]]:
    engine = FakeEngine(replies)
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(
            engine,
            script.renderer,
            SyscallTable([OwnedDriver(driver, "the benchmark")]),
            Journal(Path(folder) / "journal.db"),
            workspace=Path(folder),
            model="fake",
            approve=approve_all,
            limits=Limits(max_steps=CALLS_PER_TURN + 1),
            on_text=on_text,
        )
        yield kernel, engine
        await kernel.close()


# System calls -----------------------------------------------------------------


def call_variant(script: Script, name: str, effects: frozenset[Effect]) -> Variant:
    """Return a variant that measures the microseconds of one call."""

    async def measure_call(index: int) -> Mapping[str, float]:
        turn = [script.call] * CALLS_PER_TURN + [script.answer]
        async with _system(script, Nothing(effects), turn * TURNS) as (kernel, _):
            start = time.perf_counter()
            for _ in range(TURNS):
                await kernel.turn(kernel.start(""), "work")
            elapsed_s = time.perf_counter() - start
        return {name: 1e6 * elapsed_s / (TURNS * CALLS_PER_TURN)}

    return measure_call


# Waiting processes ------------------------------------------------------------


async def measure_waiting(script: Script) -> tuple[Comparison, Comparison]:
    """Return the KiB that a waiting process takes, and the milliseconds until it runs again."""
    driver = Waiting()
    replies = itertools.chain(
        itertools.repeat(script.call, NUM_WAITING), itertools.repeat(script.answer)
    )
    has_spoken = asyncio.Event()
    async with _system(script, driver, replies, lambda pid, text: has_spoken.set()) as (
        kernel,
        engine,
    ):
        turns: list[asyncio.Task[str]] = []
        sizes = [_resident_kib()]
        for _ in range(NUM_BATCHES):
            turns += await _add_waiting(kernel, engine, driver)
            sizes.append(_resident_kib())
        wakes = [await _wake_ms(driver, has_spoken) for _ in range(WAKES)]
        for pid in driver.waiting():
            driver.answer(pid)
        await asyncio.gather(*turns)
    name = f"{NUM_WAITING:,} waiting"
    grown = [(after - before) / BATCH_PROCESSES for before, after in itertools.pairwise(sizes)]
    memory = Comparison("memory for each process", "KiB", [{name: size} for size in grown])
    return memory, Comparison("until one runs again", "ms", [{name: wake} for wake in wakes])


async def _add_waiting(
    kernel: Kernel, engine: FakeEngine, driver: Waiting
) -> list[asyncio.Task[str]]:
    """Start a batch of processes, and return their turns once they all wait."""
    turns = [
        asyncio.create_task(kernel.turn(kernel.start(""), "work")) for _ in range(BATCH_PROCESSES)
    ]
    await driver.wait_for_calls(BATCH_PROCESSES)
    engine.requests.clear()
    return turns


async def _wake_ms(driver: Waiting, has_spoken: asyncio.Event) -> float:
    has_spoken.clear()
    waiting = driver.waiting()
    start = time.perf_counter()
    driver.answer(waiting[len(waiting) // 2])
    await has_spoken.wait()
    return 1000 * (time.perf_counter() - start)


def _resident_kib() -> float:
    gc.collect()
    num_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return num_pages * os.sysconf("SC_PAGE_SIZE") / 1024


# Held contexts ----------------------------------------------------------------


async def check_held(model: BenchmarkModel) -> None:
    """Refuse to go on where a fork or a process that was swapped out goes on in another way.

    Raises:
        RuntimeError: see `check_equal`.
    """
    context = model.random_tokens(NUM_HELD, seed=0)
    (reference,) = generate(load_model(model.folder, "float32"), [context], NUM_CHECKED)
    engine = await warm_engine(model, "float32")
    server = EngineServer(engine)
    outputs = {"llmos": await server.turn(PARENT, context, NUM_CHECKED)}
    engine.fork(PARENT, CHILD, NUM_HELD)
    outputs["the fork"] = await server.turn(CHILD, context, NUM_CHECKED)
    engine.release(CHILD)
    await engine.swap_out(PARENT)
    outputs["the swapped process"] = await server.turn(PARENT, context, NUM_CHECKED)
    engine.close()
    check_equal(outputs, reference)


async def measure_held(model: BenchmarkModel) -> Comparison:
    """Return the milliseconds that a context costs which the engine holds, or does not."""
    engine = await warm_engine(model, TIMED_DTYPE)
    server = EngineServer(engine)

    async def held(index: int) -> Mapping[str, float]:
        context = model.random_tokens(NUM_HELD, seed=index + 1)
        found = {
            PREFILL: await _ms(server.turn(PARENT, context, 1)),
            FORK: await _ms(_forked(engine)),
        }
        engine.release(CHILD)
        found["a token"] = await _ms(server.turn(PARENT, context, 1))
        found["swap out"] = await _ms(engine.swap_out(PARENT))
        found["a token after swap"] = await _ms(server.turn(PARENT, context, 1))
        return found

    rounds = await measure_rounds([held])
    engine.close()
    return Comparison(f"{model.title}: held context", "ms", rounds)


async def _forked(engine: TorchEngine) -> None:
    """Fork, and wait until it is done: the engine acts on what it is asked in that order."""
    engine.fork(PARENT, CHILD, NUM_HELD)
    await engine.swap_out(NOBODY)


async def _ms(action: Awaitable[object]) -> float:
    start = time.perf_counter()
    await action
    return 1000 * (time.perf_counter() - start)


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return its figures."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    script = Script()
    ratios: dict[str, float] = {}
    free, effectful = "without effects", "with effects"
    calls = [
        call_variant(script, free, frozenset()),
        call_variant(script, effectful, frozenset({Effect.FILES})),
    ]
    # First: memory that something else has freed would hide what the processes take.
    memory, wake = await measure_waiting(script)
    system_call = Comparison("a system call", "µs", await measure_rounds(calls))
    held: list[Comparison] = []
    for model in (embedded_model(), random_model()):
        await check_held(model)
        held.append(await measure_held(model))
        forks = Spread.of([each[PREFILL] / each[FORK] for each in held[-1].rounds])
        ratios[f"prefill_vs_fork{model.suffix}"] = forks.median
    save("state", METHOD, [system_call, memory, wake, *held], setting)
    return ratios | {
        "syscall_us": system_call.values()[free].median,
        "syscall_with_effects_us": system_call.values()[effectful].median,
        "waiting_kib": _only(memory).median,
        "wake_ms": _only(wake).median,
    }


def _only(comparison: Comparison) -> Spread:
    (value,) = comparison.values().values()
    return value


if __name__ == "__main__":
    print(json.dumps(measure()))
