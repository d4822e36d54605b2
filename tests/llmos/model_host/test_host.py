from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llmos.model_host import HostSettings
from llmos_kernel.errors import RetryCall, ToolFailed
from tests.llmos.model_host.conftest import GUESTS, LIMIT_S, Bench, Reports, let_go, room_for

KERNEL = """
import asyncio, sys
from llmos.model_host import HostedModel, ModelHost

def report(line):
    print(line, flush=True)

async def main(factory, checkpoint, pipe):
    model = HostedModel("the model", factory, checkpoint)
    host = ModelHost()
    told = await host.ask(model, {"do": "tell"}, report=report)
    print(told.value["pid"], flush=True)
    await host.ask(model, {"do": "wait", "until": pipe}, report=report)

asyncio.run(main(*sys.argv[1:]))
"""


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    """Wait until a process has ended; a descriptor of it becomes readable then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(LIMIT_S):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


# Asking -------------------------------------------------------------------------


async def test_a_model_is_loaded_by_its_first_call_and_kept_for_the_next(bench: Bench) -> None:
    model, reports = bench.model("drawing"), Reports()
    first = await bench.ask(model, report=reports)
    second = await bench.ask(model)
    assert first["pid"] == second["pid"] != os.getpid()
    assert second["num_calls"] == 2
    assert reports.lines == ["loading"]


async def test_a_process_gives_way_to_the_kernel_and_loads_without_the_network(
    bench: Bench,
) -> None:
    told = await bench.ask(bench.model("drawing"))
    assert told["nice"] == min(os.nice(0) + 10, 19)
    assert told["threads"] == "1"
    assert told["offline"] == "1"


async def test_files_go_in_and_come_out(bench: Bench) -> None:
    model = bench.model("drawing")
    files = {"a.png": bytes(range(256)), "b.wav": b""}
    reply = await bench.host.ask(model, {"do": "copy"}, files, report=print)
    assert dict(reply.files) == {"a-2.png": bytes(range(256)), "b-2.wav": b""}


async def test_equal_models_share_a_process_and_others_do_not(bench: Bench) -> None:
    model = bench.model("drawing")
    one, same, other = await asyncio.gather(
        bench.ask(model), bench.ask(replace(model)), bench.ask(bench.model("looking"))
    )
    assert one["pid"] == same["pid"] != other["pid"]


async def test_calls_of_one_model_wait_for_each_other_and_other_models_go_on(
    bench: Bench,
) -> None:
    drawing, looking = bench.model("drawing"), bench.model("looking")
    work, pipe = await bench.busy(drawing)
    queued = asyncio.create_task(bench.ask(drawing))
    await bench.ask(looking)
    assert not work.done() and not queued.done()
    await let_go(pipe)
    assert (await work).value["num_calls"] == 1
    assert (await queued)["num_calls"] == 2


# Going wrong --------------------------------------------------------------------


async def test_what_a_model_says_on_purpose_arrives_as_it_is_and_it_lives_on(
    bench: Bench,
) -> None:
    model = bench.model("drawing")
    with pytest.raises(ToolFailed, match=r"^it cannot be done$"):
        await bench.ask(model, "fail")
    with pytest.raises(RetryCall, match=r"^ask otherwise$"):
        await bench.ask(model, "refuse")
    with pytest.raises(ToolFailed, match=r"^the drawing model broke: KeyError: 'it'$"):
        await bench.ask(model, "break")
    assert (await bench.ask(model))["num_calls"] == 4


@pytest.mark.parametrize(
    ("do", "line"),
    [
        ("die", "ended with exit status 3: the last words; the next call starts it anew"),
        ("be killed", "was ended by the system, most likely for want of memory"),
        ("allocate", "ran out of memory: ask for less, or end what else runs"),
    ],
)
async def test_a_process_that_ends_is_one_clear_line_and_the_next_call_starts_anew(
    bench: Bench, do: str, line: str
) -> None:
    model = bench.model("drawing")
    first = await bench.ask(model)
    with pytest.raises(ToolFailed) as caught:
        await bench.ask(model, do)
    assert str(caught.value) == f"the drawing model {line}"
    again = await bench.ask(model)
    assert again["num_calls"] == 1
    assert again["pid"] != first["pid"]


async def test_a_model_that_died_while_idle_is_started_anew_without_a_word(bench: Bench) -> None:
    model = bench.model("drawing")
    pid = int(str((await bench.ask(model))["pid"]))
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    again = await bench.ask(model)
    assert again["pid"] != pid


async def test_a_checkpoint_that_is_not_there_is_told_without_a_process(bench: Bench) -> None:
    model = replace(bench.model("drawing"), checkpoint="/nowhere/at-all")
    with pytest.raises(ToolFailed, match=r"there is no '/nowhere/at-all'; name another checkpoint"):
        await bench.ask(model)


async def test_a_checkpoint_that_cannot_be_loaded_is_told_in_one_line(bench: Bench) -> None:
    model = replace(bench.model("drawing"), factory=f"{GUESTS}:unloadable")
    with pytest.raises(ToolFailed) as caught:
        await bench.ask(model)
    assert str(caught.value) == (
        f"the drawing model cannot be loaded from {model.checkpoint!r}: ValueError: no weights in "
        f"{model.checkpoint}; check that checkpoint, or name another in the settings"
    )


async def test_a_cancelled_call_kills_its_process(bench: Bench) -> None:
    model = bench.model("drawing")
    pid = int(str((await bench.ask(model))["pid"]))
    work, _ = await bench.busy(model)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not is_alive(pid)
    assert (await bench.ask(model))["num_calls"] == 1


async def test_a_call_that_is_cancelled_in_the_queue_leaves_the_running_one_alone(
    bench: Bench,
) -> None:
    model = bench.model("drawing")
    work, pipe = await bench.busy(model)
    queued = asyncio.create_task(bench.ask(model))
    await asyncio.sleep(0)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    await let_go(pipe)
    assert (await work).value["num_calls"] == 1


async def test_closing_ends_all_processes(bench: Bench) -> None:
    pids = [int(str((await bench.ask(bench.model(name)))["pid"])) for name in ("one", "two")]
    await bench.host.close()
    assert not any(map(is_alive, pids))


async def test_a_model_at_work_ends_when_its_kernel_is_killed(tmp_path: Path, bench: Bench) -> None:
    model, pipe = bench.model("drawing"), tmp_path / "pipe"
    os.mkfifo(pipe)
    kernel = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KERNEL, model.factory, model.checkpoint, str(pipe)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert kernel.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await kernel.stdout.readline() == b"loading\n"
        pid = int(await kernel.stdout.readline())
        assert await kernel.stdout.readline() == b"waiting\n"
    assert is_alive(pid)
    kernel.kill()
    await kernel.wait()
    await gone(pid)
    assert not is_alive(pid)


# Memory -------------------------------------------------------------------------


async def test_the_least_recently_used_idle_model_ends_when_room_is_short(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(room_for(750))
    one, two = bench.model("one", 150), bench.model("two", 150)
    first, second = await bench.ask(one), await bench.ask(two)
    assert (await bench.ask(one))["pid"] == first["pid"]  # now `two` is the older
    await bench.ask(bench.model("three", 150))
    assert not is_alive(int(str(second["pid"])))
    assert (await bench.ask(one))["pid"] == first["pid"]


async def test_a_model_at_work_is_never_ended_and_the_newcomer_waits(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(room_for(600))
    old, new = bench.model("old", 220), bench.model("new", 150)
    work, pipe = await bench.busy(old)
    reports = Reports()
    newcomer = asyncio.create_task(bench.ask(new, report=reports))
    await reports.has("waiting until another model is done, for its memory")
    assert not work.done() and not newcomer.done()
    await let_go(pipe)
    pid = int(str((await work).value["pid"]))
    assert (await newcomer)["num_calls"] == 1
    assert not is_alive(pid)


async def test_a_model_that_can_never_fit_is_refused_with_the_setting_to_change(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(room_for(600))
    model = bench.model("drawing")
    weights = Path(model.checkpoint, "model.safetensors")
    weights.touch()
    os.truncate(weights, 1 << 30)  # sparse: it takes no disk
    with pytest.raises(ToolFailed) as caught:
        await bench.ask(model)
    line = str(caught.value)
    assert line.startswith("the drawing model needs about 2,647 MB, and there are ")
    assert line.endswith("raise the setting models.memory_mb, or name a smaller checkpoint")


async def test_a_model_that_turns_out_too_large_is_ended_and_refused(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(room_for(550))
    model = bench.model("drawing", 600)
    for _ in range(2):  # the second time its size is known before it is loaded
        with pytest.raises(ToolFailed, match=r"needs about 6\d\d MB.*models\.memory_mb"):
            await bench.ask(model)
    assert (await bench.ask(bench.model("small")))["num_calls"] == 1


async def test_a_model_that_has_grown_beyond_the_bound_ends_when_idle_and_can_be_asked_again(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(room_for(550))
    model = bench.model("drawing")
    grown = await bench.ask(model, "grow", mb="600")
    await gone(int(str(grown["pid"])))
    assert not is_alive(int(str(grown["pid"])))
    assert (await bench.ask(model))["num_calls"] == 1


async def test_a_model_that_nobody_asks_any_more_ends(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(HostSettings(memory_mb=None, idle_s=0.05))
    pid = int(str((await bench.ask(bench.model("drawing")))["pid"]))
    await gone(pid)
    assert not is_alive(pid)
