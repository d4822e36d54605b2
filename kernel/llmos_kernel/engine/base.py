"""The seam between the kernel and whatever makes tokens.

What the kernel asks is stateless: every request holds the whole sequence. What an engine keeps
from one request to the next is a cache that it may drop at any time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """`tokens` is the whole sequence so far. The stop token is yielded too, as the last one.

    `temperature` 0 is greedy. `deadline` is a value of `time.monotonic()`, or None.
    """

    tokens: Sequence[int]
    stop_id: int
    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    deadline: float | None = None


@dataclass(slots=True)
class CacheUse:
    """How many prompt tokens were asked for, and how many of them were already held."""

    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0

    @property
    def share(self) -> float:
        return self.num_cached_tokens / self.num_prompt_tokens if self.num_prompt_tokens else 0.0


class Engine(Protocol):
    """A source of tokens."""

    @property
    def context_length(self) -> int:
        """The most tokens a sequence can have, prompt and answer together."""
        ...

    @property
    def cache_use(self) -> CacheUse: ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Yield new token ids one by one until the stop token or a limit.

        Closing or cancelling the iterator ends the work before its next token. Iterators of
        several requests may be open at once.
        """
        ...

    def close(self) -> None: ...
