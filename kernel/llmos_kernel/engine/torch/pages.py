"""Which page of the KV cache holds which tokens: shared prefixes, copy on write, swap.

Pages and copy on write after vLLM (Kwon et al., 2023), prefix reuse after its hash-chained
blocks; here the chain's links are compared, not hashed, so that no two prefixes can be confused.
Pure bookkeeping: knows no tensor, no request and no process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from llmos_kernel.errors import LlmosError

PAGE_SIZE = 32
ROOT = 0

Link: TypeAlias = tuple[int, tuple[int, ...]]


class OutOfPages(LlmosError):
    """Every page is in use by some sequence; the caller swaps one out or waits."""


@dataclass(slots=True)
class PageTable:
    """One sequence: its tokens, and the pages that hold their keys and values, in order.

    `tokens[i]` lies in `pages[i // PAGE_SIZE]`. A page that is swapped out is None, and `slots`
    says by its index where it went. There may be more pages than the tokens need: they are
    reserved for those that come next. `chain[i]` names the prefix that ends with the i-th page.
    """

    tokens: list[int] = field(default_factory=list[int])
    pages: list[int | None] = field(default_factory=list[int | None])
    slots: dict[int, int] = field(default_factory=dict[int, int])
    chain: list[int] = field(default_factory=list[int])

    @property
    def is_resident(self) -> bool:
        return not self.slots

    def common_length(self, tokens: Sequence[int]) -> int:
        """Return how many leading ids of `tokens` are held."""
        limit = min(len(self.tokens), len(tokens))
        if self.tokens[:limit] == list(tokens[:limit]):
            return limit
        return next(i for i in range(limit) if self.tokens[i] != tokens[i])


class BlockManager:
    """Hands out the pages of one cache. A page without a user keeps its content until reused.

    Swap slots, a page's size each, are counted from 0; there are as many as are asked for.
    """

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._users = [0] * num_pages
        self._unused: dict[int, None] = dict.fromkeys(range(num_pages))  # least recently used first
        self._page_of: dict[Link, int] = {}
        self._link_of: dict[int, Link] = {}
        self._prefix_of: dict[int, int] = {}
        self._num_prefixes = ROOT
        self._free_slots: list[int] = []
        self._num_slots = 0

    @property
    def num_unused(self) -> int:
        return len(self._unused)

    def open(self, tokens: Sequence[int]) -> PageTable:
        """Return a new table that holds the longest known prefix of `tokens`, in full pages.

        At least one token is left out, so that there is something to compute.
        """
        table = PageTable()
        self.extend(table, tokens)
        return table

    def extend(self, table: PageTable, tokens: Sequence[int]) -> int:
        """Let a table, which holds the beginning of `tokens`, share what is known of the next ones.

        Only full pages, and at least one token is left out, as in `open`. Returns how many tokens
        the table holds more than before.
        """
        held = len(table.tokens)
        shared: list[int] = []
        prefix = table.chain[-1] if table.chain else ROOT
        for start in range(len(table.chain) * PAGE_SIZE, len(tokens) - PAGE_SIZE, PAGE_SIZE):
            page = self._page_of.get((prefix, tuple(tokens[start : start + PAGE_SIZE])))
            if page is None:
                break
            prefix = self._prefix_of[page]
            shared.append(page)
        if not shared:
            return 0
        for page in shared:
            self._use(page)
        self.truncate(table, len(table.chain) * PAGE_SIZE)
        table.pages.extend(shared)
        table.chain.extend(self._prefix_of[page] for page in shared)
        table.tokens.extend(tokens[len(table.tokens) : len(table.pages) * PAGE_SIZE])
        return len(table.tokens) - held

    def reserve(self, table: PageTable, count: int) -> list[tuple[int, int]]:
        """Make room in a resident table for `count` more tokens; return (from, to) pages to copy.

        Raises:
            OutOfPages: there are not enough; the table is unchanged.
        """
        held = len(table.tokens)
        shared = self._shared_tail(table)
        if (needed := self.num_needed(table, count)) > len(self._unused):
            raise OutOfPages(f"{needed} pages are needed, {self.num_unused} are unused")
        copies: list[tuple[int, int]] = []
        if shared is not None:
            table.pages[held // PAGE_SIZE] = fresh = self._take()
            copies.append((shared, fresh))
            self._drop(shared)
        while len(table.pages) < pages_for(held + count):
            table.pages.append(self._take())
        return copies

    def _shared_tail(self, table: PageTable) -> int | None:
        """Return the page that the next token falls in, where others may read it."""
        index, offset = divmod(len(table.tokens), PAGE_SIZE)
        page = table.pages[index] if offset else None
        is_shared = page is not None and (self._users[page] > 1 or page in self._link_of)
        return page if is_shared else None

    def append(self, table: PageTable, tokens: Sequence[int]) -> None:
        """Record tokens whose keys and values now lie in the reserved pages."""
        first = len(table.tokens) // PAGE_SIZE
        table.tokens.extend(tokens)
        for index in range(first, len(table.tokens) // PAGE_SIZE):
            page = table.pages[index]
            if page is not None:
                table.chain.append(self._publish(table, index, page))

    def _publish(self, table: PageTable, index: int, page: int) -> int:
        """Make a full page known as a prefix; return the prefix's name, new or known."""
        before = table.chain[index - 1] if index else ROOT
        link = (before, tuple(table.tokens[index * PAGE_SIZE : (index + 1) * PAGE_SIZE]))
        known = self._page_of.get(link)
        if known is not None:
            return self._prefix_of[known]
        self._num_prefixes += 1
        self._page_of[link], self._link_of[page] = page, link
        self._prefix_of[page] = self._num_prefixes
        return self._num_prefixes

    def truncate(self, table: PageTable, length: int) -> None:
        """Forget all but the first `length` tokens."""
        keep = pages_for(length)
        for page in reversed(table.pages[keep:]):
            self._drop(page)
        gone = [index for index in table.slots if index >= keep]
        self._free_slots.extend(table.slots.pop(index) for index in gone)
        del table.pages[keep:], table.tokens[length:], table.chain[length // PAGE_SIZE :]

    def fork(self, table: PageTable, length: int) -> PageTable:
        """Return a table that shares the first `length` tokens of a resident one."""
        pages = table.pages[: pages_for(length)]
        for page in pages:
            if page is not None:
                self._use(page)
        return PageTable(table.tokens[:length], pages, chain=table.chain[: length // PAGE_SIZE])

    def release(self, table: PageTable) -> None:
        """Give back all pages and slots; the table is empty afterwards."""
        self.truncate(table, 0)

    def swap_out(self, table: PageTable) -> list[tuple[int, int]]:
        """Give back the pages that nobody shares; return the (page, slot) pairs to save.

        The content of a page is good until the next one is taken.
        """
        moves: list[tuple[int, int]] = []
        for index in reversed(range(len(table.pages))):
            page = table.pages[index]
            if page is not None and self._users[page] == 1:
                table.pages[index] = None
                table.slots[index] = slot = self._take_slot()
                moves.append((page, slot))
                self._drop(page)
        return moves

    def swap_in(self, table: PageTable) -> list[tuple[int, int]]:
        """Take pages for those that were swapped out; return the (slot, page) pairs to load.

        The content of a slot is good until the next one is taken.

        Raises:
            OutOfPages: there are not enough; the table is unchanged.
        """
        if len(table.slots) > len(self._unused):
            raise OutOfPages(f"{len(table.slots)} pages are needed, {self.num_unused} are unused")
        moves: list[tuple[int, int]] = []
        for index, slot in table.slots.items():
            table.pages[index] = page = self._take()
            moves.append((slot, page))
        self._free_slots.extend(table.slots.values())
        table.slots.clear()
        return moves

    def num_needed(self, table: PageTable, count: int) -> int:
        """Return how many unused pages it takes to swap a table in and reserve `count` tokens."""
        missing = max(0, pages_for(len(table.tokens) + count) - len(table.pages))
        return len(table.slots) + missing + (self._shared_tail(table) is not None)

    def num_alone(self, table: PageTable) -> int:
        """Return how many pages swapping this table out would free."""
        return sum(page is not None and self._users[page] == 1 for page in table.pages)

    def _take_slot(self) -> int:
        if self._free_slots:
            return self._free_slots.pop()
        self._num_slots += 1
        return self._num_slots - 1

    def _use(self, page: int) -> None:
        self._users[page] += 1
        self._unused.pop(page, None)

    def _drop(self, page: int | None) -> None:
        if page is None:
            return
        self._users[page] -= 1
        if not self._users[page]:
            self._unused[page] = None

    def _take(self) -> int:
        page = next(iter(self._unused))
        if link := self._link_of.pop(page, None):
            del self._page_of[link], self._prefix_of[page]
        self._use(page)
        return page

    def check_integrity(self, tables: Iterable[PageTable]) -> None:
        """Raise AssertionError where the books are wrong; `tables` are all that are open."""
        counted = [0] * self.num_pages
        slots = list(self._free_slots)
        for table in tables:
            slots.extend(table.slots.values())
            gone = {index for index, page in enumerate(table.pages) if page is None}
            assert gone == set(table.slots), "a page is swapped out without a slot, or with one"
            assert len(table.chain) == len(table.tokens) // PAGE_SIZE, "a chain is of wrong length"
            assert pages_for(len(table.tokens)) <= len(table.pages), "tokens lie outside pages"
            for page in table.pages:
                if page is not None:
                    counted[page] += 1
        assert sorted(slots) == list(range(self._num_slots)), "a slot is lost or used twice"
        assert counted == self._users, "a page has another number of users than tables hold it"
        unused = {page for page, users in enumerate(self._users) if not users}
        assert unused == set(self._unused), "a page is both used and unused, or neither"
        assert {p: k for k, p in self._page_of.items()} == self._link_of, "links do not match pages"
        assert set(self._prefix_of) == set(self._link_of), "a prefix has no page"


def pages_for(num_tokens: int) -> int:
    """Return how many pages so many tokens take."""
    return -(-num_tokens // PAGE_SIZE)
