"""The seam between the kernel and whatever makes tokens.

What the kernel asks is stateless: every request holds the whole sequence. What an engine keeps
from one request to the next is a cache that it may drop at any time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TokenMask(Protocol):
    """Says token by token what may come next in one request. Called by the engine only."""

    def words(self) -> NDArray[np.int32] | None:
        """Return bits, 32 a word: bit i % 32 of word i // 32 is set where token i is allowed.

        At least one is. None allows anything; the array is good until the next call.
        """
        ...

    def allows(self, token_id: int) -> bool:
        """Whether one token may come next; cheaper than `words`, of which it allows all and more.

        More are other spellings of the same text.
        """
        ...

    def accept(self, token_id: int) -> None:
        """Take notice of the token that was chosen."""
        ...


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """`tokens` is the whole sequence so far. The stop token is yielded too, as the last one.

    `temperature` 0 is greedy. `deadline` is a value of `time.monotonic()`, or None. The share of
    the model that a request gets is counted by `pid`; a smaller `nice` (-20 to 19) gets more, and
    an interactive request goes before those that are not. Where `log_probabilities` is a list, an
    engine that can say it appends that of each new token, before it yields it: how likely the model
    itself holds it, whatever the mask allows and the temperature is.
    """

    tokens: Sequence[int]
    stop_id: int
    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    deadline: float | None = None
    pid: int = 0
    nice: int = 0
    is_interactive: bool = False
    mask: TokenMask | None = None
    log_probabilities: list[float] | None = None


@dataclass(slots=True)
class CacheUse:
    """How many prompt tokens were asked for, and how many of them were already held."""

    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0

    @property
    def share(self) -> float:
        return self.num_cached_tokens / self.num_prompt_tokens if self.num_prompt_tokens else 0.0


class Engine(Protocol):
    """A source of tokens. Use from one event loop."""

    @property
    def context_length(self) -> int:
        """The most tokens a sequence can have, prompt and answer together."""
        ...

    @property
    def takes_masks(self) -> bool:
        """Whether it chooses by masks; for one that does not none is made."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Yield new token ids one by one until the stop token, a limit or the deadline.

        Closing or cancelling the iterator ends the work before its next token. Iterators of
        several requests may be open at once, one for each pid.
        """
        ...

    def renice(self, pid: int, nice: int) -> None:
        """Change the share of a request that is at work, if there is one."""
        ...

    def fork(self, parent: int, child: int, num_tokens: int) -> None:
        """Let a new process share what is held of another's first tokens, at work or not."""
        ...

    def cache_use(self, pid: int) -> CacheUse:
        """Return what a process asked for and found since it first did, until it is released."""
        ...

    def release(self, pid: int) -> None:
        """Forget a process that has ended: what is held for it only may go."""
        ...

    def close(self) -> None: ...
