"""Generates tokens for many sequences at once with a decoder in this process.

One compute thread steps batches that the scheduler plans: prompts in chunks, beside the decoding
of others (Sarathi-Serve, Agrawal et al., 2024). Between requests a process keeps its keys and
values; where pages run short, those of idle processes are swapped out first. Knows no text.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from llmos_kernel.engine.base import CacheUse, GenerateRequest
from llmos_kernel.engine.torch.cache import KVMemory, PageCache, page_bytes
from llmos_kernel.engine.torch.checkpoint import (
    DecoderConfig,
    read_config,
    read_weights,
)
from llmos_kernel.engine.torch.decoder import Decoder, Segment
from llmos_kernel.engine.torch.operations import Operations
from llmos_kernel.engine.torch.pages import PAGE_SIZE, PageTable, pages_for
from llmos_kernel.engine.torch.precision import default_dtype
from llmos_kernel.engine.torch.sampling import best_allowed, draw, log_totals
from llmos_kernel.errors import LlmosError, ModelError
from llmos_kernel.scheduler import Scheduler, Share

DEFAULT_CACHE_BYTES = 1 << 30
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Work:
    """A request at work. `tokens` is the sequence so far; those beyond the table are to compute.

    `arrivals` gets each new token, then None or the error that ended it.
    """

    request: GenerateRequest
    table: PageTable
    tokens: list[int]
    generator: torch.Generator
    arrivals: asyncio.Queue[int | LlmosError | None] = field(
        default_factory=asyncio.Queue[int | LlmosError | None]
    )
    is_cancelled: bool = False

    @property
    def num_new(self) -> int:
        return len(self.tokens) - len(self.request.tokens)

    @property
    def num_pending(self) -> int:
        return len(self.tokens) - len(self.table.tokens)

    @property
    def is_finished(self) -> bool:
        request = self.request
        has_stopped = self.num_new > 0 and self.tokens[-1] == request.stop_id
        return self.is_cancelled or has_stopped or self.num_new >= request.max_new_tokens


class TorchEngine:
    """The in-process engine. Close it once; it then accepts no request."""

    takes_masks = True

    def __init__(
        self,
        config: DecoderConfig,
        weights: dict[str, torch.Tensor],
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        swap_folder: Path | None = None,
        scheduler: Scheduler | None = None,
        operations: type[Operations] | None = None,
    ) -> None:
        """Take over `weights`. The cache has `cache_bytes`, but room for one whole context."""
        embedding = weights["model.embed_tokens.weight"]
        size = page_bytes(config, embedding.dtype)
        num_pages = max(cache_bytes, size * (pages_for(config.context_length) + 1)) // size
        cache = PageCache(config, num_pages, dtype=embedding.dtype, device=embedding.device)
        self.context_length = config.context_length
        self._vocabulary = config.vocabulary
        self._device = embedding.device
        self._decoder = Decoder(config, weights, cache, operations=operations)
        self._memory = KVMemory(cache, swap_folder=swap_folder)
        self._scheduler = scheduler or Scheduler()
        self._works: dict[int, Work] = {}
        # What processes without a request keep, by pid, the least recently used first.
        self._idle: dict[int, PageTable] = {}
        self._swapped: dict[int, PageTable] = {}
        self._cache_uses: dict[int, CacheUse] = {}
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._is_closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        # A thread that computes while the interpreter ends would abort the program.
        atexit.register(self.close)

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype | None = None, **options: Any) -> TorchEngine:
        """Load a checkpoint, on the GPU where there is one.

        Unless `dtype` is given, it is `default_dtype`: float32 for small models on the CPU, so
        that greedy output is exact, and for larger ones where bfloat16 is slow; else bfloat16.

        Raises:
            ModelError: the folder holds no checkpoint that this engine can run.
        """
        torch.set_num_threads(1)
        config = read_config(folder)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or default_dtype(folder, device)
        return cls(config, read_weights(folder, config, dtype=dtype, device=device), **options)

    # From the event loop ----------------------------------------------------

    async def generate(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Yield token ids; see `llmos_kernel.engine.base.Engine`.

        Raises:
            ModelError: the prompt leaves no room in the context, or holds unknown ids, or its
                process has a request at work already.
        """
        self._check(request)
        self._loop = asyncio.get_running_loop()
        generator = torch.Generator().manual_seed(request.seed)
        work = Work(request, PageTable(), list(request.tokens), generator)
        self._commands.put(functools.partial(self._admit, work))
        try:
            while (arrival := await work.arrivals.get()) is not None:
                if isinstance(arrival, LlmosError):
                    raise arrival
                yield arrival
        finally:
            work.is_cancelled = True

    def _check(self, request: GenerateRequest) -> None:
        room = self.context_length - len(request.tokens)
        if room < request.max_new_tokens:
            raise ModelError(
                f"the conversation of {len(request.tokens)} tokens leaves room for {max(room, 0)} "
                f"of {request.max_new_tokens} in the model's context of {self.context_length}"
            )
        if max(request.tokens) >= self._vocabulary:
            raise ModelError("the tokenizer has entries that the model lacks; they do not match")

    def cache_use(self, pid: int) -> CacheUse:
        return self._cache_uses.setdefault(pid, CacheUse())

    def renice(self, pid: int, nice: int) -> None:
        self._commands.put(functools.partial(self._scheduler.renice, pid, nice))

    def release(self, pid: int) -> None:
        self._cache_uses.pop(pid, None)
        self._commands.put(functools.partial(self._release, pid))

    def fork(self, parent: int, child: int, num_tokens: int) -> None:
        self._commands.put(functools.partial(self._fork, parent, child, num_tokens))

    async def swap_out(self, pid: int) -> None:
        """Move what an idle process holds alone out of memory; its next request brings it back."""
        await self._between_steps(functools.partial(self._swap_out, pid))

    async def check_integrity(self) -> None:
        """Raise AssertionError where the books of the pages are wrong."""
        await self._between_steps(self._check_integrity)

    async def _between_steps(self, act: Callable[[], Result]) -> Result:
        """Run a function in the compute thread and return what it returns."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        outcome: list[Result | BaseException] = []

        def run() -> None:
            try:
                outcome.append(act())
            except BaseException as error:  # handed to the caller, whatever it is
                outcome.append(error)
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        self._commands.put(run)
        await done.wait()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def close(self) -> None:
        atexit.unregister(self.close)
        self._commands.put(self._stop)
        self._thread.join()
        self._memory.close()

    # In the compute thread --------------------------------------------------

    def _run(self) -> None:
        while not self._is_closing:
            self._take_commands()
            self._end_finished()
            self._share_prefixes()
            if batch := self._fitting(self._scheduler.plan()):
                self._step_guarded(batch)

    def _take_commands(self) -> None:
        """Act on all that was asked since the last step; wait where there is nothing to do."""
        while not self._is_closing:
            try:
                command = self._commands.get(block=not self._works)
            except queue.Empty:
                return
            command()

    def _stop(self) -> None:
        self._is_closing = True
        for work in list(self._works.values()):
            self._end(work, ModelError("the engine was closed"))

    def _admit(self, work: Work) -> None:
        request = work.request
        if request.pid in self._works and not self._works[request.pid].is_cancelled:
            error = ModelError(f"process {request.pid} has a request at work already")
            self._deliver([(work, error)])
            return
        if request.pid in self._works:
            self._end(self._works[request.pid], None)
        self._open(work)
        use = self.cache_use(request.pid)
        use.num_prompt_tokens += len(request.tokens)
        use.num_cached_tokens += len(work.table.tokens)
        self._works[request.pid] = work
        self._enter(work)

    def _open(self, work: Work) -> None:
        """Give a work the process's own table cut to the common prefix, or a known prefix."""
        own = self._taken(work.request.pid)
        work.table = self._memory.manager.open(work.tokens)
        if own is None:
            return
        common = min(own.common_length(work.tokens), len(work.tokens) - 1)
        if common >= len(work.table.tokens):
            own, work.table = work.table, own
            self._memory.manager.truncate(work.table, common)
        self._memory.manager.release(own)

    def _taken(self, pid: int) -> PageTable | None:
        """Take out what an idle process keeps."""
        return self._idle.pop(pid, None) or self._swapped.pop(pid, None)

    def _enter(self, work: Work) -> None:
        request = work.request
        self._scheduler.add(
            request.pid,
            num_pending=work.num_pending,
            nice=request.nice,
            is_interactive=request.is_interactive,
        )

    def _share_prefixes(self) -> None:
        """Let prompts go on from what others have computed since they were admitted.

        So of processes that begin alike at once, each computes a part for all.
        """
        for work in self._works.values():
            if work.num_pending <= PAGE_SIZE:
                continue
            if gained := self._memory.manager.extend(work.table, work.tokens):
                self.cache_use(work.request.pid).num_cached_tokens += gained
                self._scheduler.set_pending(work.request.pid, work.num_pending)

    def _end_finished(self) -> None:
        now = time.monotonic()
        for work in list(self._works.values()):
            deadline = work.request.deadline
            if work.is_finished or (deadline is not None and now >= deadline):
                self._end(work, None)

    def _end(self, work: Work, error: LlmosError | None) -> None:
        """Take a work out; the process keeps its table."""
        pid = work.request.pid
        del self._works[pid]
        self._scheduler.remove(pid)
        self._idle[pid] = work.table
        self._deliver([(work, error)])

    def _deliver(self, arrivals: list[tuple[Work, int | LlmosError | None]]) -> None:
        """Hand tokens and ends to the event loop, all in one wake-up."""

        def put_all() -> None:
            for work, arrival in arrivals:
                work.arrivals.put_nowait(arrival)

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(put_all)

    def _fitting(self, plan: list[Share]) -> list[Share]:
        """Make room for the planned rows in their order; return those that have it.

        A process that is itself swapped out displaces another only once it has waited its bound,
        or when no other fits, so that two that do not fit together take long turns.
        """
        fitting: list[Share] = []
        for share in plan:
            work = self._works[share.pid]
            may_displace = work.table.is_resident or self._scheduler.is_overdue(share.pid)
            if self._make_room(share, fitting, may_displace=may_displace):
                fitting.append(share)
        if plan and not fitting and self._make_room(plan[0], [], may_displace=True):
            fitting = plan[:1]
        return fitting

    def _make_room(self, share: Share, batch: list[Share], *, may_displace: bool) -> bool:
        """Swap out idle processes, then such as are due later, until a row fits.

        Only when that is not enough do swapped processes give up what they share.
        """
        work = self._works[share.pid]
        while not self._memory.has_room(work.table, share.num_tokens):
            is_freed = any(self._swap_out(pid) for pid in list(self._idle))
            if not is_freed and may_displace:
                is_freed = self._displace(share, batch) or self._empty_swapped()
            if not is_freed:
                return False
        self._memory.prepare(work.table, share.num_tokens)
        return True

    def _empty_swapped(self) -> bool:
        return any(self._memory.vacate(table) for table in self._swapped.values())

    def _displace(self, share: Share, batch: list[Share]) -> bool:
        """Free pages of the process outside the batch that is due last, if one has any."""
        kept = {share.pid, *(other.pid for other in batch)}
        for entry in reversed(self._scheduler.order()):
            work = self._works[entry.pid]
            if entry.pid not in kept and self._memory.vacate(work.table):
                self._scheduler.set_pending(entry.pid, work.num_pending)
                return True
        return False

    def _step_guarded(self, batch: list[Share]) -> None:
        try:
            self._step(batch)
        except Exception as error:  # whatever PyTorch raises: each request gets its one reply
            for work in list(self._works.values()):
                self._end(work, ModelError(f"the engine failed: {type(error).__name__}: {error}"))

    @torch.inference_mode()
    def _step(self, batch: list[Share]) -> None:
        batch = sorted(batch, key=lambda share: share.num_tokens > 1)
        segments: list[Segment] = []
        for share in batch:
            work = self._works[share.pid]
            start = len(work.table.tokens)
            segments.append(Segment(work.table, work.tokens[start : start + share.num_tokens]))
        logits = self._decoder.forward(segments)
        works = [self._works[share.pid] for share in batch]
        is_due = [len(s.tokens) == w.num_pending for w, s in zip(works, segments, strict=True)]
        masks = [w.request.mask if due else None for w, due in zip(works, is_due, strict=True)]
        totals = log_totals(logits, [w.request.log_probabilities is not None for w in works])
        best = best_allowed(logits, masks, is_drawn=[w.request.temperature > 0 for w in works])
        arrivals: list[tuple[Work, int | LlmosError | None]] = []
        for index, (work, segment) in enumerate(zip(works, segments, strict=True)):
            self._memory.manager.append(work.table, segment.tokens)
            if not work.num_pending:
                token = (
                    best[index]
                    if not work.request.temperature
                    else draw(logits[index], work.request.temperature, work.generator)
                )
                work.tokens.append(token)
                if (told := work.request.log_probabilities) is not None:
                    told.append(float(logits[index, token]) - totals[index])
                if work.request.mask:
                    work.request.mask.accept(token)
                arrivals.append((work, token))
        self._scheduler.charge(batch)
        if arrivals:
            self._deliver(arrivals)

    def _release(self, pid: int) -> None:
        if pid in self._works:
            self._end(self._works[pid], None)
        if table := self._taken(pid):
            self._memory.manager.release(table)
        self._scheduler.forget(pid)

    def _fork(self, parent: int, child: int, num_tokens: int) -> None:
        work = self._works.get(parent)
        table = work.table if work else self._idle.get(parent) or self._swapped.get(parent)
        if table is None or not self._memory.has_room(table, 0):
            return
        if child in self._works:
            return
        if old := self._taken(child):
            self._memory.manager.release(old)
        self._memory.bring_in(table)
        length = min(num_tokens, len(table.tokens))
        self._idle[child] = self._memory.manager.fork(table, length)

    def _swap_out(self, pid: int) -> bool:
        """Free the pages of an idle process; return whether it held any."""
        table = self._idle.pop(pid, None)
        if table is None:
            return False
        self._swapped[pid] = table
        return self._memory.vacate(table)

    def _check_integrity(self) -> None:
        tables = [*self._idle.values(), *self._swapped.values()]
        tables += [work.table for work in self._works.values()]
        self._memory.manager.check_integrity(tables)
