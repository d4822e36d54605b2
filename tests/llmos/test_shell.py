"""The interactive shell, driven through a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pexpect
import pytest

from llmos.control.client import live_processes, tell
from llmos.control.protocol import SendSignal
from llmos.schedules.store import ScheduleStore
from llmos.shell.screen import Screen
from llmos_kernel.journal import JournalEvent
from llmos_kernel.process import ProcessState, Signal


@pytest.fixture
def shell(home: Path) -> Iterator[pexpect.spawn]:  # pyright: ignore
    environment = {**os.environ, "TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"}
    child = pexpect.spawn(
        sys.executable, ["-m", "llmos"], env=environment, timeout=60, encoding="utf-8"
    )
    child.expect("Ctrl-D leaves")
    child.expect("> ")
    yield child
    child.close(force=True)


def leave(shell: pexpect.spawn) -> None:
    """Press Ctrl-D until the shell has left: between two prompts the terminal itself eats it."""
    for _ in range(20):
        shell.sendeof()
        if shell.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 0:
            break
    shell.wait()


def test_a_session_answers_remembers_its_history_and_leaves_on_ctrl_d(
    shell: pexpect.spawn, home: Path
) -> None:
    shell.sendline("What is 17 * 24?")
    shell.expect("calculate")
    shell.expect("408")
    shell.expect("408")
    shell.expect("> ")
    shell.sendline("/nonsense")
    shell.expect("There is no command '/nonsense'")
    shell.expect("> ")
    leave(shell)
    assert shell.exitstatus == 0
    assert "+What is 17 * 24?" in (home / "history").read_text()


@pytest.fixture
def asks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOS_CONFIDENCE__ASK_BELOW", "1")


@pytest.mark.usefixtures("asks_always", "shell")
def test_a_call_it_is_not_sure_of_is_asked_for_by_name(shell: pexpect.spawn) -> None:
    shell.sendline("What is 17 * 24?")
    shell.expect(r"I am only \d+% sure what you want")
    shell.expect(r"Shall I call calculate\(expression=.17\*24.\)\? \[y/N\] ")
    shell.sendline("y")
    shell.expect("408")
    leave(shell)


def test_ctrl_c_cancels_the_task_and_keeps_the_session(shell: pexpect.spawn) -> None:
    shell.sendline("Use Python to sort the list [52, 19, 88, 34].")
    shell.expect("→ python")
    shell.sendintr()
    shell.expect("Cancelled")
    shell.expect("> ")
    shell.sendline("What is 17 * 24?")
    shell.expect("408")


def test_a_session_whose_process_is_killed_elsewhere_goes_on_with_a_new_one(
    shell: pexpect.spawn, home: Path
) -> None:
    tell(home, SendSignal(pid=1, signal=Signal.KILL), 1)
    shell.sendline("What is 17 * 24?")
    shell.expect("process 1 was killed; a new one begins")
    shell.expect("408")
    assert live_processes(home)[2].state is not ProcessState.ZOMBIE
    leave(shell)
    assert shell.exitstatus == 0


def test_what_is_due_runs_while_the_shell_waits_for_a_line(
    shell: pexpect.spawn, home: Path
) -> None:
    with closing(ScheduleStore(home)) as store:
        store.add("What is 17 * 24?", "in 1 second", datetime.now(UTC))
    shell.expect(r"schedule 1: process (\d+) begins: What is 17")
    shell.expect(r"schedule 1: process \d+: .*408")
    leave(shell)
    assert shell.exitstatus == 0


def test_text_of_a_step_that_is_handed_over_ends_before_the_line_that_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    screen = Screen()
    screen.pid = 1
    doubted = {"name": "search", "arguments": {"query": "honey"}, "confidence": {"call": 0.14}}
    body = {"model": "large", "doubted": [doubted], "reason": "stop"}
    screen.show_text(1, "Let me see")
    screen.show_step(JournalEvent(1, 5, 0.0, "hand_over", body))
    screen.show_text(1, "Here it is.")
    screen.show_answer("Here it is.")
    shown = capsys.readouterr()
    assert shown.out == "Let me see\nHere it is.\n"
    assert shown.err.strip() == '⇡ only 14% sure of search(query="honey"); large takes over'
