"""The transformers engine says what `generate` says, and computes nothing twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.transformers import CHUNK, TransformersEngine
from llmos_kernel.errors import ModelError

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "initializer_range": 0.3,
    "eos_token_id": 299,
    "pad_token_id": 0,
    "bos_token_id": None,
}
ATTENTION: dict[str, Any] = {
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}
GEMMA3: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 32}
KINDS: dict[str, Callable[[], Any]] = {
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, **ATTENTION, **GEMMA3)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, **ATTENTION)),
    "mamba": lambda: MambaForCausalLM(MambaConfig(**SIZES, state_size=8)),
}
PROMPT = [(7 * i) % 290 + 1 for i in range(CHUNK + 40)]
STOP = 299


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp(request.param)
    KINDS[request.param]().save_pretrained(path)
    return path


@pytest.fixture
def engine(folder: Path) -> Any:
    engine = TransformersEngine.load(folder)
    yield engine
    engine.close()


def is_mamba(folder: Path) -> bool:
    return json.loads((folder / "config.json").read_text())["model_type"] == "mamba"


async def said(engine: TransformersEngine, tokens: list[int], num: int, **more: Any) -> list[int]:
    request = GenerateRequest(tokens, more.pop("stop", STOP), num, **more)
    return [token_id async for token_id in engine.generate(request)]


def expected(engine: TransformersEngine, tokens: list[int], num: int) -> list[int]:
    """What transformers' own loop generates, computing all of the prompt."""
    model = engine._model
    ids = torch.tensor([tokens])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=num
    )
    return out[0, len(tokens) :].tolist()


async def test_greedy_tokens_are_those_of_generate(engine: TransformersEngine) -> None:
    for length in (1, 20, CHUNK + 40):
        assert await said(engine, PROMPT[:length], 24) == expected(engine, PROMPT[:length], 24)


async def test_it_says_how_likely_each_token_is(engine: TransformersEngine) -> None:
    told: list[float] = []
    new = await said(engine, PROMPT[:20], 6, log_probabilities=told)
    with torch.no_grad():
        logits = engine._model(torch.tensor([[*PROMPT[:20], *new]])).logits[0, 19:-1]
    expected = logits.log_softmax(-1)[range(len(new)), new]
    torch.testing.assert_close(torch.tensor(told), expected, atol=2e-3, rtol=1e-3)


async def test_a_grown_conversation_computes_only_what_is_new(engine: TransformersEngine) -> None:
    first = await said(engine, PROMPT, 10, pid=1)
    grown = [*PROMPT, *first, 5, 6, 7]
    again = await said(engine, grown, 10, pid=2)
    assert engine.cache_use(2).num_cached_tokens == len(PROMPT) + len(first) - 1
    assert again == expected(engine, grown, 10)
    engine.release(2)
    assert engine.cache_use(2).num_prompt_tokens == 0


@pytest.mark.parametrize("num_same", [0, 10, 100])
async def test_another_conversation_gets_what_it_shares_or_all_anew(
    num_same: int, engine: TransformersEngine, folder: Path
) -> None:
    await said(engine, PROMPT[:120], 5)
    other = [*PROMPT[:num_same], *(i + 200 for i in range(60))]
    assert await said(engine, other, 12, pid=3) == expected(engine, other, 12)
    num_cached = engine.cache_use(3).num_cached_tokens
    # What a window or a state has passed by cannot be taken back.
    assert num_cached in ((0, num_same) if "gpt_neox" not in folder.name else (num_same,))


async def test_requests_at_once_take_turns_and_do_not_mix(engine: TransformersEngine) -> None:
    prompts = [PROMPT[i : i + 30] for i in range(5)]
    answers = await asyncio.gather(*(said(engine, p, 8, pid=i) for i, p in enumerate(prompts)))
    assert answers == [expected(engine, p, 8) for p in prompts]


async def test_the_stop_token_ends_a_reply(engine: TransformersEngine) -> None:
    whole = await said(engine, PROMPT, 10)
    stop = whole[3]
    assert await said(engine, PROMPT, 10, stop=stop) == whole[: whole.index(stop) + 1]


async def test_the_deadline_ends_a_reply_and_the_next_is_right(engine: TransformersEngine) -> None:
    assert await said(engine, PROMPT, 1000, deadline=time.monotonic()) == []
    late = await said(engine, PROMPT, 1700, deadline=time.monotonic() + 0.5)
    assert 0 < len(late) < 1700
    assert await said(engine, PROMPT, 5) == expected(engine, PROMPT, 5)


async def test_the_deadline_ends_the_wait_for_a_turn(engine: TransformersEngine) -> None:
    async with aclosing(engine.generate(GenerateRequest(PROMPT, STOP, 100))) as first:
        await anext(first)
        assert await said(engine, PROMPT, 5, deadline=time.monotonic() + 0.05) == []


async def test_a_cancelled_request_leaves_the_next_its_turn(engine: TransformersEngine) -> None:
    has_begun = asyncio.Event()

    async def endless() -> None:
        async with aclosing(engine.generate(GenerateRequest(PROMPT, STOP, 1000))) as ids:
            async for _ in ids:
                has_begun.set()

    task = asyncio.create_task(endless())
    await asyncio.wait_for(has_begun.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other = PROMPT[50:90]
    assert await said(engine, other, 6) == expected(engine, other, 6)


async def test_a_temperature_draws_by_its_seed(engine: TransformersEngine) -> None:
    one = await said(engine, PROMPT, 12, temperature=5.0, seed=1)
    assert await said(engine, PROMPT, 12, temperature=5.0, seed=1) == one
    assert await said(engine, PROMPT, 12, temperature=5.0, seed=2) != one


class OnlyEven:
    """A mask that allows even ids only, and remembers what was chosen."""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def words(self) -> Any:
        return np.full(-(-300 // 32), 0x55555555, np.uint32).view(np.int32)

    def allows(self, token_id: int) -> bool:
        return token_id % 2 == 0

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


async def test_a_mask_binds_what_is_chosen(engine: TransformersEngine) -> None:
    mask = OnlyEven()
    ids = await said(engine, PROMPT, 10, mask=mask)
    assert ids == mask.accepted
    assert all(token_id % 2 == 0 for token_id in ids)


async def test_what_cannot_be_asked_is_refused(engine: TransformersEngine, folder: Path) -> None:
    with pytest.raises(ModelError, match="do not match"):
        await said(engine, [300], 5)
    if not is_mamba(folder):
        with pytest.raises(ModelError, match="leaves room for 48 of 50"):
            await said(engine, [1] * 2000, 50)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        await said(engine, PROMPT, 5)


def test_a_damaged_checkpoint_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(
        ModelError, match=r"transformers cannot load .*another checkpoint"
    ) as caught:
        TransformersEngine.load(tmp_path)
    assert "\n" not in str(caught.value)
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="transformers cannot load"):
        TransformersEngine.load(tmp_path)


def test_code_of_a_checkpoint_is_never_run(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "was_run"
    (tmp_path / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    save_file(load_file(folder / "model.safetensors"), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="transformers cannot load"):
        TransformersEngine.load(tmp_path)
    assert not marker.exists()
