"""The command line, as a user's shell sees it: output, one clear line, exit status."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import llmos_kernel
from llmos_kernel.journal import Journal

MODEL = Path(llmos_kernel.__file__).parent / "model"
Cli: TypeAlias = Callable[..., tuple[int, str, str]]
SLOW_TASK = "Use Python to sort the list [52, 19, 88, 34]."


def run_cli(
    home: Path, *args: str, stdin: str = "", check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `llmos` with a state folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", "llmos", *args],
        env={**os.environ, "LLMOS_HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=check,
    )


def events_of(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_prints_call_result_and_answer(home: Path) -> None:
    result = run_cli(home, "run", "--json", "What is 17 * 24?", check=True)
    call, outcome, answer = events_of(result)
    assert (call["event"], call["name"]) == ("tool_call", "calculate")
    assert (outcome["event"], outcome["id"], outcome["status"]) == ("tool_result", call["id"], "ok")
    assert outcome["text"] == "408"
    assert answer["event"] == "answer"
    assert "408" in answer["text"]
    for event in (call, outcome, answer):
        assert event["pid"] == 1
        assert event["time"] > 1e9
    assert call["seq"] < outcome["seq"] < answer["seq"]


def test_the_answer_goes_to_stdout_and_the_steps_to_stderr(home: Path) -> None:
    result = run_cli(home, "run", "What is 17 * 24?", check=True)
    assert "408" in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert "→ calculate(" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_what_it_is_not_sure_of_is_not_done_unasked_and_one_line_names_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOS_CONFIDENCE__ASK_BELOW", "1")
    result = run_cli(home, "run", "What is 17 * 24?")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("←")]
    assert re.search(r'nobody confirmed it and it is only \d+% sure: calculate\(expr.*"\)$', line)
    allowed = run_cli(home, "run", "--yes", "--json", "What is 17 * 24?", check=True)
    call, outcome, _ = events_of(allowed)
    assert 0 < call["confidence"]["call"] < 1
    assert call["confidence"]["arguments"].keys() == {"expression"}
    assert outcome["text"] == "408"


@pytest.mark.usefixtures("home")
def test_what_it_is_not_sure_of_is_made_by_a_larger_model_and_replays(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = tmp_path / "larger"
    shutil.copytree(MODEL, larger)
    monkeypatch.setenv("LLMOS_CONFIDENCE__ASK_BELOW", "1")
    monkeypatch.setenv("LLMOS_CONFIDENCE__HAND_OVER_TO", str(larger))
    _, out, _ = cli("run", "--json", "What is 17 * 24?")
    waiting, hand_over, call, outcome, answer = map(json.loads, out.splitlines())
    assert waiting["text"].startswith(f"{larger} is asked, since I am only ")
    assert (hand_over["event"], hand_over["model"]) == ("hand_over", str(larger))
    assert hand_over["doubted"][0]["name"] == "calculate"
    assert hand_over["calls"] == [{"name": call["name"], "arguments": call["arguments"]}]
    assert "confidence" not in call
    assert (outcome["status"], outcome["text"]) == ("ok", "408")
    assert "408" in answer["text"]
    status, out, _ = cli("strace", "--replay", "1")
    assert (status, " hand_over " in out) == (0, True)


@pytest.mark.usefixtures("home")
def test_where_no_larger_model_answers_one_line_says_so_and_the_user_is_asked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOS_CONFIDENCE__ASK_BELOW", "1")
    monkeypatch.setenv("LLMOS_CONFIDENCE__HAND_OVER_TO", "http://127.0.0.1:9/v1")
    _, out, err = cli("run", "--yes", "What is 17 * 24?")
    (line,) = [line for line in err.splitlines() if line.startswith("✗")]
    assert line.startswith("✗ not handed over to http://127.0.0.1:9/v1: ")
    assert "→ calculate(" in err
    assert "408" in out


def test_a_dry_run_prints_the_call_and_runs_nothing(home: Path) -> None:
    result = run_cli(home, "run", "--json", "--dry-run", "write hello to greeting.txt", check=True)
    events = events_of(result)
    assert events[0]["event"] == "tool_call"
    assert not any(event["event"] == "tool_result" for event in events)
    assert not list((home / "workspace").iterdir())


def test_further_tools_are_described_to_a_dry_run(home: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {"name": "get_weather", "description": "Weather in a city.", "parameters": schema}
    tools.write_text(json.dumps([{"type": "function", "function": function}]))
    run_cli(home, "run", "--dry-run", "--tools", str(tools), "What is 2 + 2?", check=True)
    refused = run_cli(home, "run", "--tools", str(tools), "What is 2 + 2?")
    assert (refused.returncode, "needs --dry-run" in refused.stderr) == (2, True)
    tools.write_text("[5]")
    broken = run_cli(home, "run", "--dry-run", "--tools", str(tools), "What is 2 + 2?")
    assert (broken.returncode, "entry 0 is no tool" in broken.stderr) == (2, True)


def test_an_attached_file_lies_in_the_workspace_and_is_named_to_the_model(
    home: Path, tmp_path: Path
) -> None:
    note = tmp_path / "plan.txt"
    note.write_text("feed the cat at noon")
    run_cli(home, "run", "--attach", str(note), "what does this say?", check=True)
    assert (home / "workspace" / "plan.txt").read_text() == "feed the cat at noon"
    note.write_text("something else")
    clash = run_cli(home, "run", "--attach", str(note), "what does this say?")
    assert (clash.returncode, "rename one of them" in clash.stderr) == (2, True)
    assert (home / "workspace" / "plan.txt").read_text() == "feed the cat at noon"


def test_stdin_is_input_to_the_task(home: Path) -> None:
    run_cli(home, "run", "What is the sum?", stdin="1 2 3", check=True)
    (user,) = [e for e in Journal(home / "journal.db").events(1) if e.kind == "user"]
    assert user.body["text"] == "What is the sum?\n\n1 2 3"


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["run", ""], 2, "the task is empty"),
        (["run", "  \n "], 2, "the task is empty"),
        (["run", "--model", "/no/such/folder", "hi"], 2, "there is no folder '/no/such/folder'"),
        (["run", "--attach", "missing.txt", "hi"], 2, "there is no file 'missing.txt'"),
        (["run", "--yes", "--deny", "hi"], 2, "either --yes or --deny"),
        (["eval", "missing.jsonl"], 2, "cannot read the evaluation file"),
        (["strace", "12"], 1, "there is no process 12"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_bad_input_is_one_clear_line_and_the_right_status(
    home: Path, args: list[str], status: int, message: str
) -> None:
    result = run_cli(home, *args)
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_corrupt_checkpoint_is_named_and_the_failed_task_is_in_the_journal(
    home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "corrupt"
    shutil.copytree(MODEL, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    result = run_cli(home, "run", "--model", str(folder), "What is 2 + 2?")
    assert result.returncode == 2
    assert "fetch the checkpoint again" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    trace = run_cli(home, "strace", "1", "--json", check=True)
    error = next(event for event in events_of(trace) if event["event"] == "error")
    assert "fetch the checkpoint again" in error["text"]
    (record,) = json.loads(run_cli(home, "ps", "--all", "--json", check=True).stdout)
    assert (record["state"], record["exit"]) == ("ZOMBIE", "failed")


def test_a_state_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run_cli(tmp_path / "file" / "state", "run", "What is 2 + 2?")
    assert result.returncode == 1
    assert "set LLMOS_HOME to another folder" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def start_slow_task(home: Path) -> subprocess.Popen[str]:
    """Start a task and wait until its tool, which starts a sandbox first, has been called."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmos", "run", "--json", SLOW_TASK],
        env={**os.environ, "LLMOS_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert json.loads(line)["event"] == "tool_call", line
    # The start of an effect is not printed, so the journal is asked until it tells.
    deadline = time.monotonic() + 20
    with closing(sqlite3.connect(home / "journal.db")) as journal:
        while not journal.execute("SELECT 1 FROM events WHERE kind = 'tool_start'").fetchone():
            assert time.monotonic() < deadline
    return process


def test_what_a_killed_kernel_leaves_is_in_the_journal_and_is_resumed(home: Path) -> None:
    process = start_slow_task(home)
    process.kill()
    process.communicate(timeout=30)
    listed = run_cli(home, "ps", check=True).stdout
    assert "WAITING (kernel died)" in listed
    assert SLOW_TASK[:20] in listed
    events = [event["event"] for event in events_of(run_cli(home, "strace", "1", "--json"))]
    assert events[-2:] == ["tool_call", "tool_start"]
    resumed = run_cli(home, "resume", "1", "--json", check=True)
    outcome, *_, answer = events_of(resumed)
    assert (outcome["event"], outcome["status"]) == ("tool_result", "unknown")
    assert (answer["event"], answer["pid"]) == ("answer", 1)


def test_ctrl_c_ends_the_task_with_130_and_is_journalled(home: Path) -> None:
    process = start_slow_task(home)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert '"status": "cancelled"' in stdout
    (record,) = json.loads(run_cli(home, "ps", "--all", "--json", check=True).stdout)
    assert record["exit"] == "interrupted"


def test_help_imports_neither_torch_nor_the_kernel(home: Path) -> None:
    code = (
        "import sys; sys.argv = ['llmos', '--help']\n"
        "from llmos.cli import app\n"
        "try: app()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'sympy', 'tokenizers', 'pydantic', 'llmos_kernel'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "[]"
    assert "An operating system whose kernel is a local language model" in result.stdout


@pytest.mark.parametrize("command", ["tools", "config", "models", "doctor"])
def test_views_print_json_that_is_whole(home: Path, command: str) -> None:
    result = run_cli(home, command, "--json")
    assert json.loads(result.stdout)


def test_eval_prints_the_figures_of_a_file(home: Path, tmp_path: Path) -> None:
    cases = [
        {"id": "1", "user": "what is 17 * 24", "expect": [{"name": "calculate", "value": 408}]},
        {"id": "2", "user": "what is 17 * 24", "expect": [{"name": "calculate", "value": 409}]},
    ]
    file = tmp_path / "cases.jsonl"
    file.write_text("\n".join(json.dumps(case) for case in cases))
    figures = json.loads(run_cli(home, "eval", "--json", str(file), check=True).stdout)
    assert (figures["cases"], figures["correct"], figures["accuracy"]) == (2, 1, 0.5)
    (failure,) = figures["failures"]
    assert failure["id"] == "2"
    assert failure["got"] == [{"name": "calculate", "arguments": {"expression": "17*24"}}]
    (confidence,) = failure["confidence"]  # the same for both, of which one is right
    assert figures["ece"] == pytest.approx(abs(2 * confidence - 1) / 2, abs=1e-3)
    file.write_text('{"id": "1"}')
    broken = run_cli(home, "eval", str(file))
    assert (broken.returncode, "cases.jsonl:1: expect" in broken.stderr) == (2, True)


def test_eval_names_the_cases_whose_tool_was_not_among_those_offered(
    home: Path, tmp_path: Path
) -> None:
    cases = [
        {"id": "other", "user": "what is 17 * 24", "expect": [{"name": "thaw_pipe"}]},
        {"id": "own", "user": "thaw the pipe", "expect": [{"name": "thaw_pipe"}]},
    ]
    file, tools = tmp_path / "cases.jsonl", tmp_path / "tools.json"
    file.write_text("\n".join(json.dumps(case) for case in cases))
    tools.write_text(json.dumps([{"name": "thaw_pipe", "description": "Warm one up."}]))
    result = run_cli(home, "eval", "--json", "--tools", str(tools), str(file), check=True)
    assert json.loads(result.stdout)["not_offered"] == ["other"]
