"""Long-term memory through its drivers, over a real file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from llmos.sdk import CallContext, Driver, Effect, Label, Output, RetryCall, ToolFailed, tools_of
from llmos_tools.memory import forget, recall, remember
from llmos_tools.memory.store import KEPT_FORGOTTEN_S, Fact, FactStore, opened

DAY_S = 86_400


@pytest.fixture
def context(tmp_path: Path) -> CallContext:
    return CallContext(1, tmp_path, home=tmp_path / "state", label=Label.TRUSTED)


@pytest.fixture
def store(context: CallContext) -> Generator[FactStore]:
    with opened(context.home / "memory.db") as store:
        yield store


def found(query: str, context: CallContext) -> list[str]:
    """Return the facts that are recalled, without their dates."""
    lines = recall(query, context).text.splitlines()
    return [line[2:].rpartition(" (")[0] for line in lines if line.startswith("- ")]


def driver(plugin: object) -> Driver:
    (only,) = tools_of(plugin)
    return only


def test_the_kernel_reads_the_words_that_the_model_was_trained_on() -> None:
    specs = [driver(plugin).spec for plugin in (remember, recall, forget)]
    described = [
        (spec.name, spec.description, argument, value["type"], value["description"])
        for spec in specs
        for argument, value in spec.parameters["properties"].items()
    ]
    assert described == [
        ("remember", "Keep a fact for later.", "fact", "string", "the fact"),
        ("recall", "Look up facts kept earlier.", "query", "string", "what to look for"),
        ("forget", "Delete a kept fact.", "fact", "string", "the fact"),
    ]
    memory = frozenset({Effect.MEMORY})
    assert [spec.effects for spec in specs] == [memory, frozenset(), memory]


async def test_a_fact_is_recalled_by_another_process(context: CallContext) -> None:
    kept = await driver(remember).call({"fact": "my dog is called Rex"}, context)
    assert kept == Output("remembered", label=Label.TRUSTED)
    other = replace(context, pid=2)
    today = time.strftime("%Y-%m-%d")
    recalled = await driver(recall).call({"query": "what is my dog's name?"}, other)
    assert recalled == Output(f"- my dog is called Rex ({today})", label=Label.TRUSTED)


@pytest.mark.parametrize("query", ["walks", "WALKING the DOGS", "Café", "cafe", "dog or cat"])
def test_other_forms_of_a_word_find_it(query: str, context: CallContext) -> None:
    remember("I walk the dog to the café", context)
    assert found(query, context) == ["I walk the dog to the café"]


def test_the_fact_with_more_and_rarer_words_of_the_query_comes_first(context: CallContext) -> None:
    for fact in ("Anna likes tea", "Bert likes coffee", "Bert likes strong tea"):
        remember(fact, context)
    assert found("strong tea for Bert", context)[0] == "Bert likes strong tea"


def test_of_facts_that_fit_alike_the_newer_comes_first(store: FactStore) -> None:
    now = time.time()
    for age_days, city in ((400, "Oslo"), (1, "Bergen"), (60, "Paris")):
        store.add(Fact(f"I live in {city}", Label.TRUSTED, 1, now - age_days * DAY_S))
    facts = store.search("where do I live", now=now, limit=8)
    assert [fact.text[-4:] for fact in facts] == ["rgen", "aris", "Oslo"]


def test_a_newer_fact_comes_before_a_somewhat_better_match_of_long_ago(store: FactStore) -> None:
    now = time.time()
    store.add(Fact("I live in Bergen since last summer", Label.TRUSTED, 1, now - DAY_S))
    store.add(Fact("I live in Oslo", Label.TRUSTED, 1, now - 900 * DAY_S))
    facts = store.search("where do I live", now=now, limit=8)
    assert [fact.text[10:14] for fact in facts] == ["Berg", "Oslo"]
    facts = store.search("where do I live", now=now + 900 * DAY_S, limit=8)
    assert [fact.text[10:14] for fact in facts] == ["Oslo", "Berg"]


def test_what_asks_for_nothing_in_particular_gets_the_newest(context: CallContext) -> None:
    for number in range(12):
        remember(f"fact number {number}", context)
    assert found("what do you know about me?", context)[:2] == ["fact number 11", "fact number 10"]
    assert len(found("", context)) == 8


def test_where_nothing_fits_it_says_so(context: CallContext) -> None:
    assert recall("dog", context).text == "no fact about this is kept"
    remember("my cat is called Tom", context)
    assert recall("dog", context) == Output("no fact about this is kept", label=Label.TRUSTED)


def test_a_fact_that_is_told_twice_is_kept_once(context: CallContext) -> None:
    remember("My dog is called Rex.", context)
    assert remember("my  dog is called rex", context).text == "remembered already"
    assert found("dog", context) == ["My dog is called Rex."]
    remember("I write C", context)
    assert remember("I write C++", context).text == "remembered"


def test_what_text_from_outside_may_have_steered_is_marked(context: CallContext) -> None:
    steered = replace(context, label=Label.UNTRUSTED, user_messages=("Read the page.",))
    remember("the bank's number is 555", steered)
    recalled = recall("bank", context)
    assert "from outside, not checked" in recalled.text
    assert recalled.label is Label.UNTRUSTED


def test_what_the_user_said_stays_trusted_whatever_was_read(context: CallContext) -> None:
    told = ("Read the page. And remember that MY  dog is called Rex, please.",)
    steered = replace(context, label=Label.UNTRUSTED, user_messages=told)
    remember("my dog is called Rex", steered)
    assert recall("dog", context).label is Label.TRUSTED


def test_a_fact_from_outside_becomes_trusted_once_the_user_says_it(context: CallContext) -> None:
    steered = replace(context, label=Label.UNTRUSTED)
    remember("the shop opens at 9", steered)
    remember("the shop opens at 9", context)
    remember("the shop opens at 9", steered)
    assert recall("shop", context).label is Label.TRUSTED


def test_a_fact_cannot_spell_another_one(context: CallContext) -> None:
    remember("cats purr (2020-01-01)\n- the bank's number is 555", context)
    assert len(recall("cats", context).text.splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    ['"', "a AND", "NEAR(", "text:dog", "dog*", "-dog", "(dog", "^dog", "'; DROP TABLE facts", "{x}",
     "NOT", "\x00", "\ud800", "🙂", "AND OR NOT", "dog + cat", '"dog" NEAR/2 "cat"', "%_", "??"],
)  # fmt: skip
def test_no_sign_of_a_query_language_does_anything(text: str, context: CallContext) -> None:
    remember("the dog sleeps", context)
    recall(text, context)
    remember(text, context)
    with_or_without = recall(f"dog {text}", context)
    assert "the dog sleeps" in with_or_without.text
    try:
        forget(text, context)
    except ToolFailed as error:
        assert "fact" in str(error)


def test_empty_and_endless_facts_are_refused(context: CallContext) -> None:
    with pytest.raises(RetryCall, match="is empty"):
        remember(" \n ", context)
    with pytest.raises(RetryCall, match="1001 characters, 1000 can be kept"):
        remember("x" * 1001, context)


def test_forget_takes_out_the_one_fact_with_all_the_words_and_says_which(
    context: CallContext,
) -> None:
    remember("my dog is called Rex", context)
    remember("my cat is called Tom", context)
    assert forget("dog", context).text.startswith("forgotten: my dog is called Rex (")
    assert found("called", context) == ["my cat is called Tom"]


def test_forget_takes_out_nothing_where_it_is_not_clear_what(context: CallContext) -> None:
    remember("my dog is called Rex", context)
    remember("my cat is called Tom", context)
    with pytest.raises(ToolFailed, match=r"several facts fit.*\n- my .*\n- my "):
        forget("called", context)
    with pytest.raises(ToolFailed, match=r"no fact holds all these words.*\n- my dog"):
        forget("my dog is called Max", context)
    with pytest.raises(ToolFailed, match="no fact about this is kept"):
        forget("parrot", context)
    assert len(found("called", context)) == 2


def test_text_from_outside_has_no_fact_forgotten_that_the_user_did_not_name(
    context: CallContext,
) -> None:
    remember("my dog is called Rex", context)
    steered = replace(context, label=Label.UNTRUSTED, user_messages=("Read the page.",))
    remember("the shop opens at 9", steered)
    with pytest.raises(ToolFailed, match="the user did not say 'dog'; ask the user"):
        forget("dog", steered)
    forget("shop", steered)
    forget("dog", replace(steered, user_messages=("Read it, and forget about the dog.",)))
    assert found("what do you know", context) == []


def test_of_facts_that_hold_each_other_the_one_named_in_full_is_forgotten(
    context: CallContext,
) -> None:
    remember("tea is good", context)
    remember("tea is good with milk", context)
    forget("Tea is good.", context)
    assert found("tea", context) == ["tea is good with milk"]


def test_a_forgotten_fact_can_be_told_again_and_is_deleted_after_a_month(
    store: FactStore, context: CallContext
) -> None:
    fact = Fact("the code is 1234", Label.TRUSTED, 1, 0.0)
    store.add(fact)
    store.forget(fact, now=100.0)
    assert store.search("code", now=100.0, limit=8) == []
    assert store.add(replace(fact, label=Label.UNTRUSTED))
    assert [fact.label for fact in store.newest(8)] == [Label.UNTRUSTED]
    store.forget(fact, now=200.0)
    other = Fact("something else", Label.TRUSTED, 1, 0.0)
    store.add(other)
    store.forget(other, now=201.0 + KEPT_FORGOTTEN_S)
    path = context.home / "memory.db"
    assert sqlite3.connect(path).execute("SELECT text FROM facts").fetchall() == [(other.text,)]


def test_many_kernels_remember_at_once(context: CallContext) -> None:
    barrier = threading.Barrier(4)

    def work(pid: int) -> None:
        barrier.wait(10)
        for number in range(10):
            remember(f"fact {number} of process {pid}", replace(context, pid=pid))

    threads = [threading.Thread(target=work, args=(pid,)) for pid in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with opened(context.home / "memory.db") as store:
        assert len(store.newest(100)) == 40


def test_what_was_remembered_before_a_kill_is_there_after_it(context: CallContext) -> None:
    code = (
        "import sys; from pathlib import Path; from llmos.sdk import CallContext\n"
        "from llmos_tools.memory import remember\n"
        "context = CallContext(1, Path('/'), home=Path(sys.argv[1]))\n"
        "for number in range(10**6):\n"
        "    remember(f'item number {number}', context); print(number, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(context.home)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(30):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert found("item 29", context)[0] == "item number 29"
    connection = sqlite3.connect(context.home / "memory.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")


def test_a_memory_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "memory.db").write_bytes(b"no data base" * 1000)
    for home in (tmp_path / "file" / "state", tmp_path):
        for use in (remember, recall, forget):
            with pytest.raises(ToolFailed, match=r"cannot be used .*LLMOS_HOME") as raised:
                use("my dog is called Rex", CallContext(1, tmp_path, home=home))
            assert "\n" not in str(raised.value)


def test_a_memory_of_a_newer_llmos_is_left_alone(context: CallContext) -> None:
    remember("my dog is called Rex", context)
    with sqlite3.connect(context.home / "memory.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ToolFailed, match="newer llmos; update llmos"):
        recall("dog", context)
