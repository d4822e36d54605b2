"""The parts of the benchmarks, over a model so small that they take seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import calls, decode, grammar, growth, llama_cpp, media, memory, state, tools
from benchmarks.llmos_engine import warm_engine
from benchmarks.method import OURS
from benchmarks.models import BenchmarkModel, embedded_model
from benchmarks.serving import BOUND, FIFO, LLAMA, LOCK, Serving
from benchmarks.workload import Shape
from llmos.config import load_settings
from llmos.model_host import ModelHost

SHAPE = Shape(3, 3, num_prefix=40, num_prompt=20, num_result=10, num_new=8, tool_s=0.01)
needs_llama = pytest.mark.skipif(
    not llama_cpp.IS_INSTALLED, reason="needs llama-cpp-python and gguf"
)


@pytest.fixture(autouse=True)
def gguf_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "GGUF_FOLDER", tmp_path)


async def test_every_server_says_what_generate_says(tiny: BenchmarkModel) -> None:
    await Serving(tiny, SHAPE, "float32").check()


async def test_a_server_that_loses_a_token_is_not_timed(
    tiny: BenchmarkModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgetful(
        engine: object, pid: int, tokens: list[int], num_new: int, mask: object = None
    ) -> list[int]:
        return [0] * num_new

    monkeypatch.setattr("benchmarks.llmos_engine._output", forgetful)
    with pytest.raises(RuntimeError, match=f"^{OURS}: the greedy float32 output differs"):
        await Serving(tiny, SHAPE, "float32").check()


async def test_serving_measures_every_variant_in_seconds_of_the_whole_workload(
    tiny: BenchmarkModel,
) -> None:
    shape = replace(SHAPE, num_processes=4)
    found: dict[str, float] = {}
    for variant in Serving(tiny, shape, "float32").all():
        found |= await variant(0)
    expected = {OURS, BOUND, FIFO, LOCK} | ({LLAMA} if llama_cpp.IS_INSTALLED else set())
    assert set(found) == expected
    assert all(seconds > shape.tool_s for seconds in found.values())
    assert found[OURS] > shape.num_turns * shape.tool_s


async def test_every_decoder_says_what_generate_says(tiny: BenchmarkModel) -> None:
    await decode.check_decode(tiny)


async def test_decoding_measures_the_same_again_after_a_round(tiny: BenchmarkModel) -> None:
    steps = await decode.Steps.load(tiny, 2)
    variants = steps.variants()
    rounds = [[await variant(index) for variant in variants] for index in range(2)]
    steps.close()
    assert [set(each) for each in rounds[0]] == [set(each) for each in rounds[1]]
    assert all(value > 0 for each in rounds for figures in each for value in figures.values())


@needs_llama
def test_llama_cpp_says_the_same_each_time_it_decodes_a_batch_again(tiny: BenchmarkModel) -> None:
    contexts = [tiny.random_tokens(20, seed) for seed in range(3)]
    path = llama_cpp.gguf_of(tiny, "float32")
    decoder = llama_cpp.LlamaDecoder(path, contexts, 8, is_exact=True)
    first = decoder.outputs(8)
    assert decoder.outputs(8) == first
    decoder.close()


async def test_growth_measures_llmos_beside_its_peers(tiny: BenchmarkModel) -> None:
    prefill, step = await growth.grow_context(tiny, 64)
    assert list(prefill.rounds[0]) == list(step.rounds[0])
    assert step.title == "64 tokens"


async def test_a_fork_and_a_swapped_process_say_what_generate_says(tiny: BenchmarkModel) -> None:
    await state.check_held(tiny)


async def test_a_held_context_is_measured_with_its_fork_and_its_swap(tiny: BenchmarkModel) -> None:
    values = (await state.measure_held(tiny)).values()
    assert values[state.FORK].median < values[state.PREFILL].median
    assert len(values) == 5


@pytest.mark.parametrize("is_asked", [True, False])
async def test_masks_are_at_work_in_every_step_that_is_timed(
    is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "NUM_CALLS", 3)
    monkeypatch.setattr(grammar, "NUM_REQUESTS", 12)
    model = embedded_model()
    writer = grammar.Writer(model, await grammar.warm_engine(model, "float32"))
    work = await grammar.asked_calls(writer) if is_asked else grammar.forced_calls(writer, model)
    assert len(work.contexts) == 3
    masking = grammar.Masking(writer, work, 2)
    measured = await masking.measured(0)
    assert measured[OURS] > 0
    assert measured[grammar.FREE] > 0
    monkeypatch.setattr(grammar.CallMask, "words", lambda mask: None)
    with pytest.raises(RuntimeError, match="closed before the last step"):
        await masking.measured(0)
    writer.engine.close()


async def test_processes_that_wait_run_again_when_their_tool_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "BATCH_PROCESSES", 4)
    monkeypatch.setattr(state, "NUM_WAITING", 20)
    memory, wake = await state.measure_waiting(state.Script())
    assert len(memory.rounds) == 5
    assert all(each["20 waiting"] > 0 for each in wake.rounds)


async def test_each_use_of_memory_is_timed_over_facts_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "NUM_WORDS", 2000)
    monkeypatch.setattr(memory, "CALLS_A_ROUND", 3)
    facts = memory.Facts(tmp_path, 200)
    comparisons = await memory.compare(facts)
    assert [each.title for each in comparisons] == list(facts.kinds())
    assert all(each.values()["median"].median > 0 for each in comparisons)
    with memory.opened(tmp_path / "memory.db") as store:
        assert len(store.search(memory.EVERYWHERE, now=0.0, limit=300)) > 190


async def test_a_system_call_is_timed_over_calls_that_all_ran() -> None:
    measured = await state.call_variant(state.Script(), "free", frozenset())(0)
    assert 1 < measured["free"] < 1_000_000


async def test_every_tool_is_called_in_the_benchmark_of_tools() -> None:
    assert set(tools.CALLS) | {"timer", "listen"} == set(tools.drivers(ModelHost()))


async def test_media_measures_a_conversation_beside_a_model_at_work_and_alone(
    tiny: BenchmarkModel, tmp_path: Path
) -> None:
    engine = await warm_engine(tiny, "float32")
    conversation = media.Conversation(engine, tiny, tmp_path, num_new=30)
    found: dict[str, float] = {}
    try:
        for variant in conversation.variants():
            found |= await variant(0)
    finally:
        await conversation.close()
    for quantity in (media.MEAN, media.P95):
        (each,) = media.comparison([found], quantity).rounds
        assert set(each) == {OURS, media.ALONE, media.THREAD}
        assert all(milliseconds > 0 for milliseconds in each.values())


async def test_calls_are_timed_behind_tables_of_each_size(tmp_path: Path) -> None:
    asking = calls.Asking(5, load_settings(), tmp_path)
    measured = await asking.measured(calls.requests_for_calls(4))
    asking.close()
    assert list(measured) == ["5 tools, median", "5 tools, p95"]
    assert 0 < measured["5 tools, median"] <= measured["5 tools, p95"]
