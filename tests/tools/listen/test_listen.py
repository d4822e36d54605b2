"""`listen` over processes of its own: real decoding by ffmpeg, tiny random Whisper models."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from llmos.model_host import ModelHost
from llmos.sdk import CallContext, ToolFailed, tools_of
from llmos_tools.listen import Listen
from llmos_tools.listen.settings import ListenSettings
from tests.tools.listen.sounds import (
    RATE,
    silence,
    tone,
    write_checkpoint,
    write_samples,
    write_wav,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg"),
]
ENGLISH, MULTILINGUAL = 51_864, 51_865


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def models() -> AsyncIterator[ModelHost]:
    host = ModelHost()
    yield host
    await host.close()


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("english") / "tiny.pt"
    return {"checkpoint": str(path), "sha256": write_checkpoint(path, ENGLISH)}


@pytest.fixture
def tool(models: ModelHost, english: dict[str, str]) -> Listen:
    return Listen(ListenSettings.model_validate(english), models)


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, reported: list[str]) -> CallContext:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return CallContext(1, workspace, report=reported.append)


async def test_the_kernel_reads_the_words_that_the_model_was_trained_on(models: ModelHost) -> None:
    (driver,) = tools_of(Listen, [ListenSettings.model_validate({}), models])
    spec = driver.spec
    assert spec.name == "listen"
    assert spec.description == "Write down what is said in a recording; by default short commands."
    assert spec.parameters["properties"] == {"audio": {"type": "string", "description": "the file"}}
    assert spec.is_repeatable and not spec.effects


async def test_a_multilingual_checkpoint_is_loaded_as_it_is(
    models: ModelHost, context: CallContext, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.pt"
    settings = {"checkpoint": str(path), "sha256": write_checkpoint(path, MULTILINGUAL)}
    write_wav(context.workspace / "tone.wav", tone(1))
    assert await Listen(ListenSettings.model_validate(settings), models).listen("tone.wav", context)


async def test_an_hour_of_silence_has_no_speech_and_asks_no_model(
    tool: Listen, context: CallContext, reported: list[str]
) -> None:
    write_samples(context.workspace / "hour.wav", bytes(2 * RATE * 3600))
    assert await tool.listen("hour.wav", context) == "no speech in it (1:00:00 long)"
    assert not any(line.startswith("minute") for line in reported)


async def test_a_long_recording_is_heard_in_windows_with_progress(
    tool: Listen, context: CallContext, reported: list[str]
) -> None:
    sound = np.concatenate([tone(1), silence(89), tone(1), silence(60)])
    write_wav(context.workspace / "long.wav", sound)
    await tool.listen("long.wav", context)
    told = [line for line in reported if line.startswith("minute")]
    assert told == ["minute 1 of 3", "minute 2 of 3"]


async def test_the_sound_of_a_film_is_heard(tool: Listen, context: CallContext) -> None:
    _make("-f lavfi -i color=size=16x16:d=1 -f lavfi -i anullsrc -t 1", context, "film.mp4")
    assert (await tool.listen("film.mp4", context)).startswith("no speech in it")


async def test_a_film_without_sound_is_refused(tool: Listen, context: CallContext) -> None:
    _make("-f lavfi -i color=size=16x16:d=1", context, "mute.mp4")
    with pytest.raises(ToolFailed, match="a film without sound"):
        await tool.listen("mute.mp4", context)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.wav", b"", "is empty"),
        ("notes.txt", b"buy milk\n", "is text, not a recording: read_file shows it"),
        ("broken.wav", b"RIFF\x00\x00\x00\x00WAVEfmt \x00\x01", "broken.wav"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "is text, not a recording"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0", "is a PNG picture, not a recording"),
    ],
)
async def test_what_is_no_recording_is_refused_in_one_line(
    tool: Listen, context: CallContext, name: str, data: bytes, said: str
) -> None:
    (context.workspace / name).write_bytes(data)
    with pytest.raises(ToolFailed) as error:
        await tool.listen(name, context)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


async def test_a_recording_outside_the_workspace_is_refused(
    tool: Listen, context: CallContext, tmp_path: Path
) -> None:
    write_wav(tmp_path / "outside.wav", tone(1))
    (context.workspace / "link.wav").symlink_to(tmp_path / "outside.wav")
    for name in ("link.wav", "../outside.wav"):
        with pytest.raises(ToolFailed):
            await tool.listen(name, context)


async def test_a_recording_longer_than_the_setting_is_refused(
    models: ModelHost, english: dict[str, str], context: CallContext
) -> None:
    tool = Listen(ListenSettings.model_validate({**english, "most_minutes": 1}), models)
    write_wav(context.workspace / "long.wav", silence(61))
    with pytest.raises(ToolFailed, match="raise the setting listen"):
        await tool.listen("long.wav", context)


@pytest.mark.parametrize(
    ("pin", "said"), [(None, "set listen.sha256"), ("0" * 64, "and is not loaded")]
)
async def test_a_checkpoint_file_that_is_not_as_pinned_is_not_loaded(
    models: ModelHost,
    english: dict[str, str],
    context: CallContext,
    reported: list[str],
    pin: str | None,
    said: str,
) -> None:
    tool = Listen(ListenSettings.model_validate({**english, "sha256": pin}), models)
    write_wav(context.workspace / "tone.wav", tone(1))
    with pytest.raises(ToolFailed, match=said):
        await tool.listen("tone.wav", context)
    assert not reported


async def test_an_unknown_model_is_refused_with_the_names_that_there_are(
    models: ModelHost, context: CallContext
) -> None:
    tool = Listen(ListenSettings.model_validate({"checkpoint": "enormous"}), models)
    write_wav(context.workspace / "tone.wav", tone(1))
    with pytest.raises(ToolFailed, match=r"no Whisper model 'enormous'.*tiny\.en"):
        await tool.listen("tone.wav", context)


def _make(source: str, context: CallContext, name: str) -> None:
    command = ["ffmpeg", "-v", "error", *source.split(), str(context.workspace / name)]
    subprocess.run(command, check=True, timeout=20)
