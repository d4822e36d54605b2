"""The block manager's books: sharing, copy on write, swap, and a long random run."""

from __future__ import annotations

import random

import pytest

from llmos_kernel.engine.torch.pages import PAGE_SIZE, BlockManager, OutOfPages, PageTable


def filled(manager: BlockManager, tokens: list[int]) -> PageTable:
    table = manager.open(tokens)
    rest = tokens[len(table.tokens) :]
    manager.reserve(table, len(rest))
    manager.append(table, rest)
    return table


def test_a_second_sequence_shares_the_full_pages_of_a_common_prefix() -> None:
    manager = BlockManager(8)
    first = filled(manager, list(range(80)))
    second = manager.open([*range(80), 99])
    assert second.tokens == list(range(64))
    assert second.pages == first.pages[:2]


def test_a_prefix_outlives_its_sequence_until_its_pages_are_needed() -> None:
    manager = BlockManager(3)
    manager.release(filled(manager, list(range(65))))
    again = manager.open(list(range(65)))
    assert len(again.tokens) == 64
    manager.release(again)
    manager.release(filled(manager, [7] * 96))
    assert manager.open(list(range(65))).tokens == []


def test_the_last_token_of_a_request_is_always_left_to_compute() -> None:
    manager = BlockManager(4)
    manager.release(filled(manager, list(range(64))))
    assert len(manager.open(list(range(64))).tokens) == 32


def test_a_sequence_goes_on_from_what_another_has_computed_meanwhile() -> None:
    manager = BlockManager(10)
    tokens = list(range(100))
    late = manager.open(tokens)
    manager.reserve(late, 10)
    manager.append(late, tokens[:10])
    first = filled(manager, tokens)
    assert manager.extend(late, tokens) == 86
    assert late.tokens == tokens[:96]
    assert manager.extend(late, tokens) == 0
    manager.check_integrity([late, first])


def test_a_fork_copies_the_page_it_writes_to_and_shares_the_rest() -> None:
    manager = BlockManager(8)
    parent = filled(manager, list(range(40)))
    child = manager.fork(parent, 40)
    copies = manager.reserve(child, 1)
    assert copies == [(parent.pages[1], child.pages[1])]
    assert child.pages[0] == parent.pages[0]
    manager.append(child, [5])
    manager.check_integrity([parent, child])
    assert manager.reserve(parent, 1) == []


def test_a_truncated_sequence_never_writes_into_a_published_page() -> None:
    manager = BlockManager(4)
    table = filled(manager, list(range(64)))
    manager.truncate(table, 40)
    published = table.pages[1]
    assert [source for source, _ in manager.reserve(table, 1)] == [published]


def test_too_few_pages_leave_the_table_as_it_was() -> None:
    manager = BlockManager(2)
    table = filled(manager, list(range(40)))
    with pytest.raises(OutOfPages):
        manager.reserve(table, 25)
    assert len(table.pages) == 2
    manager.check_integrity([table])


def test_swapping_out_keeps_shared_pages_and_swapping_in_fills_the_gaps() -> None:
    manager = BlockManager(6)
    parent = filled(manager, list(range(80)))
    child = manager.fork(parent, 32)
    pages = list(parent.pages)
    saved = manager.swap_out(parent)
    assert [page for page, _ in saved] == [pages[2], pages[1]]
    assert parent.pages == [child.pages[0], None, None]
    manager.check_integrity([parent, child])
    restored = manager.swap_in(parent)
    assert {slot for slot, _ in restored} == {slot for _, slot in saved}
    assert parent.is_resident
    manager.check_integrity([parent, child])


def test_a_swapped_sequence_that_is_released_gives_its_slots_back() -> None:
    manager = BlockManager(6)
    table = filled(manager, list(range(80)))
    manager.swap_out(table)
    manager.truncate(table, 40)
    manager.check_integrity([table])
    manager.release(table)
    manager.check_integrity([])
    assert manager.num_unused == 6


def test_ten_thousand_random_operations_keep_the_books_right() -> None:
    rng = random.Random(5)
    manager = BlockManager(40)
    tables: list[PageTable] = []
    for _ in range(10_000):
        table = rng.choice(tables) if tables else None
        match rng.choice(
            ["open", "extend", "grow", "grow", "truncate", "fork", "release", "out", "in"]
        ):
            case "open" if len(tables) < 12:
                tables.append(manager.open([rng.randrange(2) for _ in range(rng.randint(1, 120))]))
            case "extend" if table:
                more = [rng.randrange(2) for _ in range(rng.randint(1, 120))]
                manager.extend(table, [*table.tokens, *more])
            case "grow" if table and table.is_resident:
                grow(manager, table, rng)
            case "truncate" if table:
                manager.truncate(table, rng.randint(0, len(table.tokens)))
            case "fork" if table and table.is_resident and len(tables) < 12:
                tables.append(manager.fork(table, rng.randint(0, len(table.tokens))))
            case "release" if table:
                manager.release(table)
                tables.remove(table)
            case "out" if table:
                manager.swap_out(table)
            case "in" if table and not table.is_resident:
                swap_in(manager, table)
            case _:
                continue
        manager.check_integrity(tables)


def grow(manager: BlockManager, table: PageTable, rng: random.Random) -> None:
    count = rng.randint(1, 2 * PAGE_SIZE)
    try:
        copies = manager.reserve(table, count)
    except OutOfPages:
        return
    assert all(source != target for source, target in copies)
    manager.append(table, [rng.randrange(2) for _ in range(count)])


def swap_in(manager: BlockManager, table: PageTable) -> None:
    try:
        manager.swap_in(table)
    except OutOfPages:
        assert not table.is_resident
