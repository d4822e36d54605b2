"""A second, larger model, which makes a whole step of a conversation that it is given as messages.

Loaded at its first use, in a thread. Knows no process and no journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from llmos_kernel.abi import Message, ToolSpec
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.base import Engine, GenerateRequest
from llmos_kernel.errors import ModelError
from llmos_kernel.grammar import Masks
from llmos_kernel.grounding import Seen
from llmos_kernel.trap import Event, Malformed, Text, Trap, TrapParser

LoadModel: TypeAlias = Callable[[], tuple[Renderer, Engine]]


@dataclass(frozen=True, slots=True)
class StepRequest:
    """What a step is asked for with: the conversation, its tools, what it has seen, its share.

    `max_tokens` None sets no bound but the model's own; `deadline` is of `time.monotonic()`.
    """

    messages: Sequence[Message]
    specs: Sequence[ToolSpec]
    seen: Seen
    max_tokens: int | None
    deadline: float | None
    pid: int
    nice: int
    is_interactive: bool


@dataclass(slots=True)
class Reply:
    """A step as it grows. `is_whole` once the model has ended it itself."""

    text: str = ""
    traps: list[Trap | Malformed] = field(default_factory=list[Trap | Malformed])
    num_tokens: int = 0
    is_whole: bool = False

    def take(self, events: Sequence[Event]) -> None:
        """Add what a parser read."""
        self.text += "".join(event.text for event in events if isinstance(event, Text))
        self.traps += [event for event in events if isinstance(event, Trap | Malformed)]


class LargerModel(Protocol):
    """Makes steps in place of a smaller model. `name` is what people call it."""

    @property
    def name(self) -> str: ...

    async def speak(self, request: StepRequest, reply: Reply) -> None:
        """Let a reply grow to the end of a step or a limit; cancelling it ends the work.

        Raises:
            ModelError: the model cannot be loaded, reached or given the conversation.
        """
        ...

    def renice(self, pid: int, nice: int) -> None:
        """Change the share of a request that is at work, if there is one."""
        ...

    def release(self, pid: int) -> None:
        """Forget a process that has ended."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Loaded:
    renderer: Renderer
    engine: Engine
    masks: Masks | None


class LazyModel:
    """A larger model over an engine and a renderer of its own."""

    def __init__(
        self, name: str, load: LoadModel, *, max_step_tokens: int, ids_per_token: int = 1
    ) -> None:
        """`ids_per_token` is how many ids of its engine are counted as one token."""
        self.name = name
        self._load = load
        self._max_step_tokens = max_step_tokens
        self._ids_per_token = ids_per_token
        self._loading: asyncio.Task[_Loaded] | None = None

    async def speak(self, request: StepRequest, reply: Reply) -> None:
        """Let a reply grow; see `LargerModel`."""
        model = await self._loaded()
        asked = self._asked(model, request)
        parser = TrapParser(model.renderer, request.specs)
        num_ids = 0
        async with aclosing(model.engine.generate(asked)) as ids:  # pyright: ignore
            async for token_id in ids:
                num_ids += 1
                reply.num_tokens = -(-num_ids // self._ids_per_token)
                reply.take(parser.feed(token_id))
                if token_id in model.renderer.stop_ids:
                    reply.is_whole = True
                    break
        reply.take(parser.finish())

    def _asked(self, model: _Loaded, request: StepRequest) -> GenerateRequest:
        renderer, length = model.renderer, model.engine.context_length
        ids = renderer.conversation_ids(
            request.messages, request.specs, system_prompt=SYSTEM_PROMPT
        )
        if len(ids) >= length:
            raise ModelError(f"the conversation does not fit its context of {length} tokens")
        most = self._max_step_tokens
        if request.max_tokens is not None:
            most = min(most, request.max_tokens)
        return GenerateRequest(
            ids,
            renderer.stop_id,
            min(most * self._ids_per_token, length - len(ids)),
            deadline=request.deadline,
            pid=request.pid,
            nice=request.nice,
            is_interactive=request.is_interactive,
            mask=model.masks.mask(request.specs, request.seen) if model.masks else None,
        )

    async def _loaded(self) -> _Loaded:
        """Return the model, loaded once for all; one that could not be is tried again."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load_all))
        try:
            return await asyncio.shield(self._loading)
        except Exception:
            self._loading = None
            raise

    def _load_all(self) -> _Loaded:
        renderer, engine = self._load()
        return _Loaded(renderer, engine, Masks(renderer) if engine.takes_masks else None)

    def _engine(self) -> Engine | None:
        loading = self._loading
        is_there = loading is not None and loading.done() and not loading.exception()
        return loading.result().engine if loading is not None and is_there else None

    def renice(self, pid: int, nice: int) -> None:
        """Change the share of a request; see `LargerModel`."""
        if engine := self._engine():
            engine.renice(pid, nice)

    def release(self, pid: int) -> None:
        """Forget a process; see `LargerModel`."""
        if engine := self._engine():
            engine.release(pid)

    async def close(self) -> None:
        """Close the engine, once it is there where it is being loaded."""
        if self._loading is not None:
            with suppress(Exception):  # who needed it was told
                (await self._loading).engine.close()
