"""How large and how long an evaluation may get. Imports no sympy."""

from __future__ import annotations

import re

LIMIT_S = 2.0
# Loading what draws takes most of it.
PLOT_LIMIT_S = 8.0
START_LIMIT_S = 30.0
MEMORY_BYTES = 1 << 30
LONGEST_REPLY = 4 << 20
LONGEST_EXPRESSION = 10_000
DEEPEST_NESTING = 60

# About 100,000 digits, which Python writes in 0.1 s.
MOST_BITS = 340_000
MOST_DIGITS = 120_000
MOST_TERMS = 3000
LONGEST_ANSWER = 4000
MOST_DECIMALS = 12

TOO_LARGE = "this is too large to work out"

PLOT = re.compile(r"\s*(?:plot|draw|graph)\b", re.IGNORECASE)


def limit_of(expression: str) -> float:
    """Return how many seconds an expression may take."""
    return PLOT_LIMIT_S if PLOT.match(expression) else LIMIT_S
