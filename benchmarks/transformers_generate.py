"""The peer that most agent runtimes are built on: transformers' `generate`, one call at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, Qwen3ForCausalLM
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()


def load_model(folder: Path, dtype: str) -> PreTrainedModel:
    """Load a model that generates greedily and never stops by itself."""
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    return model.eval()


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    num_new: int,
    cache: DynamicCache | None = None,
) -> list[list[int]]:
    """Continue rows of equal length. `cache` holds their beginnings and grows."""
    ids = torch.tensor(rows)
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_new, cache=cache
    )
    return output[:, ids.shape[1] :].tolist()


class GenerateServer:
    """First come, first served. Without its caches every turn reads the whole context again."""

    def __init__(self, model: PreTrainedModel, *, keeps_caches: bool) -> None:
        self._model = model
        self._keeps_caches = keeps_caches
        self._caches: dict[int, DynamicCache] = {}
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1)

    async def turn(self, process: int, tokens: Sequence[int], num_new: int) -> list[int]:
        """Continue one process's context while the others wait."""
        async with self._lock:
            cache = self._cache(process) if self._keeps_caches else None
            rows = await asyncio.get_running_loop().run_in_executor(
                self._thread, generate, self._model, [tokens], num_new, cache
            )
        return rows[0]

    def _cache(self, process: int) -> DynamicCache:
        return self._caches.setdefault(process, DynamicCache(config=self._model.config))

    def close(self) -> None:
        self._thread.shutdown()


class GenerateDecoder:
    """A batch of contexts that are prefilled once, in `prefill_s`, and decoded again and again."""

    def __init__(self, model: PreTrainedModel, contexts: Sequence[Sequence[int]]) -> None:
        self.model = model
        self._contexts = contexts
        self._cache = DynamicCache(config=model.config)
        start = time.perf_counter()
        generate(model, contexts, 1, self._cache)
        self.prefill_s = time.perf_counter() - start

    def step_s(self, num_steps: int) -> float:
        """Return the seconds a step, over `num_steps` of them."""
        self._cache.crop(len(self._contexts[0]) - 1 - self._cache.get_seq_length())
        start = time.perf_counter()
        generate(self.model, self._contexts, num_steps, self._cache)
        return (time.perf_counter() - start) / num_steps
