"""Who gets the model next: fair shares by tokens, priorities, and a bound on every wait.

Each process has a virtual time that grows by the tokens it was given, more slowly the higher its
priority (Linux' CFS weights; for language models: Sheng et al., 2024, "Fairness in Serving Large
Language Models"). Pure policy: knows no engine, no pages and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NICE_STEP = 1.25


@dataclass(slots=True)
class Entry:
    """A process that wants the model. `num_pending` tokens are to be computed before its next one.

    `num_waited` counts the plans since it was last in one.
    """

    pid: int
    nice: int
    is_interactive: bool
    num_pending: int
    virtual_time: float = 0.0
    num_waited: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the next batch that a process gets."""

    pid: int
    num_tokens: int


@dataclass(slots=True)
class Scheduler:
    """Plans batches of at most `max_rows` processes.

    At most `prefill_budget` tokens of a batch are prompts while others decode, and
    `idle_prefill_budget` while none does. A process that was left out of `max_wait` plans goes
    before all others, so of n processes none waits for more than max_wait + n plans, and for
    more than max_wait + ceil(n / max_rows) where none has a prompt to compute.
    """

    max_rows: int = 64
    prefill_budget: int = 96
    idle_prefill_budget: int = 512
    max_wait: int = 32
    _entries: dict[int, Entry] = field(default_factory=dict[int, Entry])
    _past: dict[int, float] = field(default_factory=dict[int, float])

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, pid: int, *, num_pending: int, nice: int = 0, is_interactive: bool = False
    ) -> None:
        """Let a process take part; it starts level with the one that has had least so far."""
        floor = min((entry.virtual_time for entry in self._entries.values()), default=0.0)
        virtual_time = max(self._past.pop(pid, 0.0), floor)
        self._entries[pid] = Entry(pid, nice, is_interactive, num_pending, virtual_time)

    def remove(self, pid: int) -> None:
        """Take a process out; what it has used counts again when it comes back."""
        self._past[pid] = self._entries.pop(pid).virtual_time

    def forget(self, pid: int) -> None:
        """Drop what is known of a process that has ended."""
        self._entries.pop(pid, None)
        self._past.pop(pid, None)

    def set_pending(self, pid: int, num_pending: int) -> None:
        """Correct what is to be computed, where a process has lost some of what it had."""
        self._entries[pid].num_pending = num_pending

    def renice(self, pid: int, nice: int) -> None:
        if pid in self._entries:
            self._entries[pid].nice = nice

    def is_overdue(self, pid: int) -> bool:
        """Whether a process has been left out of so many plans that it goes before all others."""
        return self._entries[pid].num_waited >= self.max_wait

    def order(self) -> list[Entry]:
        """Return all processes, the one that is due first at the front."""
        return sorted(self._entries.values(), key=self._rank)

    def _rank(self, entry: Entry) -> tuple[bool, bool, float, int]:
        return (
            not self.is_overdue(entry.pid),
            not entry.is_interactive,
            entry.virtual_time,
            entry.pid,
        )

    def plan(self) -> list[Share]:
        """Return the next batch, in order of precedence, without charging for it."""
        order = self.order()
        is_decoding = any(entry.num_pending == 1 for entry in order[: self.max_rows])
        budget = self.prefill_budget if is_decoding else self.idle_prefill_budget
        shares: list[Share] = []
        for entry in order:
            if len(shares) == self.max_rows:
                break
            count = 1 if entry.num_pending == 1 else min(entry.num_pending, budget)
            if count == 0:
                continue
            if entry.num_pending > 1:
                budget -= count
            shares.append(Share(entry.pid, count))
        return shares

    def charge(self, shares: list[Share]) -> None:
        """Record that a batch was computed; what was planned and left out has waited."""
        given = {share.pid: share.num_tokens for share in shares}
        for entry in self._entries.values():
            entry.num_waited += 1
            if count := given.get(entry.pid):
                entry.num_waited = 0
                entry.virtual_time += count * NICE_STEP**entry.nice
                entry.num_pending = max(1, entry.num_pending - count)
