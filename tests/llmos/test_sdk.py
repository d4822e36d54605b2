"""A function with type hints and a docstring is a tool."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llmos import CallContext, Effect, Media, Output, RetryCall, ToolFailed, tool
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
    assert weather.spec.max_concurrent == 1


def test_declared_options_stand() -> None:
    @tool(
        name="fetch",
        effects=[Effect.NETWORK],
        is_repeatable=True,
        timeout_s=3,
        keywords=["download", "load"],
    )
    def get(url: str) -> str:
        """Fetch a page."""
        return url

    assert get.spec.name == "fetch"
    assert get.spec.effects == {Effect.NETWORK}
    assert (get.spec.is_repeatable, get.spec.timeout_s) == (True, 3)
    assert get.spec.keywords == ("download", "load")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"effects": ["fire"]}, "'fire' is not a valid Effect; the effects are files, sandbox"),
        ({"effects": "files"}, "give effects as a set: {'files'}"),
        ({"timeout_s": 0}, "timeout_s is 0; it must be above 0"),
        ({"max_output_chars": -1}, "max_output_chars is -1"),
        ({"max_concurrent": 0}, "max_concurrent is 0"),
        ({"keywords": "paint"}, "keywords are a list of words, not 'paint'"),
        ({"keywords": [1]}, "keywords are a list of words"),
        ({"name": "two words"}, "'two words' is no name for a tool"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):

        @tool(**options)
        def wrong() -> None:
            """Do it."""


def test_effects_may_be_written_as_words() -> None:
    @tool(effects={"network", "files"})
    def get(url: str) -> str:
        """Fetch a page."""
        return url

    assert get.spec.effects == {Effect.NETWORK, Effect.FILES}


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


@dataclass
class Place:
    name: str
    found_on: date


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
        (Place("Oslo", date(2026, 1, 2)), '{"name": "Oslo", "found_on": "2026-01-02"}'),
        (Output("made", ("a.png",)), "made"),
    ],
)
async def test_what_a_tool_returns_becomes_text(value: Any, text: str) -> None:
    @tool
    def give() -> Any:
        """Give it."""
        return value

    assert (await give.call({}, CONTEXT)).text == text


@tool
def give_media(what: str, context: CallContext) -> Any:
    """Give something that is not text."""
    from matplotlib.figure import Figure
    from PIL import Image

    (context.workspace / "sub").mkdir(exist_ok=True)
    (context.workspace / "sub" / "own.txt").write_text("own")
    elsewhere = context.workspace.parent / "elsewhere.csv"
    elsewhere.write_text("a,b")
    things: dict[str, Any] = {
        "pillow": lambda: Image.new("RGB", (2, 3)),
        "figure": lambda: Figure(figsize=(1, 1)),
        "bytes": lambda: Media(b"GIF", "image/gif"),
        "audio": lambda: Media(b"RIFF", "audio/mpeg", "song.mp3"),
        "own": lambda: Path("sub/own.txt"),
        "own by its whole path": lambda: context.workspace / "sub" / "own.txt",
        "elsewhere": lambda: elsewhere,
        "list": lambda: ["two", Media(b"a", "image/png"), {"n": 1}],
        "name that leads out": lambda: Media(b"x", "text/plain", "../out.txt"),
        "bare": lambda: b"bytes",
        "missing": lambda: Path("no.txt"),
    }
    return things[what]()


@pytest.mark.parametrize(
    ("what", "text", "files"),
    [
        ("pillow", "picture saved as picture.png", ("picture.png",)),
        ("figure", "picture saved as picture.png", ("picture.png",)),
        ("bytes", "picture saved as picture.gif", ("picture.gif",)),
        ("audio", "recording saved as song.mp3", ("song.mp3",)),
        ("own", "file saved as sub/own.txt", ("sub/own.txt",)),
        ("own by its whole path", "file saved as sub/own.txt", ("sub/own.txt",)),
        ("elsewhere", "file saved as elsewhere.csv", ("elsewhere.csv",)),
        ("list", 'two\npicture saved as picture.png\n{"n": 1}', ("picture.png",)),
        ("name that leads out", "file saved as out.txt", ("out.txt",)),
    ],
)
async def test_media_that_a_tool_returns_become_files_of_the_workspace(
    tmp_path: Path, what: str, text: str, files: tuple[str, ...]
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    output = await give_media.call({"what": what}, CallContext(1, workspace))
    assert output == Output(text, files)
    assert all((workspace / name).stat().st_size > 0 for name in files)


async def test_media_never_write_over_a_file_or_through_a_link(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "picture.gif").symlink_to(tmp_path / "outside")
    output = await give_media.call({"what": "bytes"}, CallContext(1, workspace))
    assert output.files == ("picture-2.gif",)
    assert not (tmp_path / "outside").exists()


async def test_bytes_without_a_type_and_missing_files_are_errors(tmp_path: Path) -> None:
    context = CallContext(1, tmp_path)
    with pytest.raises(TypeError, match="Media"):
        await give_media.call({"what": "bare"}, context)
    with pytest.raises(ToolFailed, match=r"no file 'no\.txt'"):
        await give_media.call({"what": "missing"}, context)


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
