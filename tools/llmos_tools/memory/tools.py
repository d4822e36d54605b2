"""Remember, recall and forget: what the model reads and writes of long-term memory.

A fact keeps the label of what may have steered it; recalled, it is shown with it. Covered: text
from outside that a process has read cannot become a trusted fact, cannot have one forgotten that
the user did not name, and cannot spell another one, since a fact is one line. Not covered: what a
user copies into a message counts as the user's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from llmos.sdk import CallContext, Effect, Label, Output, RetryCall, ToolFailed, tool
from llmos_tools.memory.store import Fact, opened

LONGEST_FACT = 1000
MOST_SHOWN = 8
NOTHING_FITS = "no fact about this is kept"

NOT_ASKED = (
    "this process has read text from outside, and the user did not say {fact!r}; ask the user to "
    "name the fact that is to be forgotten"
)


@tool(effects={Effect.MEMORY}, is_repeatable=True, max_concurrent=None)
def remember(fact: str, context: CallContext) -> Output:
    """Keep a fact for later.

    Args:
        fact: the fact
    """
    text = _line(fact)
    label = context.label_of(text)
    with opened(memory_path(context)) as store:
        is_new = store.add(Fact(text, label, context.pid, time.time()))
    return Output("remembered" if is_new else "remembered already", label=Label.TRUSTED)


@tool(effects=(), is_repeatable=True, max_concurrent=None)
def recall(query: str, context: CallContext) -> Output:
    """Look up facts kept earlier.

    Args:
        query: what to look for
    """
    with opened(memory_path(context)) as store:
        facts = store.search(query, now=time.time(), limit=MOST_SHOWN)
    if not facts:
        return Output(NOTHING_FITS, label=Label.TRUSTED)
    return Output(_shown(facts), label=_label(facts))


@tool(
    effects={Effect.MEMORY},
    max_concurrent=None,
    keywords=(
        "memory", "remember", "forgot", "forgotten", "erase", "remove", "wipe", "drop", "clear",
        "purge", "unlearn", "longer", "know", "strike",
    ),
)  # fmt: skip
def forget(fact: str, context: CallContext) -> Output:
    """Delete a kept fact.

    Args:
        fact: the fact
    """
    text, now = _line(fact), time.time()
    with opened(memory_path(context)) as store:
        found = store.matching_all(text, limit=MOST_SHOWN)
        if len(found) != 1:
            near = found or store.search(text, now=now, limit=MOST_SHOWN)
            raise ToolFailed(_unclear(found, near))
        if found[0].label is Label.TRUSTED and context.label_of(text) is Label.UNTRUSTED:
            raise ToolFailed(NOT_ASKED.format(fact=text))
        store.forget(found[0], now=now)
    return Output(f"forgotten: {_described(found[0])}", label=found[0].label)


def memory_path(context: CallContext) -> Path:
    return context.home / "memory.db"


def _line(fact: str) -> str:
    """Return a fact on one line.

    Raises:
        RetryCall: it is empty, or too long for one fact.
    """
    text = " ".join(fact.encode(errors="replace").decode().split())
    if not text:
        raise RetryCall("the fact is empty; say it in a sentence")
    if len(text) > LONGEST_FACT:
        raise RetryCall(
            f"the fact has {len(text)} characters, {LONGEST_FACT} can be kept; shorten it, or "
            "write it to a file"
        )
    return text


def _unclear(found: Sequence[Fact], near: Sequence[Fact]) -> str:
    if found:
        return f"several facts fit; say which one in full:\n{_shown(found)}"
    if near:
        return f"no fact holds all these words; say one of these in full:\n{_shown(near)}"
    return NOTHING_FITS


def _shown(facts: Sequence[Fact]) -> str:
    return "\n".join(f"- {_described(fact)}" for fact in facts)


def _described(fact: Fact) -> str:
    date = datetime.fromtimestamp(fact.time).astimezone().date()
    source = "" if fact.label is Label.TRUSTED else "; from outside, not checked"
    return f"{fact.text} ({date}{source})"


def _label(facts: Sequence[Fact]) -> Label:
    is_trusted = all(fact.label is Label.TRUSTED for fact in facts)
    return Label.TRUSTED if is_trusted else Label.UNTRUSTED
