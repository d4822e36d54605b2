"""Many agent processes that speak, wait for a tool and read its result, turn after turn.

Knows nothing of who serves them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from benchmarks.models import BenchmarkModel

MAX_PROCESSES = 1000


class Server(Protocol):
    """What serves the processes of one run. Use from one event loop."""

    async def turn(self, process: int, tokens: Sequence[int], num_new: int) -> list[int]:
        """Return the greedy continuation of a process's whole context, of `num_new` tokens."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Workload:
    """A process begins with the shared prefix and its prompt, and has a tool result each turn.

    `prompts` has an entry for each process, `results` one for each process and turn but the last.
    """

    prefix: Sequence[int]
    prompts: Sequence[Sequence[int]]
    results: Sequence[Sequence[Sequence[int]]]
    num_new: int
    tool_s: float

    @property
    def num_turns(self) -> int:
        return 1 + len(self.results[0])

    @property
    def num_prefill_tokens(self) -> int:
        """How many tokens must be prefilled where nothing is prefilled twice."""
        results = sum(len(result) for process in self.results for result in process)
        return len(self.prefix) + sum(map(len, self.prompts)) + results

    def context_length(self, process: int, num_turns: int) -> int:
        """Return how long a process's context is after so many whole turns, in tokens."""
        read = sum(map(len, self.results[process][: num_turns - 1]))
        return len(self.prefix) + len(self.prompts[process]) + num_turns * self.num_new + read

    def part(self, num_processes: int, *, tool_s: float) -> Workload:
        """Return the first processes alone, with other tools."""
        prompts, results = self.prompts[:num_processes], self.results[:num_processes]
        return replace(self, prompts=prompts, results=results, tool_s=tool_s)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a workload is; lengths in tokens."""

    num_processes: int
    num_turns: int
    num_prefix: int = 300
    num_prompt: int = 100
    num_result: int = 60
    num_new: int = 40
    tool_s: float = 0.2

    def workload(self, model: BenchmarkModel, round_index: int) -> Workload:
        """Return a workload of this shape; those of two rounds have no beginning in common."""
        first = (round_index + 1) * MAX_PROCESSES
        num_read = self.num_prompt + (self.num_turns - 1) * self.num_result
        read = [
            model.random_tokens(num_read, first + process)
            for process in range(1, self.num_processes + 1)
        ]
        starts = range(self.num_prompt, num_read, self.num_result)
        return Workload(
            model.random_tokens(self.num_prefix, first),
            [tokens[: self.num_prompt] for tokens in read],
            [[tokens[start : start + self.num_result] for start in starts] for tokens in read],
            self.num_new,
            self.tool_s,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What a workload came to: `contexts` holds each process's last one."""

    makespan_s: float
    contexts: Sequence[Sequence[int]]


async def run_workload(server: Server, workload: Workload) -> Run:
    """Start all processes at once and wait until the last tool of the last one has ended."""
    start = time.perf_counter()
    lives = [_life(server, workload, process) for process in range(len(workload.prompts))]
    contexts = await asyncio.gather(*lives)
    return Run(time.perf_counter() - start, contexts)


async def _life(server: Server, workload: Workload, process: int) -> list[int]:
    context = [*workload.prefix, *workload.prompts[process]]
    for result in ([], *workload.results[process]):
        context += result
        context += await server.turn(process, context, workload.num_new)
        await asyncio.sleep(workload.tool_s)
    return context


async def run_and_close(server: Server, workload: Workload) -> Run:
    try:
        return await run_workload(server, workload)
    finally:
        server.close()
