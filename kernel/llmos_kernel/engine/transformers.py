"""Generates tokens with transformers' own classes, for what the torch engine does not run.

One sequence at a time, in one compute thread; between requests it keeps the keys and values of
the last one. Covered: local safetensors only, no code from a checkpoint. Knows no text.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel
from transformers.utils import logging

from llmos_kernel.engine.base import CacheUse, GenerateRequest
from llmos_kernel.engine.torch.precision import default_dtype
from llmos_kernel.engine.torch.sampling import best_allowed, draw, log_totals
from llmos_kernel.errors import ModelError

# So many tokens of a prompt are computed before the deadline is looked at again.
CHUNK = 256
# What forwards call it, the newer name first.
CACHE_PARAMETERS = ("cache", "past_key_values")
# Of models that have no bound of their own, as those without positions.
DEFAULT_CONTEXT = 32_768


class TransformersEngine:
    """A model of transformers as an engine. Close it once; it then accepts no request."""

    takes_masks = True

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        self.context_length = int(getattr(config, "max_position_embeddings", 0) or DEFAULT_CONTEXT)
        self._vocabulary = int(config.vocab_size)
        self._model: Any = model
        parameters = inspect.signature(model.forward).parameters
        self._options: dict[str, Any] = {"use_cache": True}
        if "logits_to_keep" in parameters:
            self._options["logits_to_keep"] = 1
        known = [name for name in CACHE_PARAMETERS if name in parameters]
        if not known:
            raise ModelError(
                f"{type(model).__name__} keeps no cache in a form that transformers' others have; "
                "use another model"
            )
        self._cache_parameter = known[0]
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._is_closed = False
        self._cache_uses: dict[int, CacheUse] = {}
        # Owned by the compute thread: the cache, and the tokens whose keys and values it holds.
        self._cache = DynamicCache(config=model.config)
        self._held: list[int] = []

    @classmethod
    def load(cls, folder: Path) -> TransformersEngine:
        """Load a checkpoint, on the GPU where there is one.

        Raises:
            ModelError: the folder holds no checkpoint that transformers can run as it is.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        logging.disable_progress_bar()
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=default_dtype(folder, device),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        except Exception as error:  # the library has an error for each thing that may be wrong
            line = " ".join(str(error).split())[:300]
            raise ModelError(
                f"transformers cannot load {str(folder)!r} ({line}); use another checkpoint"
            ) from error
        return cls(model.to(device).eval())

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[int]:
        """Yield token ids; see `llmos_kernel.engine.base.Engine`. Requests wait for their turn.

        Raises:
            ModelError: the prompt leaves no room in the context, or holds unknown ids, or the
                model failed.
        """
        self._check(request)
        try:
            async with asyncio.timeout(_left_s(request)):
                await self._turn.acquire()
        except TimeoutError:
            return
        try:
            async for token_id in self._tokens(request):
                yield token_id
        finally:
            self._turn.release()

    def _check(self, request: GenerateRequest) -> None:
        room = self.context_length - len(request.tokens)
        if self._is_closed:
            raise ModelError("the engine was closed")
        if room < request.max_new_tokens:
            raise ModelError(
                f"the conversation of {len(request.tokens)} tokens leaves room for {max(room, 0)} "
                f"of {request.max_new_tokens} in the model's context of {self.context_length}"
            )
        if max(request.tokens) >= self._vocabulary:
            raise ModelError("the tokenizer has entries that the model lacks; they do not match")

    async def _tokens(self, request: GenerateRequest) -> AsyncGenerator[int]:
        loop = asyncio.get_running_loop()
        tokens = list(request.tokens)
        generator = torch.Generator().manual_seed(request.seed)
        use = self.cache_use(request.pid)
        use.num_prompt_tokens += len(tokens)
        use.num_cached_tokens += await loop.run_in_executor(self._thread, self._open, tokens)
        while (left := _left_s(request)) is None or left > 0:
            token_id = await loop.run_in_executor(
                self._thread, self._step, request, tokens, generator
            )
            if token_id is None:
                continue
            tokens.append(token_id)
            yield token_id
            num_new = len(tokens) - len(request.tokens)
            if token_id == request.stop_id or num_new >= request.max_new_tokens:
                return

    def cache_use(self, pid: int) -> CacheUse:
        return self._cache_uses.setdefault(pid, CacheUse())

    def renice(self, pid: int, nice: int) -> None:
        """Do nothing: requests take turns."""

    def fork(self, parent: int, child: int, num_tokens: int) -> None:
        """Do nothing: what is held is shared by whoever comes next."""

    def release(self, pid: int) -> None:
        self._cache_uses.pop(pid, None)

    def close(self) -> None:
        self._is_closed = True
        self._thread.shutdown(cancel_futures=True)

    # In the compute thread --------------------------------------------------

    def _open(self, tokens: list[int]) -> int:
        """Cut the cache to what it shares with `tokens`, all but the last; return how much."""
        limit = min(len(self._held), len(tokens) - 1)
        same = next((i for i in range(limit) if self._held[i] != tokens[i]), limit)
        num_foreign = len(self._held) - same
        if num_foreign and not self._is_cropped(num_foreign):
            self._forget()
        del self._held[same:]
        return len(self._held)

    def _is_cropped(self, num_tokens: int) -> bool:
        """Drop the cache's last tokens; False where its layers have lost what was before."""
        if not self._cache.is_croppable:
            return False
        try:
            self._cache.crop(-num_tokens)
        except RuntimeError:
            return False
        return True

    def _forget(self) -> None:
        self._cache = DynamicCache(config=self._model.config)
        self._held.clear()

    @torch.inference_mode()
    def _step(
        self, request: GenerateRequest, tokens: list[int], generator: torch.Generator
    ) -> int | None:
        """Compute one chunk of what is not held; return the next token once all is."""
        start = len(self._held)
        logits = self._computed(tokens[start : start + self._chunk_length(len(tokens))])
        if len(self._held) < len(tokens):
            return None
        is_drawn = request.temperature > 0
        (total,) = log_totals(logits[None], [request.log_probabilities is not None])
        (token_id,) = best_allowed(logits[None], [request.mask], is_drawn=[is_drawn])
        if is_drawn:
            token_id = draw(logits, request.temperature, generator)
        if request.log_probabilities is not None:
            request.log_probabilities.append(float(logits[token_id]) - total)
        if request.mask:
            request.mask.accept(token_id)
        return token_id

    def _chunk_length(self, num_tokens: int) -> int:
        """Return how many tokens may be computed next.

        Recurrent layers take a whole prompt, or one token after what they hold, and nothing else.
        """
        if not any(self._cache.is_linear):
            return CHUNK
        return 1 if self._held else num_tokens

    def _computed(self, chunk: list[int]) -> torch.Tensor:
        """Append tokens to the cache; return the logits of the last, float32 (vocabulary,)."""
        ids = torch.tensor([chunk], device=self._model.device)
        try:
            output = self._model(ids, **{self._cache_parameter: self._cache}, **self._options)
        except Exception as error:  # the library's classes fail in any way
            self._forget()
            raise ModelError(
                f"transformers' {type(self._model).__name__} failed ({error!r}); use another model"
            ) from error
        self._held += chunk
        return output.logits[0, -1].float()


def _left_s(request: GenerateRequest) -> float | None:
    return None if request.deadline is None else request.deadline - time.monotonic()
