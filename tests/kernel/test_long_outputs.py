"""Output beyond a tool's limit is kept whole, and can be read by the process that was told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmos.sdk import CallContext, FunctionTool, tool
from llmos_kernel.abi import JsonObject, blob_handle
from llmos_tools.files import read_file
from llmos_tools.files.blob_pages import PAGE_CHARS

Make = Callable[..., Any]
LINES = "".join(f"line {number}\n" for number in range(2000))


@tool(effects=[], max_output_chars=100)
def lines() -> str:
    """Say many lines."""
    return LINES


@tool(effects=[])
def page(name: str, context: CallContext) -> str:
    """Give all of a text."""
    return str(context.read_blob(name) == LINES)


def system_of(make_system: Make, says: Make, calls: Make, *bodies: tuple[str, JsonObject]) -> Any:
    tools: list[FunctionTool] = [lines, page, read_file]
    return make_system(
        [*(calls(body) for body in bodies), says("Done.")], *tools, context_length=1 << 20
    )


async def told(system: Any) -> list[str]:
    await system.kernel.turn(system.kernel.start("Go."), "Go.")
    return [body["text"] for body in system.bodies("tool_result")]


def handle_of(system: Any) -> str:
    return blob_handle(system.journal.store_blob(LINES.encode()))


async def test_the_model_gets_the_head_the_size_and_the_name_of_the_rest(
    make_system: Make, says: Make, calls: Make
) -> None:
    system = system_of(make_system, says, calls, ("lines", {}))
    (text,) = await told(system)
    assert text.startswith(LINES[:100])
    assert text.endswith(
        f"[cut: {len(LINES)} characters in all; the rest is the file {handle_of(system)}@100]"
    )


async def test_reading_from_page_to_page_gives_the_whole_text(
    make_system: Make, says: Make, calls: Make
) -> None:
    handle = handle_of(make_system([]))
    starts = range(100, len(LINES), PAGE_CHARS)
    pages = [("read_file", {"path": f"{handle}@{start}"}) for start in starts]
    system = system_of(make_system, says, calls, ("lines", {}), *pages)
    head, *texts = await told(system)
    parts = [head[:100], *(text.rpartition("\n[")[0] for text in texts[:-1]), texts[-1]]
    assert "".join(parts) == LINES
    assert all(f"the rest is the file {handle}@{start}]" in text
               for start, text in zip(starts, [head, *texts], strict=False))  # fmt: skip
    assert all(len(text) <= read_file.spec.max_output_chars for text in texts)


async def test_a_tool_in_a_thread_reads_the_whole_of_what_its_process_was_told(
    make_system: Make, says: Make, calls: Make
) -> None:
    handle = handle_of(make_system([]))
    system = system_of(make_system, says, calls, ("lines", {}), ("page", {"name": handle}))
    assert (await told(system))[1] == "True"


async def test_a_process_cannot_read_what_only_another_was_told(
    make_system: Make, says: Make, calls: Make
) -> None:
    handle = handle_of(make_system([]))
    system = system_of(make_system, says, calls, ("lines", {}))
    await told(system)
    other = system_of(make_system, says, calls, ("read_file", {"path": handle}))
    (text,) = await told(other)
    assert text.startswith(f"error: there is no '{handle}'")


async def test_a_position_that_is_wrong_is_the_model_s_to_mend(
    make_system: Make, says: Make, calls: Make
) -> None:
    handle = handle_of(make_system([]))
    wrong = [("read_file", {"path": f"{handle}@{at}"}) for at in ("x", "99999999")]
    system = system_of(make_system, says, calls, ("lines", {}), *wrong)
    _, first, second = await told(system)
    assert "'x' is no position" in first
    assert f"has {len(LINES)} characters" in second


async def test_a_long_error_is_kept_whole_too(
    make_system: Make, make_tool: Make, says: Make, calls: Make
) -> None:
    def fail(_: JsonObject) -> str:
        raise ValueError("x" * 300)

    broken = make_tool(fail, max_output_chars=100)
    system = make_system([calls(("echo", {"text": ""})), says("Done.")], broken)
    (text,) = await told(system)
    assert "the rest is the file blob:" in text
