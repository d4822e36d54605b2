"""Calls: from a request to its parsed call, behind a tool table that is cached."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.method import REPOSITORY, Comparison, Variant, environment, measure_rounds, save
from llmos.boot import limits_of, load_model
from llmos.config import Settings, load_settings
from llmos.evaluation import read_cases
from llmos.tool_files import DescribedTool
from llmos_kernel.abi import ToolSpec
from llmos_kernel.errors import ModelError
from llmos_kernel.journal import Journal
from llmos_kernel.kernel import Kernel
from llmos_kernel.policy import deny_all
from llmos_kernel.process import ExitStatus
from llmos_kernel.syscalls import OwnedDriver, SyscallTable
from llmos_kernel.tool_choice import USUAL_TOOLS, ToolChoice
from llmos_kernel.training.dialogues import load_builtin_tools

TABLES = (5, 11, 24)
NUM_REQUESTS = 40
REQUESTS = REPOSITORY / "tests" / "evaluation" / "core_3.jsonl"

METHOD = f"""
Milliseconds from a request to its parsed call, in {{rounds}} rounds of {NUM_REQUESTS} requests of
`core_3.jsonl` that ask for a call, each in a process of its own, one after the other; the table of
the built-in tools (the usual first) was computed before. Steps that end without a call are not
counted. The embedded model, greedy, masked by the grammar. Percentiles are of a round's calls.
"""


class Asking:
    """One kernel whose processes are offered the first so many tools."""

    def __init__(self, num_tools: int, settings: Settings, folder: Path) -> None:
        renderer, self._engine = load_model(settings)
        self._journal = Journal(folder / f"{num_tools}.db")
        tools = [OwnedDriver(DescribedTool(spec), "benchmark") for spec in ordered_tools()]
        self._kernel = Kernel(
            self._engine, renderer, SyscallTable(tools[:num_tools]), self._journal,
            workspace=folder, model="embedded", approve=deny_all, limits=limits_of(settings),
            tool_choice=ToolChoice(frozenset(), num_tools),
        )  # fmt: skip
        self._num_tools = num_tools

    async def measured(self, requests: Sequence[str]) -> dict[str, float]:
        """Return the median and the 95th percentile of a round, in milliseconds."""
        await self._call_ms("hello")
        times = [ms for text in requests if (ms := await self._call_ms(text)) is not None]
        percentiles = statistics.quantiles(times, n=20, method="inclusive")
        name = f"{self._num_tools} tools"
        return {f"{name}, median": statistics.median(times), f"{name}, p95": percentiles[-1]}

    async def _call_ms(self, request: str) -> float | None:
        """Return how long the first call took, None where the model made none."""
        started = time.perf_counter()
        process = self._kernel.start(request)
        self._kernel.tell(process, request)
        try:
            step = await self._kernel.step(process)
        except ModelError:
            return None
        finally:
            self._kernel.finish(process, ExitStatus.DONE)
        return 1000 * (time.perf_counter() - started) if step.traps else None

    def close(self) -> None:
        self._engine.close()
        self._journal.close()


def ordered_tools() -> list[ToolSpec]:
    """Return the built-in tools, the usual ones first."""
    return sorted(load_builtin_tools(), key=lambda tool: tool.name not in USUAL_TOOLS)


def requests_for_calls(most: int) -> list[str]:
    """Return at most so many requests that ask for a call, from all of the set."""
    cases = read_cases(REQUESTS)
    asking = [case.user for case in cases if case.user and case.expect]
    return asking[:: max(1, len(asking) // most)][:most]


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return the medians in milliseconds."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    setting = environment()
    settings = load_settings()
    requests = requests_for_calls(NUM_REQUESTS)
    with tempfile.TemporaryDirectory() as folder:
        askings = [Asking(count, settings, Path(folder)) for count in TABLES]
        rounds = await measure_rounds([_variant(asking, requests) for asking in askings])
        for asking in askings:
            asking.close()
    comparisons = [_comparison(part, rounds) for part in ("median", "p95")]
    save("calls", METHOD.format(rounds=len(rounds)), comparisons, setting)
    return {
        f"call_ms_{each.title}_{name.partition(' ')[0]}_tools": value.median
        for each in comparisons
        for name, value in each.values().items()
    }


def _variant(asking: Asking, requests: Sequence[str]) -> Variant:
    async def once(index: int) -> Mapping[str, float]:
        return await asking.measured(requests)

    return once


def _comparison(part: str, rounds: Sequence[Mapping[str, float]]) -> Comparison:
    names = {f"{count} tools": f"{count} tools, {part}" for count in TABLES}
    return Comparison(
        part, "ms", [{name: each[key] for name, key in names.items()} for each in rounds]
    )


if __name__ == "__main__":
    print(json.dumps(measure()))
