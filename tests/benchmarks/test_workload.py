"""The workload: what a process has read and said, turn after turn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.models import BenchmarkModel
from benchmarks.workload import Shape, run_and_close

SHAPE = Shape(num_processes=3, num_turns=4, num_prefix=7, num_prompt=5, num_result=3, num_new=2)


@dataclass
class CountingServer:
    """Says how many turns a process has had; keeps the contexts that it was given."""

    contexts: dict[int, list[list[int]]] = field(default_factory=dict)
    is_closed: bool = False

    async def turn(self, process: int, tokens: Sequence[int], num_new: int) -> list[int]:
        turns = self.contexts.setdefault(process, [])
        turns.append(list(tokens))
        return [-len(turns)] * num_new

    def close(self) -> None:
        self.is_closed = True


async def test_a_context_is_what_the_process_has_read_and_said(tiny: BenchmarkModel) -> None:
    workload = SHAPE.workload(tiny, 0).part(2, tool_s=0)
    server = CountingServer()
    run = await run_and_close(server, workload)
    assert server.is_closed
    assert list(server.contexts) == [0, 1]
    for process, contexts in server.contexts.items():
        expected = [*workload.prefix, *workload.prompts[process]]
        assert contexts[0] == expected
        for turn, result in enumerate(workload.results[process], 1):
            expected += [-turn, -turn, *result]
            assert contexts[turn] == expected
        assert run.contexts[process] == [*expected, -4, -4]


async def test_lengths_and_the_prefill_are_those_of_the_run(tiny: BenchmarkModel) -> None:
    workload = SHAPE.workload(tiny, 0).part(3, tool_s=0)
    run = await run_and_close(CountingServer(), workload)
    assert workload.num_turns == 4
    assert [len(context) for context in run.contexts] == [workload.context_length(0, 4)] * 3
    num_read = sum(token >= 0 for context in run.contexts for token in context)
    assert workload.num_prefill_tokens == num_read - 2 * len(workload.prefix)


def test_no_two_rounds_or_processes_begin_alike(tiny: BenchmarkModel) -> None:
    workloads = [SHAPE.workload(tiny, index) for index in range(5)]
    assert workloads[0] == SHAPE.workload(tiny, 0)
    prompts = [prompt for workload in workloads for prompt in workload.prompts]
    beginnings = [*(workload.prefix for workload in workloads), *prompts]
    assert all(one[:4] != other[:4] for one, other in itertools.combinations(beginnings, 2))
