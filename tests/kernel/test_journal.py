"""The journal: append-only, durable where asked, honest where it cannot be used."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from llmos_kernel.errors import StateError
from llmos_kernel.journal import SCHEMA_VERSION, Journal, Usage


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal.db")


def test_events_come_back_in_order_with_their_own_count(journal: Journal) -> None:
    first, second = journal.add_process("a", "m"), journal.add_process("b", "m")
    for number in range(3):
        journal.append(first, "user", {"text": f"one {number}"})
        journal.append(second, "user", {"text": f"two {number}"}, is_durable=True)
    events = list(journal.events(second))
    assert [(e.seq, e.body["text"]) for e in events] == [(0, "two 0"), (1, "two 1"), (2, "two 2")]


def test_text_of_any_kind_survives(journal: Journal) -> None:
    text = "é 🦊 \x00 \ud800 ' \" \\ \n"
    pid = journal.add_process("a", "m")
    journal.append(pid, "user", {"text": text})
    assert next(journal.events(pid)).body == {"text": text}


def test_pids_are_never_used_again(journal: Journal) -> None:
    pids = [journal.add_process("a", "m") for _ in range(3)]
    path = journal.path
    journal.close()
    assert Journal(path).add_process("b", "m") == max(pids) + 1


def test_a_blob_is_kept_once_under_its_hash(journal: Journal) -> None:
    digest = journal.store_blob(b"data")
    assert journal.store_blob(b"data") == digest
    assert journal.blob(digest[:12]) == b"data"
    with pytest.raises(StateError, match="no single blob"):
        journal.blob("ffff")


def test_an_unknown_process_is_an_error_that_says_how_to_list_them(journal: Journal) -> None:
    with pytest.raises(StateError, match="llmos ps"):
        list(journal.events(7))


def test_only_its_owner_can_read_it(journal: Journal) -> None:
    assert journal.path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StateError, match="LLMOS_HOME"):
        Journal(path)
    assert path.read_bytes() == b"not a database " * 100


def test_a_journal_of_a_newer_version_is_refused(journal: Journal) -> None:
    journal.close()
    with sqlite3.connect(journal.path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StateError, match="newer llmos"):
        Journal(journal.path)


def test_a_full_disk_is_a_clear_error_and_what_was_written_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    pid = journal.add_process("a", "m")
    journal.append(pid, "user", {"text": "kept"}, is_durable=True)
    journal._connection.execute("PRAGMA max_page_count = 20")  # pyright: ignore
    with pytest.raises(StateError, match="free space"):
        journal.append(pid, "user", {"text": "x" * 1_000_000}, is_durable=True)
    assert [event.body["text"] for event in journal.events(pid)] == ["kept"]


def test_a_state_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="set LLMOS_HOME"):
        Journal(tmp_path / "file" / "journal.db")


WRITER = """
import sys
import tempfile
from pathlib import Path
from llmos_kernel.journal import Journal
journal = Journal(Path(sys.argv[1]))
pid = journal.add_process("task", "model")
number = 0
while True:
    journal.append(pid, "tool_call", {"number": number}, is_durable=True)
    print(number, flush=True)
    number += 1
"""


def test_what_was_durable_survives_kill_and_the_dead_kernel_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdout.readline()
        (record,) = Journal(path).processes()
        assert record.is_kernel_alive
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
    acknowledged = int(rest[-1]) if rest else 19
    journal = Journal(path)
    numbers = [event.body["number"] for event in journal.events(1)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > acknowledged
    (record,) = journal.processes()
    assert not record.is_kernel_alive
    assert record.task == "task"


def test_a_journal_opened_to_read_only_takes_nothing_and_follows_its_writer(
    journal: Journal,
) -> None:
    pid = journal.add_process("a", "m")
    reader = Journal(journal.path, is_read_only=True)
    journal.append(pid, "step", {"tokens": [1, 2, 3], "reason": "stop"})
    journal.append(pid, "renice", {"nice": 4})
    journal.append(pid, "step", {"tokens": [4], "reason": "stop"})
    assert reader.usage(pid) == Usage(parent=None, nice=4, num_tokens=4)
    assert [event.seq for event in reader.events(pid, since=1)] == [1, 2]
    with pytest.raises(StateError, match="readonly"):
        reader.add_process("b", "m")


def test_reading_a_journal_that_is_not_there_makes_none(tmp_path: Path) -> None:
    reader = Journal(tmp_path / "state" / "journal.db", is_read_only=True)
    assert reader.processes() == []
    assert not list(tmp_path.iterdir())


def test_a_journal_on_a_disk_that_cannot_be_written_can_be_read() -> None:
    folder = Path(tempfile.mkdtemp(prefix="llmos-test-"))
    journal = Journal(folder / "journal.db")
    pid = journal.add_process("a", "m")
    journal.close()
    (folder / "journal.db").chmod(0o444)
    folder.chmod(0o555)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:  # whom no mode keeps from writing
                os.setuid(65534)
            reader = Journal(folder / "journal.db", is_read_only=True)
            status = 0 if [record.pid for record in reader.processes()] == [pid] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    folder.chmod(0o755)
    shutil.rmtree(folder)
