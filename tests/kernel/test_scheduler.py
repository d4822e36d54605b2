"""What the scheduler promises: fair shares, priorities, and no wait without end."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from llmos_kernel.scheduler import Scheduler


def run(scheduler: Scheduler, steps: int) -> Counter[int]:
    given: Counter[int] = Counter()
    for _ in range(steps):
        shares = scheduler.plan()
        scheduler.charge(shares)
        for share in shares:
            given[share.pid] += share.num_tokens
    return given


def test_equals_get_equal_shares() -> None:
    scheduler = Scheduler(max_rows=2)
    for pid in range(5):
        scheduler.add(pid, num_pending=1)
    given = run(scheduler, 500)
    assert max(given.values()) - min(given.values()) <= 1


def test_five_steps_of_nice_cost_about_a_third_of_the_share() -> None:
    scheduler = Scheduler(max_rows=1, max_wait=1000)
    scheduler.add(1, num_pending=1)
    scheduler.add(2, num_pending=1, nice=5)
    given = run(scheduler, 1000)
    assert given[1] / given[2] == pytest.approx(1.25**5, rel=0.05)


def test_an_interactive_process_goes_before_batch_work() -> None:
    scheduler = Scheduler(max_rows=1, max_wait=10)
    scheduler.add(1, num_pending=1)
    scheduler.add(2, num_pending=1, is_interactive=True)
    given = run(scheduler, 110)
    assert given[1] == 10
    assert given[2] == 100


def test_who_comes_back_is_not_given_what_it_did_not_ask_for() -> None:
    scheduler = Scheduler(max_rows=1)
    scheduler.add(1, num_pending=1)
    run(scheduler, 100)
    scheduler.add(2, num_pending=1)
    given = run(scheduler, 20)
    assert given[1] == given[2] == 10


def test_leaving_and_returning_does_not_wipe_out_what_was_used() -> None:
    scheduler = Scheduler(max_rows=1, max_wait=1000)
    scheduler.add(1, num_pending=50)
    scheduler.add(2, num_pending=1)
    run(scheduler, 1)
    scheduler.remove(1)
    scheduler.add(1, num_pending=1)
    assert run(scheduler, 40)[2] == 40


def test_prompts_are_cut_into_chunks_while_others_decode() -> None:
    scheduler = Scheduler(prefill_budget=96)
    scheduler.add(1, num_pending=1)
    scheduler.add(2, num_pending=250)
    counts = []
    for _ in range(4):
        shares = scheduler.plan()
        scheduler.charge(shares)
        counts.append({share.pid: share.num_tokens for share in shares})
    assert [count[2] for count in counts] == [96, 96, 58, 1]
    assert all(count[1] == 1 for count in counts)


def test_a_prompt_alone_gets_a_larger_chunk() -> None:
    scheduler = Scheduler(prefill_budget=96, idle_prefill_budget=512)
    scheduler.add(1, num_pending=600)
    assert scheduler.plan()[0].num_tokens == 512


@pytest.mark.parametrize(("longest_prompt", "bound"), [(1, 16 + math.ceil(40 / 4)), (300, 16 + 40)])
def test_no_process_starves_whatever_comes_and_goes(longest_prompt: int, bound: int) -> None:
    rng = random.Random(3)
    scheduler = Scheduler(max_rows=4, max_wait=16)
    waited: dict[int, int] = {}
    next_pid = 0
    for _ in range(20_000):
        roll = rng.random()
        if roll < 0.2 and len(waited) < 40:
            scheduler.add(
                next_pid,
                num_pending=rng.randint(1, longest_prompt),
                nice=rng.randint(-20, 19),
                is_interactive=rng.random() < 0.5,
            )
            waited[next_pid] = 0
            next_pid += 1
        elif roll < 0.3 and waited:
            pid = rng.choice(list(waited))
            scheduler.remove(pid) if rng.random() < 0.5 else scheduler.forget(pid)
            del waited[pid]
        shares = scheduler.plan()
        scheduler.charge(shares)
        assert len(shares) <= 4
        assert bool(shares) == bool(waited)
        given = {share.pid for share in shares}
        waited = {pid: 0 if pid in given else count + 1 for pid, count in waited.items()}
        assert max(waited.values(), default=0) <= bound
