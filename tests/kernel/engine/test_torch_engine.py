"""The torch engine says, token for token, what transformers' own classes say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.torch.engine import TorchEngine
from llmos_kernel.errors import ModelError

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
MODELS = {
    "qwen3-tied": lambda: Qwen3ForCausalLM(
        Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
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
    return [token_id async for token_id in engine.generate(request(tokens, **options))]


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
async def test_greedy_output_equals_transformers_generate(
    tmp_path: Path, name: str, length: int
) -> None:
    folder = save_model(tmp_path, name)
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = prompt(length)
    expected = reference.generate(torch.tensor([tokens]), max_new_tokens=40, do_sample=False)
    engine = TorchEngine.load(folder)
    assert await generated(engine, tokens) == expected[0, length:].tolist()
    engine.close()


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
    assert engine.cache_use.share > 0.7


async def test_interleaved_sequences_do_not_touch_each_other(
    engine: TorchEngine,
) -> None:
    prompts = [prompt(30 + i, seed=i) for i in range(4)]
    alone = [await generated(engine, tokens) for tokens in prompts]
    together = await asyncio.gather(*(generated(engine, tokens) for tokens in prompts))
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
