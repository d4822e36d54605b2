"""The tool over its worker process: limits, cancellation, replacement, start and end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from llmos.sdk import CallContext, Driver, Effect, RetryCall, ToolFailed, tools_of
from llmos_tools.calculate import Calculate, process
from llmos_tools.calculate.process import WorkerGone, WorkerProcess

CONTEXT = CallContext(pid=1, workspace=Path("/nowhere"))
BOUND_S = 20.0
SEMIPRIME = f"factorint({(10**99 + 289) * (10**100 + 267)})"


@pytest.fixture
async def calculator() -> AsyncIterator[Calculate]:
    calculator = Calculate()
    await calculator.open()
    yield calculator
    await calculator.close()


async def ask(calculator: Calculate, expression: str) -> str:
    async with asyncio.timeout(BOUND_S):
        return (await calculator.calculate(expression, CONTEXT)).text


async def worker_pid(calculator: Calculate) -> int:
    starting = calculator._starting  # pyright: ignore[reportPrivateUsage]
    assert starting is not None
    return (await starting).pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_kernel_reads_the_words_that_the_model_was_trained_on() -> None:
    (driver,) = tools_of(Calculate)
    assert driver.spec.name == "calculate"
    assert driver.spec.description == "Work out maths exactly."
    assert driver.spec.parameters == {
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "in sympy syntax"}},
        "required": ["expression"],
        "additionalProperties": False,
    }
    assert driver.spec.effects == {Effect.FILES}
    assert driver.spec.is_repeatable
    assert driver.spec.timeout_s == 10


async def test_the_driver_opens_answers_and_closes() -> None:
    driver: Driver = tools_of(Calculate)[0]
    try:
        async with asyncio.timeout(BOUND_S):
            output = await driver.call({"expression": "17*24"}, CONTEXT)
        assert output.text == "408"
    finally:
        await driver.close()


def test_importing_the_tool_imports_no_sympy() -> None:
    code = "import sys, llmos_tools.calculate; print('sympy' in sys.modules)"
    paths = os.pathsep.join(path for path in sys.path if path)
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=True,
    )
    assert run.stdout.strip() == "False"


async def test_one_worker_answers_many_calls(calculator: Calculate) -> None:
    pid = await worker_pid(calculator)
    answers = await asyncio.gather(*(ask(calculator, f"{n}*2") for n in range(20)))
    assert answers == [str(n * 2) for n in range(20)]
    assert await worker_pid(calculator) == pid


async def test_a_call_without_open_starts_the_worker() -> None:
    calculator = Calculate()
    try:
        assert await ask(calculator, "1+1") == "2"
    finally:
        await calculator.close()


@pytest.mark.parametrize(
    ("expression", "error", "text"),
    [
        ("foo", RetryCall, "unknown name 'foo'"),
        ("1/0", ToolFailed, "division by zero"),
        ("9**9**9**9", ToolFailed, "too large"),
        ("lambda: 0", RetryCall, "lambda"),
        ("__import__('os').system('x')", RetryCall, "not understood"),
        ("(" * 10_000 + ")" * 10_000, RetryCall, "20000 characters"),
        ("1" * 1_000_000, RetryCall, "1000000 characters"),
    ],
)
async def test_errors_cross_the_pipe_with_their_type(
    calculator: Calculate, expression: str, error: type[Exception], text: str
) -> None:
    await worker_pid(calculator)
    started = time.monotonic()
    with pytest.raises(error, match=text):
        await ask(calculator, expression)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "expression",
    [
        SEMIPRIME,
        "factorint(factorint(6).subs(2, 3))",
        "(x**(10**9)).subs(x, 3)",
        "Sum(1/k, (k, 1, 10**7))",
        "isprime(10**50000 + 1)",
        "((10**99999 + 1)" + "*(10**99999 + 1)" * 500 + ")",
        "diff(exp(x**2)*sin(x), x, 10000)",
        "solve(x**50 + x**49 + y**37 - 3*x*y + 1, x)",
        "integrate(sin(x**5)*exp(x**3)/log(x + 1), x)",
    ],
)
async def test_whatever_it_costs_the_next_call_is_answered(
    calculator: Calculate, expression: str
) -> None:
    await worker_pid(calculator)
    started = time.monotonic()
    with suppress(RetryCall, ToolFailed):
        await ask(calculator, expression)
    assert time.monotonic() - started < 4
    assert await ask(calculator, "1+1") == "2"


async def test_an_evaluation_that_takes_too_long_is_killed_and_replaced(
    calculator: Calculate,
) -> None:
    pid = await worker_pid(calculator)
    with pytest.raises(ToolFailed, match="too large to work out: it takes more than 2 s"):
        await ask(calculator, SEMIPRIME)
    assert not is_alive(pid)
    assert await ask(calculator, "2+2") == "4"


async def test_cancelling_ends_the_evaluation_and_the_next_call_works(
    calculator: Calculate, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await worker_pid(calculator)
    asked = asyncio.Event()
    ask_worker = WorkerProcess.ask

    async def ask_and_tell(self: WorkerProcess, expression: str) -> dict[str, str]:
        asked.set()
        return await ask_worker(self, expression)

    monkeypatch.setattr(WorkerProcess, "ask", ask_and_tell)
    call = asyncio.create_task(ask(calculator, SEMIPRIME))
    async with asyncio.timeout(BOUND_S):
        await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not is_alive(pid)
    assert await ask(calculator, "2+2") == "4"


async def test_cancelling_a_call_that_waits_for_its_turn_leaves_the_worker(
    calculator: Calculate,
) -> None:
    pid = await worker_pid(calculator)
    turn = calculator._turn  # pyright: ignore[reportPrivateUsage]
    async with turn:
        call = asyncio.create_task(ask(calculator, "1+1"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await ask(calculator, "2+2") == "4"
    assert await worker_pid(calculator) == pid


async def test_a_worker_that_dies_between_calls_is_replaced_unnoticed(
    calculator: Calculate,
) -> None:
    starting = calculator._starting  # pyright: ignore[reportPrivateUsage]
    assert starting is not None
    worker = await starting
    async with asyncio.timeout(BOUND_S):
        await worker.end()
    assert await ask(calculator, "2+2") == "4"


async def test_a_worker_that_dies_during_a_call_fails_the_call_and_is_replaced(
    calculator: Calculate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_worker = WorkerProcess.ask

    async def ask_and_kill(self: WorkerProcess, expression: str) -> dict[str, str]:
        self.kill()
        return await ask_worker(self, expression)

    monkeypatch.setattr(WorkerProcess, "ask", ask_and_kill)
    with pytest.raises(ToolFailed, match="too large"):
        await ask(calculator, SEMIPRIME)
    monkeypatch.undo()
    assert await ask(calculator, "2+2") == "4"


async def test_closing_ends_the_worker() -> None:
    calculator = Calculate()
    await calculator.open()
    pid = await worker_pid(calculator)
    await calculator.close()
    assert not is_alive(pid)


async def test_closing_while_it_starts_leaves_no_process() -> None:
    calculator = Calculate()
    await calculator.open()
    await asyncio.sleep(0)
    async with asyncio.timeout(BOUND_S):
        await calculator.close()
    await calculator.close()


async def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "COMMAND", ("/nowhere/python",))
    calculator = Calculate()
    with pytest.raises(ToolFailed, match="does not start: '/nowhere/python'"):
        await ask(calculator, "1+1")
    monkeypatch.undo()
    assert await ask(calculator, "1+1") == "2"
    await calculator.close()


async def test_a_worker_that_is_not_ready_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_LIMIT_S", 0.0)
    with pytest.raises(WorkerGone, match="not ready"):
        async with asyncio.timeout(BOUND_S):
            await WorkerProcess.start()


async def test_the_worker_gets_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    worker = await WorkerProcess.start()
    try:
        path = Path(f"/proc/{worker.pid}/environ")
        environment = await asyncio.to_thread(path.read_bytes)
    finally:
        await worker.end()
    assert b"SECRET_TOKEN" not in environment
    assert b"PYTHONPATH" in environment


async def test_a_plot_is_saved_in_the_workspace_and_named(
    calculator: Calculate, tmp_path: Path
) -> None:
    context = CallContext(pid=1, workspace=tmp_path)
    async with asyncio.timeout(BOUND_S):
        first = await calculator.calculate("plot(sin(x), (x, 0, 10))", context)
        second = await calculator.calculate("plot(cos(x))", context)
    assert first.text == "plot of sin(x) for x from 0 to 10, saved as figure-1.png"
    assert (first.files, second.files) == (("figure-1.png",), ("figure-2.png",))
    assert (tmp_path / "figure-1.png").read_bytes().startswith(b"\x89PNG")


async def test_a_plot_that_cannot_be_saved_fails(calculator: Calculate) -> None:
    with pytest.raises(ToolFailed, match="cannot be saved: No such file"):
        await ask(calculator, "plot(x)")


@pytest.mark.parametrize(
    "expression",
    [
        "plot(" + "+".join(f"gamma(zeta(x)**{n})" for n in range(1, 60)) + ")",
        "convert 9**9**9 km to miles",
        "9**9**9 km in miles",
        "one " * 2400 + "km in miles",
        "((((" * 2000 + "km in miles",
        "km in " * 1600 + "miles",
        "2 to " * 1900 + "miles",
        "N(pi, 10**9)",
        "roots(x**500 - x - 1)",
        "eigenvals(Matrix([[k, 2, 3], [4, x, 6], [7, 8, y]]))",
        "nullspace(Matrix([[1]])) ** 10**9",
    ],
)
async def test_hostile_questions_end_in_one_line_and_the_next_is_answered(
    calculator: Calculate, expression: str
) -> None:
    started = time.monotonic()
    try:
        text = await ask(calculator, expression)
    except (RetryCall, ToolFailed) as error:
        text = str(error)
    assert "\n" not in text
    assert time.monotonic() - started < 10
    assert await ask(calculator, "1+1") == "2"
