"""Generates tokens by asking an endpoint, in a vocabulary of its own.

What it yields is bytes and marks (see `vocabulary`), so a call can come only from the server's
structured calls, and text that spells a mark stays text. Not covered: a server that itself takes
a model's text for a call. It takes no masks: the server gets the tools' schemas, and vLLM and
SGLang hold the model to them where a function is marked as strict.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from llmos_kernel.engine.base import CacheUse, GenerateRequest
from llmos_kernel.engine.remote.deltas import ReplyReader
from llmos_kernel.engine.remote.endpoint import Endpoint, broken
from llmos_kernel.engine.remote.messages import Conversation, read_conversation
from llmos_kernel.engine.remote.probe import LEAST_CONTEXT, Probed, probe
from llmos_kernel.errors import ModelError

# English has four bytes a token and more, JSON and code three, Chinese two to three: with two, a
# conversation that fits by our count fits by the server's; only runs of digits may not, and then
# the server refuses.
CONTEXT_BYTES_PER_TOKEN = 2
# What a reply's limit of tokens comes to in bytes, about.
REPLY_BYTES_PER_TOKEN = 4


class RemoteEngine:
    """An endpoint as an engine. Every request is a connection of its own."""

    takes_masks = False

    def __init__(self, endpoint: Endpoint, probed: Probed) -> None:
        self.probed = probed
        self.context_length = (probed.context or LEAST_CONTEXT) * CONTEXT_BYTES_PER_TOKEN
        self._endpoint = endpoint
        self._cache_uses: dict[int, CacheUse] = {}
        self._is_closed = False

    @classmethod
    def connect(
        cls, url: str, *, name: str | None, api_key: str | None, proofs: Path | None
    ) -> RemoteEngine:
        """Probe an endpoint and take it as an engine; see `probe`.

        Raises:
            ModelError: it cannot be used.
        """
        endpoint = Endpoint.at(url, api_key)
        return cls(endpoint, probe(endpoint, name, proofs))

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[int]:
        """Yield ids; see `llmos_kernel.engine.base.Engine`.

        A reply that was begun before is asked for again, and its beginning is not yielded.

        Raises:
            ModelError: the endpoint refuses, cannot be reached or breaks off.
        """
        if self._is_closed:
            raise ModelError("the engine was closed")
        conversation = read_conversation(request.tokens)
        begun, num_new = conversation.begun, 0
        async with aclosing(self._ids(request, conversation)) as ids:
            position = 0
            async for token_id in _until(ids, request.deadline):
                position += 1
                if position <= len(begun):
                    self._check_begun(token_id, begun[position - 1])
                    continue
                yield token_id
                num_new += 1
                if num_new >= request.max_new_tokens:
                    return

    def _check_begun(self, token_id: int, expected: int) -> None:
        if token_id != expected:
            raise ModelError(
                f"{self._endpoint.url} said something else when it was asked to go on with its "
                "reply; give the request again"
            )

    async def _ids(
        self, request: GenerateRequest, conversation: Conversation
    ) -> AsyncGenerator[int]:
        reader = ReplyReader()
        body = self._body(request, conversation)
        try:
            async with aclosing(self._endpoint.events(body)) as events:
                async for event in events:
                    self._count(request.pid, event)
                    for token_id in self._read(reader, event):
                        yield token_id
            failure = broken(self._endpoint.url, "the stream ended before the reply did")
        except ModelError as error:
            failure = error
        for token_id in reader.finish():
            yield token_id
        if reader.finish_reason is None:
            raise failure

    def _body(self, request: GenerateRequest, conversation: Conversation) -> dict[str, Any]:
        num_bytes = len(conversation.begun) + request.max_new_tokens
        body: dict[str, Any] = {
            "model": self.probed.model,
            "messages": conversation.messages,
            "stream": True,
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": -(-num_bytes // REPLY_BYTES_PER_TOKEN),
        }
        if conversation.tools:
            body["tools"] = self._tools(conversation)
        if self.probed.is_known_server:  # others may refuse what they do not know
            body["stream_options"] = {"include_usage": True}
        return body

    def _tools(self, conversation: Conversation) -> list[dict[str, Any]]:
        """Return the tools, marked where the server then holds the model to their schemas.

        Those without arguments are not: held to an empty object, some models never close it.
        """
        if not self.probed.takes_strict:
            return conversation.tools
        return [_strict(tool) for tool in conversation.tools]

    def _read(self, reader: ReplyReader, event: dict[str, Any]) -> list[int]:
        try:
            return [i for choice in event.get("choices") or [] for i in reader.feed(choice)]
        except (AttributeError, TypeError) as error:
            raise broken(self._endpoint.url, f"an event of unknown form: {error}") from error

    def _count(self, pid: int, event: dict[str, Any]) -> None:
        """Count the prompt where the server says how much of it was held."""
        usage = event.get("usage") or {}
        num_cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        if num_cached is not None:
            use = self.cache_use(pid)
            use.num_prompt_tokens += usage.get("prompt_tokens") or 0
            use.num_cached_tokens += num_cached

    def cache_use(self, pid: int) -> CacheUse:
        return self._cache_uses.setdefault(pid, CacheUse())

    def renice(self, pid: int, nice: int) -> None:
        """Do nothing: the server divides its time itself."""

    def fork(self, parent: int, child: int, num_tokens: int) -> None:
        """Do nothing: the server finds what two conversations share by itself."""

    def release(self, pid: int) -> None:
        self._cache_uses.pop(pid, None)

    def close(self) -> None:
        self._is_closed = True


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    function: dict[str, Any] = tool["function"]
    if not function["parameters"].get("properties"):
        return tool
    return {**tool, "function": {**function, "strict": True}}


async def _until(ids: AsyncIterator[int], deadline: float | None) -> AsyncGenerator[int]:
    """Yield from an iterator up to a moment of `time.monotonic()`."""
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        try:
            async with asyncio.timeout(left):
                token_id = await anext(ids)
        except (StopAsyncIteration, TimeoutError):
            return
        yield token_id
