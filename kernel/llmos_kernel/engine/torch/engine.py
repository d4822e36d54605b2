"""Generates tokens with a decoder in this process, keeping the KV caches of recent sequences.

One compute thread serves all requests, a token each in turn. Knows no text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from llmos_kernel.engine.base import CacheUse, GenerateRequest
from llmos_kernel.engine.torch.checkpoint import read_config, read_weights
from llmos_kernel.engine.torch.decoder import Decoder, KVCache
from llmos_kernel.errors import ModelError

PREFILL_CHUNK = 512
MAX_IDLE_CACHES = 8
SMALL_MODEL_BYTES = 1 << 30


class TorchEngine:
    """The in-process engine. Close it once; it then accepts no request."""

    def __init__(self, decoder: Decoder, dtype: torch.dtype, device: torch.device) -> None:
        self._decoder = decoder
        self._dtype = dtype
        self._device = device
        self._idle: list[KVCache] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self.context_length = decoder.config.context_length
        self.cache_use = CacheUse()

    @classmethod
    def load(cls, folder: Path) -> TorchEngine:
        """Load a checkpoint, on the GPU where there is one.

        Small models run in float32 on the CPU, so that greedy output is exact; larger ones, and
        all on a GPU, in bfloat16.

        Raises:
            ModelError: the folder holds no checkpoint that this engine can run.
        """
        torch.set_num_threads(1)
        config = read_config(folder)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        is_exact = device.type == "cpu" and size < SMALL_MODEL_BYTES
        dtype = torch.float32 if is_exact else torch.bfloat16
        weights = read_weights(folder, config, dtype=dtype, device=device)
        return cls(Decoder(config, weights), dtype, device)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Yield token ids; see `llmos_kernel.engine.base.Engine`.

        Raises:
            ModelError: the prompt leaves no room in the context, or holds unknown ids.
        """
        self._check(request)
        cache = self._take_cache(request)
        try:
            pending = list(request.tokens[len(cache.tokens) :])
            generator = torch.Generator(self._device).manual_seed(request.seed)
            for _ in range(request.max_new_tokens):
                if request.deadline is not None and time.monotonic() >= request.deadline:
                    return
                token_id = await self._compute(pending, cache, request.temperature, generator)
                yield token_id
                if token_id == request.stop_id:
                    return
                pending = [token_id]
        finally:
            self._give_back(cache)

    def _check(self, request: GenerateRequest) -> None:
        room = self.context_length - len(request.tokens)
        if room < request.max_new_tokens:
            raise ModelError(
                f"the conversation of {len(request.tokens)} tokens leaves room for {max(room, 0)} "
                f"of {request.max_new_tokens} in the model's context of {self.context_length}"
            )
        if max(request.tokens) >= self._decoder.config.vocabulary:
            raise ModelError("the tokenizer has entries that the model lacks; they do not match")

    def _take_cache(self, request: GenerateRequest) -> KVCache:
        """Return the idle cache with the longest common prefix, cut to it, or a new one.

        At least one token of the request is left to be computed.
        """
        self.cache_use.num_prompt_tokens += len(request.tokens)
        lengths = [cache.common_length(request.tokens) for cache in self._idle]
        length = max(lengths, default=0)
        best = self._idle[lengths.index(length)] if lengths else None
        if best is None or length < len(best.tokens) // 2:
            return KVCache(self._decoder.config, self._dtype, self._device)
        self._idle.remove(best)
        best.truncate(min(length, len(request.tokens) - 1))
        self.cache_use.num_cached_tokens += len(best.tokens)
        return best

    async def _compute(
        self, tokens: list[int], cache: KVCache, temperature: float, generator: torch.Generator
    ) -> int:
        """Run one step in the compute thread; when cancelled, end with the step, not within it."""
        step = asyncio.get_running_loop().run_in_executor(
            self._thread, self._step, tokens, cache, temperature, generator
        )
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.wait([step])
            raise

    def _give_back(self, cache: KVCache) -> None:
        self._idle.append(cache)
        del self._idle[:-MAX_IDLE_CACHES]

    def _step(
        self, tokens: list[int], cache: KVCache, temperature: float, generator: torch.Generator
    ) -> int:
        for start in range(0, len(tokens) - PREFILL_CHUNK, PREFILL_CHUNK):
            self._decoder.forward(tokens[start : start + PREFILL_CHUNK], cache)
        rest = len(tokens) - (len(tokens) - 1) // PREFILL_CHUNK * PREFILL_CHUNK
        logits = self._decoder.forward(tokens[-rest:], cache)
        if temperature == 0:
            return int(logits.argmax())
        shares = torch.softmax(logits / temperature, dim=-1)
        return int(torch.multinomial(shares, 1, generator=generator))

    def close(self) -> None:
        self._thread.shutdown()
