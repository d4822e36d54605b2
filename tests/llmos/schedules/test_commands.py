"""`llmos schedule`, and what is due while another command runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from llmos.schedules.store import ScheduleStore

Cli = Callable[..., tuple[int, str, str]]


def add_missed(home: Path, task: str) -> None:
    """Keep a task that has been due since an hour."""
    with closing(ScheduleStore(home)) as store:
        now = datetime.now(ZoneInfo("UTC"))
        store.add(task, "in 1 hour", now - timedelta(hours=2))


def test_schedules_are_added_listed_and_removed(home: Path, cli: Cli) -> None:
    status, out, _ = cli("schedule", "add", "Water the plants", "--when", "every monday 18:00")
    assert status == 0
    assert out.startswith("schedule 1: first on Mon ")
    assert " 18:00; it runs while the shell or `llmos schedule run` does" in out
    _, listed, _ = cli("schedule", "list")
    assert "every monday 18:00" in listed
    (row,) = json.loads(cli("schedule", "list", "--json")[1])
    assert (row["id"], row["task"], row["last_pid"]) == (1, "Water the plants", None)
    assert cli("schedule", "remove", "1")[1] == "removed schedule 1: Water the plants\n"
    assert json.loads(cli("schedule", "list", "--all", "--json")[1]) == []


def test_bad_input_is_one_line_and_says_what_to_do(home: Path, cli: Cli) -> None:
    for words, told in (
        (["add", "x", "--when", "banana"], "'banana' is not understood; write such as"),
        (["add", " ", "--when", "at 9"], "the task is empty"),
        (["remove", "7"], "there is no schedule 7; `llmos schedule list` shows them"),
    ):
        status, out, problem = cli("schedule", *words)
        assert (status, out) == (2, "")
        assert told in problem
        assert len(problem.splitlines()) == 1


def test_listing_makes_no_file(home: Path, cli: Cli) -> None:
    assert cli("schedule", "list")[0] == 0
    assert not home.exists()


def test_a_missed_task_runs_beside_another_and_is_waited_for(
    home: Path, cli: Cli, fake_model: Callable[..., None]
) -> None:
    fake_model({1: [("Mine.",)], 2: [("Scheduled.",)]})
    add_missed(home, "Water the plants")
    status, out, told = cli("run", "hello")
    assert (status, out) == (0, "Mine.\n")
    assert "schedule 1: process 2 begins: Water the plants" in told
    assert "schedule 1: process 2: Scheduled." in told
    listed = cli("schedule", "list", "--all")[1]
    assert "over" in listed
    assert "2 done" in listed


def test_a_dry_run_leaves_what_is_due_alone(
    home: Path, cli: Cli, fake_model: Callable[..., None]
) -> None:
    fake_model({1: [("Mine.",)]})
    add_missed(home, "Water the plants")
    assert cli("run", "--dry-run", "hello")[0] == 0
    (row,) = json.loads(cli("schedule", "list", "--json")[1])
    assert row["last_pid"] is None


def test_the_daemon_runs_what_was_missed_until_it_is_told_to_end(home: Path) -> None:
    add_missed(home, "What is 17 * 24?")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "llmos", "schedule", "run"],
        env={**os.environ, "LLMOS_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert daemon.stdout is not None
    assert daemon.stdout.readline() == "schedule 1: process 1 begins: What is 17 * 24?\n"
    assert "408" in daemon.stdout.readline()
    daemon.send_signal(signal.SIGTERM)
    _, problem = daemon.communicate(timeout=30)
    assert daemon.returncode == 0
    assert problem == "llmos: waiting for what is scheduled; Ctrl-C ends\n"


def test_the_unit_starts_the_daemon_with_this_state_folder(home: Path, cli: Cli) -> None:
    unit = cli("schedule", "unit")[1]
    assert f"ExecStart={sys.executable} -m llmos schedule run\n" in unit
    assert f'Environment="LLMOS_HOME={home}"\n' in unit
