"""Sessions by voice: recordings in, spoken answers out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pexpect
import pytest

from llmos.shell.microphone import RATE, record_utterance
from llmos.shell.transcripts import as_typed

SESSION = Path(__file__).with_name("voice_session.py")


def recording(folder: Path, name: str, words: str) -> Path:
    path = folder / name
    path.write_text(words)
    return path


def program(folder: Path, name: str, script: str) -> str:
    """Put a program first on the search path; return that path."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_spoken_question_is_answered_by_speech(home: Path, tmp_path: Path) -> None:
    question = recording(tmp_path, "a.wav", "What is 17 times 24?")
    silence = recording(tmp_path, "b.wav", "no speech in it (0:03 long)")
    words = ["--voice", "--voice-from", question, "--voice-from", silence]
    done = subprocess.run(
        [sys.executable, SESSION, *words, "--voice-to", tmp_path / "answers"],
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "> What is 17 times 24?" in done.stdout
    assert "408" in done.stdout
    assert "Nothing was heard." in done.stdout
    [answer] = (tmp_path / "answers").iterdir()
    with wave.open(str(answer)) as file:
        assert file.getnframes() / file.getframerate() > 0.5


def test_ctrl_c_stops_the_speech_and_the_session_goes_on(home: Path, tmp_path: Path) -> None:
    first = recording(tmp_path, "a.wav", "What is 17 times 24?")
    second = recording(tmp_path, "b.wav", "What is 2 plus 3?")
    started = tmp_path / "started"
    os.mkfifo(started)
    path = program(tmp_path / "bin", "paplay", f"echo up >{started}; exec sleep 60")
    environment = {**os.environ, "PATH": path, "PULSE_SERVER": "unix:/nowhere", "TERM": "dumb"}
    arguments = [str(SESSION), "--voice", f"--voice-from={first}", f"--voice-from={second}"]
    session = pexpect.spawn(
        sys.executable, arguments, env=environment, timeout=60, encoding="utf-8"
    )
    try:
        session.expect("leaves otherwise")
        for _ in range(2):
            assert started.read_text() == "up\n"  # waits until something is being said
            session.sendintr()
            session.expect("stopped")
        session.expect(pexpect.EOF)
        session.wait()
        assert session.exitstatus == 0
    finally:
        session.close(force=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--voice"], "there is no microphone here; give recordings"),
        (["--voice", "--voice-from", "gone.wav"], "there is no recording 'gone.wav'"),
        (["--voice-to", "answers"], "--voice-from and --voice-to need --voice"),
    ],
)
def test_what_a_session_cannot_do_is_one_line(
    words: list[str],
    told: str,
    home: Path,
    tmp_path: Path,
    cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("llmos.sound_devices.CARDS", tmp_path / "cards")
    status, _, errors = cli(*words)
    assert status == 2
    assert told in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("heard", "typed"),
    [
        ("Read notes dot txt.", "Read notes.txt."),
        ("read notes dot t x t please", "read notes.txt please"),
        ("open docs slash my underscore plan dot m d", "open docs/my_plan.md"),
        ("copy a dot py and b dot json", "copy a.py and b.json"),
        ("put a dot on it", "put a dot on it"),
        ("[0:00] One.\n[0:04] Two.", "One. Two."),
        ("no speech in it (0:03 long)", ""),
    ],
)
def test_names_of_files_are_heard_as_they_are_written(heard: str, typed: str) -> None:
    assert as_typed(heard) == typed


async def test_the_microphone_is_heard_from_the_first_word_to_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 40, RATE * 6)
    tone = 8000 * np.sin(np.arange(RATE) * 0.2)
    noise[RATE * 2 : RATE * 3] += tone
    (tmp_path / "sound").write_bytes(noise.astype("<i2").tobytes())
    path = program(tmp_path / "bin", "parecord", f'cat "{tmp_path}/sound"; exec sleep 60')
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PULSE_SERVER", "unix:/nowhere")
    said = await record_utterance()
    assert said is not None
    with wave.open(io.BytesIO(said)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    assert 1.5 < len(heard) / RATE < 3
    assert np.square(heard).sum() > 0.98 * np.square(tone).sum()
