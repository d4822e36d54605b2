"""The torch engine says, token for token, what transformers' own classes say."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import llmos_kernel
from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.torch.cache import KVMemory, PageCache
from llmos_kernel.engine.torch.checkpoint import read_config, read_weights
from llmos_kernel.engine.torch.decoder import Decoder, Segment
from llmos_kernel.engine.torch.engine import TorchEngine
from llmos_kernel.engine.torch.native import NativeOperations
from llmos_kernel.engine.torch.operations import Operations, TorchOperations
from llmos_kernel.engine.torch.pages import PageTable
from llmos_kernel.errors import ModelError
from llmos_kernel.scheduler import Scheduler

MODEL = Path(llmos_kernel.__file__).parent / "model"
SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
    "eos_token_id": 299,
    "pad_token_id": 0,
    "bos_token_id": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
GEMMA3_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
}
MODELS = {
    "qwen3-tied": lambda: Qwen3ForCausalLM(
        Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SIZES, head_dim=32)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **SIZES,
            head_dim=32,
            sliding_window=50,
            query_pre_attn_scalar=40,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters=GEMMA3_ROPE,
        )
    ),
    "llama3-rope": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROPE)),
}


def save_model(folder: Path, name: str = "qwen3-tied") -> Path:
    torch.manual_seed(7)
    model = MODELS[name]()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder)
    return folder


def request(tokens: Sequence[int], count: int = 40, **options: Any) -> GenerateRequest:
    return GenerateRequest(tuple(tokens), stop_id=299, max_new_tokens=count, **options)


async def generated(engine: TorchEngine, tokens: Sequence[int], **options: Any) -> list[int]:
    """Return what the engine says; `options` are those of `request`."""
    return [token_id async for token_id in engine.generate(request(tokens, **options))]


async def collected(engine: TorchEngine, asked: GenerateRequest) -> list[int]:
    return [token_id async for token_id in engine.generate(asked)]


def prompt(length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 299, (length,), generator=generator).tolist()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[TorchEngine]:
    engine = TorchEngine.load(save_model(tmp_path))
    yield engine
    engine.close()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [1, 17, 700])
@pytest.mark.parametrize("operations", [NativeOperations, TorchOperations, None])
async def test_greedy_output_equals_transformers_generate(
    tmp_path: Path,
    name: str,
    length: int,
    operations: type[Operations] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without named operations, compiled ones are loaded at once, and few rows go all the way.
    monkeypatch.setattr("llmos_kernel.engine.torch.decoder.MANY_STEPS", 0)
    folder = save_model(tmp_path, name)
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = prompt(length)
    expected = reference.generate(torch.tensor([tokens]), max_new_tokens=40, do_sample=False)
    engine = TorchEngine.load(folder, operations=operations)
    assert await generated(engine, tokens) == expected[0, length:].tolist()
    engine.close()


class Only:
    """A mask that allows one token."""

    def __init__(self, token_id: int) -> None:
        self._words = np.zeros(300 // 32 + 1, np.int32)
        self._words[token_id // 32] = 1 << token_id % 32
        self._token_id = token_id

    def words(self) -> Any:
        return self._words

    def allows(self, token_id: int) -> bool:
        return token_id == self._token_id

    def accept(self, token_id: int) -> None:
        assert token_id == self._token_id


async def test_log_probabilities_are_the_models_own_whatever_a_mask_allows(
    tmp_path: Path, engine: TorchEngine
) -> None:
    tokens, told, told_free = prompt(40), list[float](), list[float]()
    stream = request(tokens, 5, pid=1, mask=Only(7), log_probabilities=told)
    free = request(tokens, 5, pid=2, log_probabilities=told_free)
    said, free_said = await asyncio.gather(*(collected(engine, each) for each in (stream, free)))
    assert said == [7] * 5
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for new, heard in ((said, told), (free_said, told_free)):
        with torch.no_grad():
            logits = reference(torch.tensor([[*tokens, *new]])).logits[0, 39:-1]
        expected = logits.log_softmax(-1)[range(len(new)), new]
        torch.testing.assert_close(torch.tensor(heard), expected, atol=2e-3, rtol=1e-3)


async def test_a_sequence_that_goes_on_equals_one_computed_afresh_and_reuses_its_cache(
    engine: TorchEngine, tmp_path: Path
) -> None:
    tokens = prompt(50)
    for turn in range(5):
        tokens += await generated(engine, tokens)
        tokens += prompt(20, seed=turn)
    warm = await generated(engine, tokens)
    cold = TorchEngine.load(tmp_path)
    assert await generated(cold, tokens) == warm
    cold.close()
    assert engine.cache_use(0).share > 0.7


async def test_interleaved_sequences_do_not_touch_each_other(
    engine: TorchEngine,
) -> None:
    prompts = [prompt(30 + i, seed=i) for i in range(4)]
    alone = [await generated(engine, tokens) for tokens in prompts]
    together = await asyncio.gather(
        *(generated(engine, tokens, pid=pid) for pid, tokens in enumerate(prompts))
    )
    assert list(together) == alone


async def test_a_cancelled_sequence_leaves_a_cache_that_is_right(engine: TorchEngine) -> None:
    tokens = prompt(60)
    whole = await generated(engine, tokens)
    stream = engine.generate(request(tokens))
    assert [await anext(stream) for _ in range(5)] == whole[:5]
    await stream.aclose()  # pyright: ignore
    work = asyncio.ensure_future(generated(engine, tokens + whole[:10]))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await generated(engine, tokens) == whole


async def test_generation_ends_with_the_stop_token_which_is_yielded(engine: TorchEngine) -> None:
    tokens = prompt(30)
    free = await generated(engine, tokens)
    stop = GenerateRequest(tuple(tokens), stop_id=free[6], max_new_tokens=40)
    first = free.index(free[6])
    assert [t async for t in engine.generate(stop)] == free[: first + 1]


async def test_generation_ends_at_its_deadline(engine: TorchEngine) -> None:
    assert await generated(engine, prompt(5), deadline=time.monotonic() - 1) == []


async def test_sampling_is_fixed_by_its_seed(engine: TorchEngine) -> None:
    tokens = prompt(20)
    runs = [await generated(engine, tokens, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


async def test_a_prompt_that_leaves_no_room_is_refused_with_the_figures(
    engine: TorchEngine,
) -> None:
    with pytest.raises(ModelError, match="2040 tokens leaves room for 8 of 40"):
        await generated(engine, prompt(2040))


async def test_ids_that_the_model_lacks_are_refused(engine: TorchEngine) -> None:
    with pytest.raises(ModelError, match="do not match"):
        await generated(engine, [300])


def damaged(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    raw = json.loads(config.read_text())
    match how:
        case "weights cut short":
            weights.write_bytes(weights.read_bytes()[:5000])
        case "weights of zeros":
            weights.write_bytes(bytes(5000))
        case "no weights":
            weights.unlink()
        case "no config":
            config.unlink()
        case "config is no JSON":
            config.write_text("{")
        case "config lacks a field":
            del raw["hidden_size"]
            config.write_text(json.dumps(raw))
        case "tensor missing":
            tensors = load_file(weights)
            del tensors["model.norm.weight"]
            save_file(tensors, weights)
        case "tensor of another shape":
            config.write_text(json.dumps({**raw, "num_key_value_heads": 4}))
        case "foreign architecture":
            config.write_text(json.dumps({**raw, "architectures": ["MambaForCausalLM"]}))
        case _:
            raise AssertionError(how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("weights cut short", "is damaged"),
        ("weights of zeros", "is damaged"),
        ("no weights", "has no .safetensors file"),
        ("no config", "has no config.json"),
        ("config is no JSON", "damaged or incomplete"),
        ("config lacks a field", "hidden_size"),
        ("tensor missing", "lacks the tensor model.norm.weight"),
        ("tensor of another shape", "has the shape"),
        ("foreign architecture", "does not run MambaForCausalLM"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path, how: str, message: str) -> None:
    damaged(save_model(tmp_path), how)
    with pytest.raises(ModelError, match=message):
        TorchEngine.load(tmp_path)


# Many sequences in little memory ---------------------------------------------


@pytest.fixture
async def tight_engine(tmp_path: Path) -> AsyncIterator[TorchEngine]:
    """Room for one whole context, and so for few of many long sequences at once."""
    folder = save_model(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    engine = TorchEngine.load(folder, cache_bytes=0, scheduler=Scheduler(max_wait=8))
    yield engine
    await engine.check_integrity()
    engine.close()


async def test_sequences_that_do_not_fit_together_are_preempted_and_restored_exactly(
    tight_engine: TorchEngine,
) -> None:
    prompts = [prompt(150 + 7 * seed, seed=seed) for seed in range(6)]
    alone = []
    for tokens in prompts:
        alone.append(await generated(tight_engine, tokens, pid=100))
        tight_engine.release(100)
    together = await asyncio.gather(
        *(generated(tight_engine, tokens, pid=pid) for pid, tokens in enumerate(prompts))
    )
    assert list(together) == alone


async def test_idle_processes_are_swapped_out_and_come_back_without_a_second_prefill(
    tight_engine: TorchEngine,
) -> None:
    contexts: dict[int, list[int]] = {}
    for pid in range(5):
        tokens = prompt(200, seed=pid)
        contexts[pid] = tokens + await generated(tight_engine, tokens, pid=pid)
    for pid, tokens in contexts.items():
        before = tight_engine.cache_use(pid).num_cached_tokens
        longer = [*tokens, 5, 6, 7]
        warm = await generated(tight_engine, longer, pid=pid)
        assert tight_engine.cache_use(pid).num_cached_tokens - before >= len(tokens) - 1
        assert await generated(tight_engine, longer, pid=99) == warm
        tight_engine.release(99)


@pytest.mark.parametrize("num_shared", [0, 64])
async def test_what_is_swapped_out_stays_so_while_others_displace_each_other(
    tight_engine: TorchEngine, num_shared: int
) -> None:
    shared = prompt(num_shared, seed=99)
    tokens = shared + prompt(200 - num_shared)
    context = tokens + await generated(tight_engine, tokens, pid=1)
    await tight_engine.swap_out(1)
    await asyncio.gather(
        *(
            generated(tight_engine, shared + prompt(200 - num_shared, seed=pid), pid=pid)
            for pid in range(2, 6)
        )
    )
    before = tight_engine.cache_use(1).num_cached_tokens
    await generated(tight_engine, [*context, 5], pid=1)
    assert tight_engine.cache_use(1).num_cached_tokens - before >= len(context) - 1


async def test_a_full_disk_costs_a_second_prefill_and_nothing_else(
    tight_engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("llmos_kernel.engine.torch.cache.os.pwrite", no_room)
    tokens = prompt(200)
    whole = await generated(tight_engine, tokens, pid=1)
    await tight_engine.swap_out(1)
    assert await generated(tight_engine, tokens, pid=1) == whole


async def test_a_fork_in_the_middle_of_a_generation_shares_all_and_disturbs_nobody(
    engine: TorchEngine,
) -> None:
    tokens = prompt(70)
    whole = await generated(engine, tokens, pid=9)
    stream = engine.generate(request(tokens, pid=1))
    said = [await anext(stream) for _ in range(10)]
    engine.fork(1, 2, len(tokens) + 9)
    child = await generated(engine, tokens + said, pid=2, count=30)
    rest = [token async for token in stream]
    assert said + child == said + rest == whole
    assert engine.cache_use(2).num_cached_tokens == len(tokens) + 9
    await engine.check_integrity()


async def test_of_processes_that_begin_alike_at_once_each_computes_a_part_for_all(
    engine: TorchEngine,
) -> None:
    prefix, pids = prompt(640), range(1, 5)
    prompts = {pid: [*prefix, *prompt(20, seed=pid)] for pid in pids}
    outputs = await asyncio.gather(*(generated(engine, prompts[pid], pid=pid) for pid in pids))
    uses = [engine.cache_use(pid) for pid in pids]
    computed = sum(use.num_prompt_tokens - use.num_cached_tokens for use in uses)
    assert computed < 2 * len(prefix)
    for pid, output in zip(pids, outputs, strict=True):
        engine.release(pid)
        assert await generated(engine, prompts[pid], pid=pid) == output


async def test_a_long_prompt_does_not_hold_up_those_that_decode(engine: TorchEngine) -> None:
    arrived: list[int] = []
    has_begun = asyncio.Event()

    async def follow(pid: int, tokens: list[int]) -> None:
        async for _ in engine.generate(request(tokens, pid=pid)):
            arrived.append(pid)
            has_begun.set()

    first = asyncio.ensure_future(follow(1, prompt(10)))
    await has_begun.wait()
    await asyncio.gather(first, follow(2, prompt(1500, seed=1)))
    assert arrived.index(2) > 10
    assert sorted(arrived) == [1] * 40 + [2] * 40


async def test_the_cached_share_of_a_ten_turn_tool_loop_is_95_percent(
    engine: TorchEngine,
) -> None:
    tokens = prompt(400)
    for turn in range(10):
        tokens += await generated(engine, tokens, pid=1)
        tokens += prompt(15, seed=turn)
        if turn == 0:
            first = engine.cache_use(1).num_prompt_tokens
    use = engine.cache_use(1)
    assert use.num_cached_tokens / (use.num_prompt_tokens - first) > 0.95


async def test_a_second_request_of_a_process_at_work_is_refused(engine: TorchEngine) -> None:
    stream = engine.generate(request(prompt(20), pid=1))
    await anext(stream)
    with pytest.raises(ModelError, match="process 1 has a request at work"):
        await generated(engine, prompt(30), pid=1)
    await stream.aclose()  # pyright: ignore


async def test_closing_the_engine_ends_every_open_request_with_an_error(tmp_path: Path) -> None:
    engine = TorchEngine.load(save_model(tmp_path))
    stream = engine.generate(request(prompt(20), count=1000))
    await anext(stream)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        async for _ in stream:
            pass


async def test_an_error_in_a_step_reaches_each_request_and_the_engine_goes_on(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    tokens = prompt(20)
    whole = await generated(engine, tokens)
    with monkeypatch.context() as patch:
        patch.setattr("llmos_kernel.engine.torch.decoder.Decoder.forward", broken)
        with pytest.raises(ModelError, match="out of memory"):
            await generated(engine, tokens)
    assert await generated(engine, tokens) == whole


async def test_random_comings_goings_forks_and_swaps_never_change_what_is_said(
    tight_engine: TorchEngine,
) -> None:
    rng = random.Random(11)
    prompts = [prompt(rng.randint(20, 250), seed=seed) for seed in range(8)]
    alone = []
    for tokens in prompts:
        alone.append(await generated(tight_engine, tokens, pid=100))
    tight_engine.release(100)

    async def life(pid: int) -> None:
        for _ in range(4):
            tokens, whole = prompts[pid], alone[pid]
            cut = rng.randint(1, 40)
            stream = tight_engine.generate(request(tokens, pid=pid, nice=rng.randint(-5, 5)))
            said = [token async for token in _first(stream, cut)]
            assert said == whole[: len(said)]
            tight_engine.fork(pid, 50 + pid, rng.randint(0, len(tokens)))
            if rng.random() < 0.5:
                await tight_engine.swap_out(pid)
            if rng.random() < 0.5:
                tight_engine.release(50 + pid)
            await tight_engine.check_integrity()

    await asyncio.gather(*(life(pid) for pid in range(8)))


async def _first(stream: AsyncIterator[int], count: int) -> AsyncIterator[int]:
    async with aclosing(stream):  # pyright: ignore
        async for token in stream:
            yield token
            count -= 1
            if not count:
                return


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_operations_agree_with_plain_pytorch(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    folder = save_model(tmp_path)
    config = read_config(folder)
    logits: list[torch.Tensor] = []
    for operations in (NativeOperations, TorchOperations):
        weights = read_weights(folder, config, dtype=dtype, device=torch.device("cpu"))
        cache = PageCache(config, 40, dtype=dtype, device=torch.device("cpu"))
        memory = KVMemory(cache)
        decoder = Decoder(config, weights, cache, operations=operations)
        tables = [PageTable() for _ in range(3)]
        for step in range(4):
            parts = [prompt(1 if step and i < 2 else 40, seed=10 * step + i) for i in range(3)]
            for table, tokens in zip(tables, parts, strict=True):
                memory.prepare(table, len(tokens))
            segments = [Segment(t, p) for t, p in zip(tables, parts, strict=True)]
            logits.append(decoder.forward(segments))
            for table, tokens in zip(tables, parts, strict=True):
                memory.manager.append(table, tokens)
        memory.close()
    tolerance = 2e-3 if dtype == torch.float32 else 0.6
    for native, plain in zip(logits[:4], logits[4:], strict=True):
        torch.testing.assert_close(native, plain, atol=tolerance, rtol=0.02)


class OnlyEven:
    """A mask under which odd tokens do not exist once a first one was said."""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def words(self) -> np.ndarray | None:
        return np.full(10, 0x55555555, np.int32) if self.accepted else None

    def allows(self, token_id: int) -> bool:
        return token_id % 2 == 0 or not self.accepted

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_a_masked_request_says_only_what_its_mask_allows_and_its_neighbour_anything(
    engine: TorchEngine, temperature: float
) -> None:
    tokens = prompt(30)
    free = await generated(engine, tokens, temperature=temperature)
    mask = OnlyEven()
    masked, beside = await asyncio.gather(
        generated(engine, tokens, pid=1, mask=mask, temperature=temperature),
        generated(engine, tokens, pid=2, temperature=temperature),
    )
    assert masked == mask.accepted
    assert masked[0] == free[0]
    assert all(token % 2 == 0 for token in masked[1:])
    assert any(token % 2 for token in free[1:])
    assert beside == free


NEVER_CLOSED = """
import asyncio, atexit, sys, threading
from pathlib import Path
from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.torch.engine import TorchEngine

atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))
engine = TorchEngine.load(Path(sys.argv[1]))

async def main():
    async for _ in engine.generate(GenerateRequest((1, 2, 3), -1, 2000, pid=1)):
        sys.exit(3)

asyncio.run(main())
"""


async def test_a_program_that_never_closed_its_engine_ends_without_the_compute_thread() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NEVER_CLOSED, MODEL, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert (process.returncode, said) == (3, b"['MainThread']\n")
