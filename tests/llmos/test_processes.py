"""Processes from another terminal: `llmos ps`, `top`, `kill`, `nice`, `fork`, `resume`, `strace`."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from llmos.boot import journal_path
from llmos.config import load_settings
from llmos.control.protocol import EVENT
from llmos.shell.foreground import ForegroundOptions, run_in_foreground
from llmos.shell.processes import ProcessRow
from llmos.shell.top import Speeds
from llmos_kernel.engine.fake import Gate
from llmos_kernel.journal import Journal, ProcessRecord
from llmos_kernel.kernel import Kernel
from llmos_kernel.process import Process

SCRIPT = Path(__file__).with_name("running_kernel.py")
Cli = Callable[..., tuple[int, str, str]]
SetReplies = Callable[..., None]


class OtherTerminal:
    """A kernel in a process of its own: process 1 is in the middle of an answer, 2 before it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.read() == "ready"

    def read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin)

    def die(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def leave(self) -> None:
        if self._process.poll() is None:
            self._process.communicate(timeout=30)


@pytest.fixture
def terminal(home: Path) -> Iterator[OtherTerminal]:
    terminal = OtherTerminal()
    yield terminal
    terminal.leave()


def recorded(home: Path, pid: int) -> list[tuple[str, Any]]:
    journal = Journal(journal_path(home), is_read_only=True)
    events = [(event.kind, event.body) for event in journal.events(pid)]
    journal.close()
    return events


def rows_of(cli: Cli, *words: str) -> dict[int, dict[str, Any]]:
    status, out, _ = cli("ps", "--json", *words)
    assert status == 0
    return {row["pid"]: row for row in json.loads(out)}


def test_ps_shows_what_a_kernel_elsewhere_is_doing(terminal: OtherTerminal, cli: Cli) -> None:
    row = rows_of(cli)[1]
    assert (row["state"], row["parent"], row["nice"], row["is_kernel_alive"]) == (
        "RUNNING",
        None,
        0,
        True,
    )
    assert row["tokens"] > 0  # not journalled yet: only the kernel knows
    assert row["cache_share"] == 0
    _, out, _ = cli("ps")
    assert out.split()[:8] == ["pid", "parent", "state", "nice", "tokens", "cached", "age", "task"]
    assert "Count the [red] sheep." in out
    assert "0%" in out


def test_ps_of_no_state_folder_is_empty_and_makes_none(home: Path, cli: Cli) -> None:
    assert rows_of(cli, "--all") == {}
    assert not home.exists()


def test_bad_wishes_are_one_clear_line_and_harm_nothing(terminal: OtherTerminal, cli: Cli) -> None:
    for words, status, message in [
        (["kill", "9"], 1, "there is no process 9"),
        (["nice", "9", "1"], 1, "there is no process 9"),
        (["nice", "1", "20"], 2, "nice 20 is not one of -20 to 19"),
        (["nice", "1", "-21"], 2, "nice -21 is not one of -20 to 19"),
        (["fork", "1", "--at", "99"], 2, "process 1 has no event 99; it has 0 to 3"),
        (["fork", "1", "--at", "-1"], 2, "process 1 has no event -1"),
        (["fork", "9"], 1, "there is no process 9"),
        (["fork", "1", "--yes", "--deny"], 2, "either --yes or --deny"),
        (["resume", "1"], 1, "process 1 is at work already (RUNNING)"),
        (["resume", "9"], 1, "there is no process 9"),
        (["kill", "1", "--signal", "hup"], 2, "there is no signal 'hup'; there are interrupt,"),
        (["kill", "0"], 2, "Invalid value for 'pid'"),
        (["kill", str(2**63)], 2, "Invalid value for 'pid'"),
        (["strace", "9", "--follow"], 1, "there is no process 9"),
        (["strace", "9", "--replay"], 1, "there is no process 9"),
        (["strace", "1", "--follow", "--replay"], 2, "either --follow or --replay"),
    ]:
        got, out, err = cli(*words)
        assert (got, out) == (status, ""), words
        assert message in err
        if "Invalid" not in message:
            assert len(err.splitlines()) == 1
    assert {pid: row["state"] for pid, row in rows_of(cli).items()} == {1: "RUNNING", 2: "RUNNING"}


def test_kill_ends_a_process_there_and_only_once(terminal: OtherTerminal, cli: Cli) -> None:
    assert cli("kill", "2") == (0, "", "")
    assert terminal.read() == "2 process 2 was killed"
    status, _, err = cli("kill", "2")
    assert (status, "process 2 has ended (killed)" in err) == (1, True)
    assert rows_of(cli, "--all")[2]["exit"] == "killed"
    assert list(rows_of(cli)) == [1]


def test_a_process_is_stopped_reniced_and_goes_on(terminal: OtherTerminal, cli: Cli) -> None:
    assert cli("kill", "1", "--signal", "stop")[0] == 0
    assert cli("nice", "1", "-5")[0] == 0
    follower = subprocess.Popen(
        [sys.executable, "-m", "llmos", "strace", "1", "--follow", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    first = [json.loads(follower.stdout.readline()) for _ in range(5)]
    row = rows_of(cli)[1]
    assert (row["state"], row["nice"]) == ("STOPPED", -5)
    terminal.say("go")
    assert cli("resume", "1") == (0, "", "")
    assert terminal.read() == "1 One, two, three."
    rest = follower.stdout.read()
    assert follower.wait(timeout=30) == 0
    events = first + [json.loads(line) for line in rest.splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert (events[-1]["state"], events[-1]["exit"]) == ("ZOMBIE", "done")
    assert events == [json.loads(line) for line in cli("strace", "1", "--json")[1].splitlines()]


def test_a_fork_of_a_live_process_runs_in_its_kernel(
    terminal: OtherTerminal, cli: Cli, home: Path
) -> None:
    status, out, _ = cli("fork", "1", "--at", "2")
    assert (status, out) == (0, "3\n")
    assert cli("strace", "3", "--follow")[0] == 0
    events = recorded(home, 3)
    assert events[0][1]["fork"] == {"pid": 1, "at": 2}
    assert ("answer", {"text": "Forked."}) in events
    assert list(rows_of(cli)) == [1, 2]


def test_a_replay_gets_the_recorded_events(terminal: OtherTerminal, cli: Cli) -> None:
    assert cli("kill", "1", "-s", "stop")[0] == 0
    terminal.say("go")
    assert cli("resume", "1")[0] == 0
    assert terminal.read() == "1 One, two, three."
    status, out, _ = cli("strace", "1", "--replay", "--json")
    assert status == 0
    lines = {
        word: [{**json.loads(line), "time": 0} for line in text.splitlines()]
        for word, text in (("replay", out), ("record", cli("strace", "1", "--json")[1]))
    }
    assert lines["replay"] == lines["record"]
    assert lines["replay"][-1]["exit"] == "done"


def test_what_a_dead_kernel_left_is_shown_and_goes_on_here(
    terminal: OtherTerminal, cli: Cli, home: Path, fake_model: SetReplies
) -> None:
    terminal.die()
    row = rows_of(cli)[1]
    assert (row["state"], row["is_kernel_alive"], row["cache_share"]) == ("RUNNING", False, None)
    assert "RUNNING (kernel died)" in cli("ps")[1]
    assert not list((home / "run").iterdir())
    for words in (["kill", "1"], ["nice", "1", "3"]):
        status, _, err = cli(*words)
        assert (status, "is gone; `llmos resume 1`" in err) == (1, True)
    status, out, err = cli("strace", "1", "--follow")
    assert (status, "is gone; `llmos resume 1`" in err, "state" in out) == (1, True, True)
    fake_model({1: [("After all.",)], 3: [("Otherwise.",)]})
    status, out, err = cli("resume", "1")
    assert (status, out) == (0, "After all.\n")
    assert "process 1 goes on: Count the [red] sheep." in err
    status, _, err = cli("resume", "1")
    assert (status, "process 1 has ended (done)" in err) == (1, True)
    assert cli("fork", "1", "--at", "2")[:2] == (0, "Otherwise.\n")
    assert list(rows_of(cli)) == [2]


def test_a_fork_of_an_ended_process_goes_on_in_the_foreground_with_json(
    cli: Cli, fake_model: SetReplies, home: Path
) -> None:
    fake_model({1: [("First.",)], 2: [("Second.",)]})
    assert cli("run", "say something")[:2] == (0, "First.\n")
    status, out, _ = cli("fork", "1", "--at", "2", "--json")
    (answer,) = [json.loads(line) for line in out.splitlines()]
    assert (status, answer["pid"], answer["text"]) == (0, 2, "Second.")


def test_run_gives_a_process_its_share_and_its_budget(
    cli: Cli, fake_model: SetReplies, home: Path
) -> None:
    fake_model({1: [("A long answer that goes on and on.",)]})
    words = ["run", "--nice", "-3", "--max-tokens", "2", "--max-seconds", "60", "talk"]
    status, out, err = cli(*words)
    assert (status, out) == (1, "")
    assert "process 1 has used up its budget, max_tokens 2" in err
    (_, birth), *_ = recorded(home, 1)
    assert (birth["nice"], birth["is_interactive"]) == (-3, True)
    assert birth["budget"] == {"tokens": 2, "seconds": 60.0}
    status, _, err = cli("run", "--nice", "20", "talk")
    assert (status, "nice 20 is not one of -20 to 19" in err) == (2, True)


async def test_run_waits_for_what_was_forked_from_it(
    fake_model: SetReplies, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = Gate()
    fake_model({1: [("Mine.",)], 2: [(gate, "Theirs.")]})

    def make(kernel: Kernel) -> Process:
        process = kernel.spawn("say something")
        kernel.fork(process.pid, at=0)
        opening.append(asyncio.create_task(open_after(kernel, process.pid)))
        return process

    async def open_after(kernel: Kernel, pid: int) -> None:
        await kernel.wait(pid)
        gate.opened.set()

    opening: list[asyncio.Task[None]] = []
    status = await run_in_foreground(make, load_settings(), ForegroundOptions())
    out, err = capfd.readouterr()
    assert (status, out) == (0, "Mine.\n")
    assert "waiting for process 2, which began here" in err
    assert recorded(home, 2)[-1] == ("state", {"state": "ZOMBIE", "exit": "done"})


def test_speeds_are_tokens_a_second_of_live_processes_since_the_last_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rows(*num_tokens: int) -> list[ProcessRow]:
        return [
            ProcessRow(
                ProcessRecord(pid, "RUNNING", None, "a task", "m", 0.0, True, 1),
                parent=None,
                state="RUNNING",
                nice=0,
                num_tokens=number,
                cache_share=None if pid == 3 else 0.5,
            )
            for pid, number in enumerate(num_tokens, start=1)
        ]

    moments = iter([0.0, 1.0, 3.0, 5.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    speeds = Speeds()
    assert speeds.between(rows(10)) == {}
    assert speeds.between(rows(30, 7, 9)) == {1: 10.0}
    assert speeds.between(rows(30, 8, 11)) == {1: 0.0, 2: 0.5}


def test_top_prints_one_table_where_stdout_is_no_terminal(
    terminal: OtherTerminal, cli: Cli
) -> None:
    status, out, _ = cli("top")
    assert (status, len(out.splitlines())) == (0, 3)
    assert "\x1b" not in out


@pytest.mark.parametrize(("key", "status"), [("q", 0), ("xq", 0), ("\x03", 130)])
def test_top_is_live_until_q_or_ctrl_c(terminal: OtherTerminal, key: str, status: int) -> None:
    top = pexpect.spawn(
        sys.executable,
        ["-m", "llmos", "top"],
        env={**os.environ, "TERM": "xterm"},
        dimensions=(24, 120),
        timeout=60,
        encoding="utf-8",
    )
    top.expect(r"processes: 2, tokens/s: 0\.0; q leaves")
    top.expect("tokens/s[^:]*cached")  # with styles between
    top.expect(r"Count the \[red\] sheep\.")
    terminal.say("go")
    top.expect("processes: 1,")
    top.send(key)
    top.expect(pexpect.EOF)
    top.close()
    assert top.exitstatus == status


def test_a_follower_whose_kernel_dies_as_it_writes_reads_the_rest_in_the_journal(
    home: Path, cli: Cli
) -> None:
    journal = Journal(journal_path(home))
    pid = journal.add_process("t", "m")
    events = [journal.append(pid, "user", {"text": str(number)}) for number in range(3)]
    journal.close()
    (home / "run").mkdir()
    path = home / "run" / f"{os.getpid()}.sock"
    live = {"pid": pid, "parent": None, "state": "RUNNING", "nice": 0, "num_tokens": 0}
    listed = {"status": "processes", "processes": [{**live, "cache_share": 0.0}]}
    half_a_line = EVENT.dump_json(events[2])[:30]
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(path))
        dying.listen()

        def die() -> None:
            for reply, last_words in ((listed, b""), ({"status": "done"}, half_a_line)):
                connection, _ = dying.accept()
                with connection:
                    connection.recv(1000)
                    if last_words:
                        path.unlink()
                    connection.sendall(json.dumps(reply).encode() + b"\n" + last_words)

        kernel = threading.Thread(target=die)
        kernel.start()
        status, out, error = cli("strace", pid, "--follow", "--json")
        kernel.join(10)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["0", "1", "2"]
    assert (status, len(error.splitlines())) == (1, 1)
    assert "does not answer" in error
