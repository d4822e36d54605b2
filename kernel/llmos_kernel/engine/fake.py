"""An engine for tests and replays: it says what it was told to say, one script for each request."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from llmos_kernel.engine.base import CacheUse, GenerateRequest


class Gate:
    """A place in a script where the engine waits until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


Script: TypeAlias = Sequence[int | Gate]


class FakeEngine:
    """Yields prepared token ids. `requests` keeps what was asked, for assertions.

    A request takes the next script of its pid where `by_pid` has one, else the next of `scripts`.
    One that goes on where a broken off request ended goes on with the rest of that one's script.
    `log_probability` says how likely each token is; without it nothing is known of that.
    """

    takes_masks = False

    def __init__(
        self,
        scripts: Iterable[Script] = (),
        *,
        by_pid: Mapping[int, Iterable[Script]] | None = None,
        context_length: int = 4096,
        log_probability: Callable[[int], float] | None = None,
    ) -> None:
        self._scripts = iter(scripts)
        self._by_pid = {pid: iter(own) for pid, own in (by_pid or {}).items()}
        self._rests: dict[int, tuple[list[int], list[int | Gate]]] = {}
        self._uses: defaultdict[int, CacheUse] = defaultdict(CacheUse)
        self._log_probability = log_probability
        self.context_length = context_length
        self.requests: list[GenerateRequest] = []
        self.released: list[int] = []
        self.forks: list[tuple[int, int, int]] = []
        self.nices: dict[int, int] = {}

    async def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Yield the next script, cut at the request's limit."""
        self.requests.append(request)
        self._uses[request.pid].num_prompt_tokens += len(request.tokens)
        rest, said = self._script(request), list[int]()
        try:
            while rest and len(said) < request.max_new_tokens:
                item = rest[0]
                if isinstance(item, Gate):
                    await item.pass_through()
                    del rest[0]
                    continue
                await asyncio.sleep(0)
                del rest[0]
                said.append(item)
                if self._log_probability and request.log_probabilities is not None:
                    request.log_probabilities.append(self._log_probability(item))
                yield item
        finally:
            self._rests[request.pid] = ([*request.tokens, *said], rest)

    def _script(self, request: GenerateRequest) -> list[int | Gate]:
        seen, rest = self._rests.pop(request.pid, ([], []))
        if rest and seen == list(request.tokens):
            return rest
        return list(next(self._by_pid.get(request.pid, self._scripts)))

    def renice(self, pid: int, nice: int) -> None:
        self.nices[pid] = nice

    def fork(self, parent: int, child: int, num_tokens: int) -> None:
        self.forks.append((parent, child, num_tokens))

    def cache_use(self, pid: int) -> CacheUse:
        return self._uses[pid]

    def release(self, pid: int) -> None:
        self.released.append(pid)
        self._uses.pop(pid, None)
        self._rests.pop(pid, None)

    def close(self) -> None:
        """Hold nothing, so give nothing back."""
