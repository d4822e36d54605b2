"""An engine for tests: it says what it was told to say, one script for each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from llmos_kernel.engine.base import CacheUse, GenerateRequest


class FakeEngine:
    """Yields prepared token ids. `requests` keeps what was asked, for assertions."""

    def __init__(self, scripts: Iterable[Sequence[int]], *, context_length: int = 4096) -> None:
        self._scripts = iter(scripts)
        self.context_length = context_length
        self.cache_use = CacheUse()
        self.requests: list[GenerateRequest] = []

    async def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Yield the next script, cut at the request's limit."""
        self.requests.append(request)
        self.cache_use.num_prompt_tokens += len(request.tokens)
        for token_id in next(self._scripts)[: request.max_new_tokens]:
            await asyncio.sleep(0)
            yield token_id

    def close(self) -> None:
        """Hold nothing, so give nothing back."""
