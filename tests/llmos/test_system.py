"""llmos from Python, with the real embedded model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import llmos
from llmos import LLMOS, tool
from llmos_kernel.errors import ConfigError

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
    with pytest.raises(asyncio.CancelledError):
        await process.wait()
