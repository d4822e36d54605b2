"""`/listen` in the typed session, and the commands beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pexpect
import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from llmos import boot
from llmos.shell.commands import CommandCompleter
from llmos.shell.microphone import RATE
from llmos.shell.session import run_shell
from tests.llmos import voice_session
from tests.llmos.test_voice import SESSION, program, recording

LEAVE = "\x04"
Session = Callable[[str], tuple[str, str]]


@pytest.fixture
def session(
    home: Path,
    fake_model: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Session]:
    """Return a function that types keys into a session, which ends; its stdout and stderr out."""
    fake_model({1: [["It is 408."]]})
    monkeypatch.setattr(boot, "installed_tools", voice_session.stand_ins)
    monkeypatch.setattr("llmos.config.entry_points", voice_session.sections)
    monkeypatch.chdir(home.parent)

    def typed(keys: str) -> tuple[str, str]:
        pipe.send_text(keys + LEAVE)
        assert run_shell({}) == 0
        output, errors = capfd.readouterr()
        return output, errors

    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield typed


def sent(home: Path) -> list[str]:
    """Return the lines that were sent at the prompt."""
    lines = (home / "history").read_text().splitlines()
    return [line.removeprefix("+") for line in lines if line.startswith("+")]


def test_what_a_recording_says_is_put_into_the_prompt_and_can_be_edited(
    session: Session, home: Path
) -> None:
    recording(home.parent, "my question.wav", "What is 17 times 2")
    output, _ = session("/listen my question.wav\r4?\r")
    assert sent(home) == ["/listen my question.wav", "What is 17 times 24?"]
    assert "It is 408." in output


def test_a_recording_of_the_workspace_is_found_by_its_name(session: Session, home: Path) -> None:
    (home / "workspace").mkdir(parents=True)
    recording(home / "workspace", "speech.wav", "/what is 17 times 24")
    session("/listen speech.wav\r\r")
    assert sent(home)[1:] == ["what is 17 times 24"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/listen gone.wav", "llmos: there is no recording 'gone.wav', neither here nor in the"),
        ("/listen " + "a" * 300, "llmos: there is no recording 'aaa"),
        ("/listen", "llmos: there is no microphone here; give recordings: `/listen question.wav`"),
    ],
)
def test_what_cannot_be_heard_is_one_line_and_the_session_goes_on(
    line: str, told: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("llmos.sound_devices.CARDS", tmp_path / "cards")
    output, errors = session(f"{line}\rWhat is 17 times 24?\r")
    assert errors.startswith(told)
    assert errors.count("\n") == 1
    assert "It is 408." in output


def test_a_terminal_that_shows_no_beginning_of_a_line_is_told_what_was_heard(
    session: Session, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    recording(home.parent, "a.wav", "What is 17 times 24?")
    output, _ = session("/listen a.wav\r\r")
    assert "What is 17 times 24?\n" in output


def test_a_silent_recording_leaves_the_prompt_empty(session: Session, home: Path) -> None:
    recording(home.parent, "a.wav", "no speech in it (0:03 long)")
    output, _ = session("/listen a.wav\rHello\r")
    assert "Nothing was heard." in output
    assert sent(home)[1:] == ["Hello"]


def test_a_session_without_the_tool_listen_says_what_to_do(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_tools(*_: Any, **__: Any) -> list[Any]:
        return []

    monkeypatch.setattr(boot, "installed_tools", no_tools)
    _, errors = session("/listen a.wav\r")
    assert errors == "llmos: /listen needs the tool 'listen'; `llmos doctor` says what it lacks\n"


def test_ctrl_c_stops_the_recording_and_keeps_the_session(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'echo $$ >"{tmp_path}/pid"; kill -INT $PPID; exec sleep 60'
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "parecord", script))
    monkeypatch.setenv("PULSE_SERVER", "unix:/nowhere")
    output, errors = session("/listen\rWhat is 17 times 24?\r")
    assert errors == "llmos: stopped\n"
    assert "It is 408." in output
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_enter_ends_the_recording_without_a_pause(home: Path, tmp_path: Path) -> None:
    sound = 8000 * np.sin(np.arange(RATE) * 0.2)
    (tmp_path / "sound").write_bytes(sound.astype("<i2").tobytes())
    said = tmp_path / "said"
    os.mkfifo(said)
    script = f'cat "{tmp_path}/sound"; echo up >"{said}"; exec sleep 60'
    path = program(tmp_path / "bin", "parecord", script)
    terminal = {"TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"}
    environment = {**os.environ, **terminal, "PATH": path, "PULSE_SERVER": "unix:/nowhere"}
    shell = pexpect.spawn(
        sys.executable, [str(SESSION)], env=environment, timeout=60, encoding="utf-8"
    )
    try:
        shell.expect("Ctrl-D leaves.*> ")
        shell.sendline("/listen")
        shell.expect("Speak; a pause or Enter ends the recording")
        assert said.read_text() == "up\n"
        shell.sendline()
        shell.expect(r"What is 2 plus 3\?.*> ")
        shell.sendline()
        shell.expect(r"calculate\(")
    finally:
        shell.close(force=True)


def test_help_names_every_command_and_what_is_none_is_told(session: Session) -> None:
    output, _ = session("/help\r/nonsense\r/new things\r")
    for name in ("/help", "/listen", "/new"):
        assert f"\n{name} " in f"\n{output}"
    assert "There is no command '/nonsense'; /help shows what there is." in output
    assert "There is no command '/new things'" in output


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("/", ["/help", "/listen", "/new"]),
        ("/li", ["/listen"]),
        ("/listen qu", ["estion.wav"]),
        ("read /li", []),
        ("/new qu", []),
    ],
)
def test_commands_and_recordings_are_completed_and_tasks_are_not(
    typed: str, completions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recording(tmp_path, "question.wav", "")
    found = CommandCompleter().get_completions(Document(typed), CompleteEvent())
    assert [completion.text for completion in found] == completions
