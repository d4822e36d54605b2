"""A function with type hints and a docstring is a tool."""

from __future__ import annotations

import asyncio
import threading
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llmos import CallContext, Effect, Output, RetryCall, ToolFailed, tool
from llmos.sdk import Grounded, tools_of
from llmos_kernel.abi import ALL_EFFECTS
from llmos_kernel.errors import ConfigError

CONTEXT = CallContext(7, Path("/workspace"))


@tool
def weather(city: str, days: int = 1, note: str | None = None) -> str:
    """Current weather in a city.

    More for developers, which the model does not read.

    Args:
        city: the city's name
        days: how many days ahead
    """
    return f"{city} in {days} days: rain"


def test_the_schema_comes_from_hints_and_docstring() -> None:
    spec = weather.spec
    assert (spec.name, spec.description) == ("weather", "Current weather in a city.")
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "the city's name"},
            "days": {"type": "integer", "description": "how many days ahead", "default": 1},
            "note": {"type": "string"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_an_argument_can_be_grounded() -> None:
    @tool
    def fetch(url: Grounded, also: Grounded | None = None) -> str:
        """Fetch a page.

        Args:
            url: the address
        """
        return url

    assert fetch.spec.parameters["properties"] == {
        "url": {"type": "string", "description": "the address", "x-grounded": True},
        "also": {"type": "string", "x-grounded": True},
    }


def test_undeclared_effects_are_all_of_them() -> None:
    assert weather.spec.effects == ALL_EFFECTS
    assert not weather.spec.is_repeatable


def test_declared_options_stand() -> None:
    @tool(name="fetch", effects=[Effect.NETWORK], is_repeatable=True, timeout_s=3)
    def get(url: str) -> str:
        """Fetch a page."""
        return url

    assert get.spec.name == "fetch"
    assert get.spec.effects == {Effect.NETWORK}
    assert (get.spec.is_repeatable, get.spec.timeout_s) == (True, 3)


def test_a_tool_is_still_the_function() -> None:
    assert weather("Oslo", days=2) == "Oslo in 2 days: rain"


async def test_a_call_fills_in_defaults_and_the_context() -> None:
    @tool
    async def where(name: str, *, context: CallContext) -> str:
        """Say where."""
        return f"{name} {context.pid} {context.workspace}"

    assert "context" not in where.spec.parameters["properties"]  # pyright: ignore
    assert (await where.call({"name": "x"}, CONTEXT)).text == "x 7 /workspace"
    assert (await weather.call({"city": "Oslo"}, CONTEXT)).text == "Oslo in 1 days: rain"


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int


async def test_arguments_arrive_as_the_types_of_the_hints() -> None:
    seen: list[Any] = []

    @tool
    def paint(colour: Colour, at: list[Point]) -> None:
        """Paint points."""
        seen.extend((colour, at))

    output = await paint.call({"colour": "red", "at": [{"x": 1}]}, CONTEXT)
    assert seen == [Colour.RED, [Point(x=1)]]
    assert output.text == "done"


async def test_arguments_that_do_not_fit_are_the_model_s_to_mend() -> None:
    with pytest.raises(RetryCall, match="days: Input should be a valid integer"):
        await weather.call({"city": "Oslo", "days": "many"}, CONTEXT)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (5, "5"),
        (None, "done"),
        ({"a": [1, "é"]}, '{"a": [1, "é"]}'),
        (Point(x=2), '{"x":2}'),
        (Output("made", ("a.png",)), "made"),
    ],
)
async def test_what_a_tool_returns_becomes_text(value: Any, text: str) -> None:
    @tool
    def give() -> Any:
        """Give it."""
        return value

    assert (await give.call({}, CONTEXT)).text == text


async def test_a_plain_function_that_hangs_is_given_up_and_stays_busy() -> None:
    release = threading.Event()

    @tool
    def hang() -> str:
        """Hang."""
        release.wait(10)
        return "late"

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await hang.call({}, CONTEXT)
    with pytest.raises(ToolFailed, match="still busy"):
        await hang.call({}, CONTEXT)
    release.set()


async def test_a_plain_function_is_called_again_as_soon_as_it_has_returned() -> None:
    for number in range(200):
        assert (await weather.call({"city": str(number)}, CONTEXT)).text.startswith(str(number))


async def test_calls_of_a_plain_function_run_side_by_side() -> None:
    both_run = threading.Barrier(2)

    @tool
    def meet() -> str:
        """Meet."""
        both_run.wait(10)
        return "met"

    outputs = await asyncio.gather(meet.call({}, CONTEXT), meet.call({}, CONTEXT))
    assert [output.text for output in outputs] == ["met", "met"]


async def test_a_tool_that_was_given_up_works_again_once_its_function_has_returned() -> None:
    release = threading.Event()
    threads: list[threading.Thread] = []

    @tool
    def wait_once() -> str:
        """Wait."""
        threads.append(threading.current_thread())
        release.wait(10)
        return "back"

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await wait_once.call({}, CONTEXT)
    release.set()
    threads[0].join(10)
    assert (await wait_once.call({}, CONTEXT)).text == "back"


def test_a_tool_without_a_docstring_is_refused() -> None:
    def silent(x: int) -> int:
        return x

    with pytest.raises(ConfigError, match="'silent' needs a docstring"):
        tool(silent)


def test_a_parameter_without_a_hint_is_refused() -> None:
    def loose(x) -> str:  # pyright: ignore
        """Do it."""
        return ""

    with pytest.raises(ConfigError, match="type hint for its parameter 'x'"):
        tool(loose)  # pyright: ignore


class Counter:
    """Holds a count between its tools."""

    opened = closed = 0

    async def open(self) -> None:
        Counter.opened += 1
        self.count = 0

    async def close(self) -> None:
        Counter.closed += 1

    @tool
    def add(self, number: int) -> int:
        """Add to the count."""
        self.count += number
        return self.count

    @tool
    def read(self) -> int:
        """Read the count."""
        return self.count


async def test_a_class_is_opened_once_before_its_first_call_and_closed_once() -> None:
    tools = {driver.spec.name: driver for driver in tools_of(Counter)}
    assert Counter.opened == 0
    await tools["add"].call({"number": 2}, CONTEXT)
    assert (await tools["read"].call({}, CONTEXT)).text == "2"
    for driver in tools.values():
        await driver.close()
    assert (Counter.opened, Counter.closed) == (1, 1)


async def test_a_class_that_was_never_called_is_never_opened() -> None:
    Counter.opened = Counter.closed = 0
    for driver in tools_of(Counter):
        await driver.close()
    assert (Counter.opened, Counter.closed) == (0, 0)


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a tool"):
        tools_of(5)
    with pytest.raises(ConfigError, match="no method marked @tool"):
        tools_of(Point)
