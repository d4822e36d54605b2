"""Memory: how long recall, remember and forget take over many facts."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.method import Comparison, environment, measure_rounds, save
from llmos.sdk import CallContext, Label, ToolFailed
from llmos_tools.memory import forget, recall, remember
from llmos_tools.memory.store import Fact, opened

NUM_FACTS = 100_000
NUM_WORDS = 20_000
WORDS_A_FACT = 12
CALLS_A_ROUND = 20
EVERYWHERE = "user"  # a word of every fact

METHOD = f"""
Milliseconds a call at the median of {CALLS_A_ROUND} calls a round, each with other words and a
connection of its own, over {NUM_FACTS:,} facts of {WORDS_A_FACT} words, which are drawn from
{NUM_WORDS:,} by Zipf's law. The slowest of a round's calls is shown beside it.
"""


class Facts:
    """Facts in a folder of their own, and queries about them."""

    def __init__(self, folder: Path, num_facts: int) -> None:
        self._random = random.Random(1)
        self._words = [self._word() for _ in range(NUM_WORDS)]
        self._weights = list(itertools.accumulate(1 / (1 + n) for n in range(NUM_WORDS)))
        self._context = CallContext(1, folder, home=folder, label=Label.TRUSTED)
        self._numbers = iter(range(num_facts, 10 * num_facts))
        now = time.time()
        with opened(folder / "memory.db") as store:
            store.add_all(
                Fact(self._fact(number), Label.TRUSTED, 1, now - 60 * (num_facts - number))
                for number in range(num_facts)
            )

    def _word(self) -> str:
        return "".join(self._random.choices("abcdefghiklmnoprstuvwy", k=self._random.randint(3, 9)))

    def _drawn(self, count: int) -> str:
        return " ".join(self._random.choices(self._words, cum_weights=self._weights, k=count))

    def _fact(self, number: int) -> str:
        return f"{EVERYWHERE} note{number} {self._drawn(WORDS_A_FACT - 2)}"

    def rare(self) -> None:
        recall(" ".join(self._random.choices(self._words[1000:], k=3)), self._context)

    def sentence(self) -> None:
        recall(f"what does the {EVERYWHERE} say about {self._drawn(8)}?", self._context)

    def everywhere(self) -> None:
        recall(f"{EVERYWHERE} {' '.join(self._words[:6])}", self._context)

    def keep(self) -> None:
        remember(self._fact(next(self._numbers)), self._context)

    def take_out(self) -> None:
        try:
            forget(f"note{self._random.randrange(NUM_FACTS)}", self._context)
        except ToolFailed:  # forgotten in an earlier call
            return

    def kinds(self) -> Mapping[str, Callable[[], None]]:
        return {
            "recall, three rare words": self.rare,
            "recall, a sentence": self.sentence,
            "recall, words of most facts": self.everywhere,
            "remember": self.keep,
            "forget": self.take_out,
        }


def call_ms(call: Callable[[], None]) -> tuple[float, float]:
    """Return the median and the longest of a round's calls."""
    durations: list[float] = []
    for _ in range(CALLS_A_ROUND):
        start = time.perf_counter()
        call()
        durations.append(1000 * (time.perf_counter() - start))
    durations.sort()
    return durations[len(durations) // 2], durations[-1]


async def compare(facts: Facts) -> Sequence[Comparison]:
    """Return the rounds of each kind of call."""
    comparisons: list[Comparison] = []
    for kind, call in facts.kinds().items():

        async def once(index: int, call: Callable[[], None] = call) -> Mapping[str, float]:
            median, longest = call_ms(call)
            return {"median": median, "slowest": longest}

        comparisons.append(Comparison(kind, "ms", await measure_rounds([once])))
    return comparisons


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return the medians and the slowest call."""
    setting = environment()
    with tempfile.TemporaryDirectory() as folder:
        comparisons = asyncio.run(compare(Facts(Path(folder), NUM_FACTS)))
    save("memory", METHOD, comparisons, setting)
    recalls = [each.values() for each in comparisons if each.title.startswith("recall")]
    return {
        "recall_ms": max(values["median"].median for values in recalls),
        "recall_slowest_ms": max(values["slowest"].high for values in recalls),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
