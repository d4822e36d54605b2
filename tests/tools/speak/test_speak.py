"""Speak, with espeak-ng, stand-ins for the other programs, and small random checkpoints."""

from __future__ import annotations

import asyncio
import os
import stat
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmos.model_host import ModelHost
from llmos.sdk import CallContext, Driver, Effect, tools_of
from llmos.single_call import run_call
from llmos_kernel.abi import ToolResult
from llmos_tools.speak import Speak
from llmos_tools.speak.settings import SpeakSettings
from llmos_tools.speak.voices import espeak_problem


def driver(**settings: Any) -> Driver:
    provided = [SpeakSettings.model_validate(settings), ModelHost()]
    return tools_of(Speak, provided)[0]


async def say(text: str, folder: Path, **settings: Any) -> ToolResult:
    folder.mkdir(exist_ok=True)
    return await run_call(driver(**settings), {"text": text}, CallContext(1, folder))


def seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take this machine's loudspeaker away."""
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("llmos.sound_devices.CARDS", tmp_path / "cards")


@pytest.fixture
def player(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a loudspeaker whose program writes what it plays into a file."""
    program(tmp_path / "bin", "paplay", f'exec cat >"{tmp_path}/heard"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("PULSE_SERVER", "unix:/nowhere")
    return tmp_path / "heard"


def test_the_kernel_reads_the_words_that_the_model_was_trained_on() -> None:
    spec = driver().spec
    assert (spec.name, spec.description) == ("speak", "Say text aloud.")
    assert spec.parameters["properties"] == {"text": {"type": "string", "description": "the text"}}


async def test_without_a_loudspeaker_speech_is_a_file_and_needs_no_yes(tmp_path: Path) -> None:
    said = await say("hello world", tmp_path / "w")
    assert (said.status, said.files) == ("ok", ("speech.wav",))
    assert 0.5 < seconds(tmp_path / "w" / "speech.wav") < 2
    assert "speech.wav" in said.text
    again = await say("hello world", tmp_path / "w")
    assert again.files == ("speech-2.wav",)
    assert driver().spec.effects == {Effect.FILES}


async def test_with_a_loudspeaker_speech_is_heard_and_leaves_no_file(
    player: Path, tmp_path: Path
) -> None:
    said = await say("Hello world. And more.", tmp_path / "w")
    assert said.status == "ok"
    assert said.text.startswith("said aloud, ")
    assert not list((tmp_path / "w").iterdir())
    assert player.stat().st_size / 2 / 22_050 == pytest.approx(float(said.text.split()[2]), abs=0.1)
    assert Effect.DEVICE in driver().spec.effects
    assert driver(play=False).spec.effects == {Effect.FILES}


async def test_cancelling_a_call_ends_the_player_at_once(player: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    program(tmp_path / "bin", "paplay", f'echo $$ >"{tmp_path}/pid"; exec sleep 60')
    call = asyncio.create_task(say("word. " * 500, tmp_path / "w"))
    async with asyncio.timeout(20):
        pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    assert Path(f"/proc/{pid}").exists()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not Path(f"/proc/{pid}").exists()


async def test_a_player_that_fails_says_why(player: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "paplay", "echo 'Connection refused' >&2; exit 1")
    said = await say("hello", tmp_path / "w")
    assert said.status == "failed"
    assert "Connection refused" in said.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is nothing to say in ''"),
        ("***", "there is nothing to say"),
        ("a" * 100_000, "100000 characters; at most 20000"),
    ],
)
async def test_what_cannot_be_said_is_one_clear_line(text: str, told: str, tmp_path: Path) -> None:
    said = await say(text, tmp_path / "w")
    assert said.status == "retry"
    assert told in said.text
    assert "\n" not in said.text


async def test_other_scripts_are_read_by_voices_of_their_languages(tmp_path: Path) -> None:
    said = await say("Привет, как дела? 你好世界。 Hello.", tmp_path / "w")
    assert said.status == "ok"
    assert seconds(tmp_path / "w" / "speech.wav") < 6  # letter by letter it takes far longer


async def test_speed_changes_how_long_it_takes(tmp_path: Path) -> None:
    for speed in (100, 300):
        await say("one two three four five", tmp_path / str(speed), speed=speed)
    slow, fast = (seconds(tmp_path / speed / "speech.wav") for speed in ("100", "300"))
    assert slow > 1.8 * fast


async def test_an_unknown_voice_is_named_by_espeak_ng(tmp_path: Path) -> None:
    said = await say("hello", tmp_path / "w", voice="xx")
    assert said.status == "failed"
    assert "voice does not exist" in said.text


async def test_a_missing_espeak_ng_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = await say("hello", tmp_path / "w")
    assert said.text == "error: espeak-ng is not installed; run `apt-get install espeak-ng`"
    assert espeak_problem() is not None


async def test_piper_speaks_through_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "piper", 'cat >"$2.text"; espeak-ng -w "$6" hello')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    voice = tmp_path / "voice.onnx"
    missing = await say("hello 5", tmp_path / "w", engine="piper", checkpoint=str(voice))
    assert "there is no voice" in missing.text
    voice.touch()
    said = await say("hello 5", tmp_path / "w", engine="piper", checkpoint=str(voice))
    assert said.files == ("speech.wav",)
    assert (tmp_path / "voice.onnx.text").read_text().split() == ["hello", "five."]


def test_an_engine_without_its_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs speak\.checkpoint"):
        SpeakSettings.model_validate({"engine": "piper"})


@pytest.fixture(scope="module")
def vits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny random checkpoint of VITS."""
    import json

    from transformers import VitsConfig, VitsModel, VitsTokenizer

    folder = tmp_path_factory.mktemp("vits")
    vocabulary = {letter: i for i, letter in enumerate("_ abcdefghijklmnopqrstuvwxyz'-.")}
    (folder / "words.json").write_text(json.dumps(vocabulary))
    VitsTokenizer(
        str(folder / "words.json"), pad_token="_", unk_token="_", phonemize=False, is_uroman=False
    ).save_pretrained(folder)
    config = VitsConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        ffn_dim=16, flow_size=16, spectrogram_bins=9, upsample_initial_channel=32,
        upsample_rates=[8, 8], upsample_kernel_sizes=[16, 16], resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]], prior_encoder_num_flows=1, prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1, duration_predictor_num_flows=1,
        duration_predictor_filter_channels=16, wavenet_dilation_rate=1,
    )  # fmt: skip
    VitsModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def speecht5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny random checkpoint of SpeechT5 with its vocoder and someone's vector."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        SpeechT5Config,
        SpeechT5ForTextToSpeech,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    folder = tmp_path_factory.mktemp("speecht5")
    vocabulary = {letter: i for i, letter in enumerate("?_ abcdefghijklmnopqrstuvwxyz'-.")}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="_").save_pretrained(folder)
    config = SpeechT5Config(
        vocab_size=40, hidden_size=16, encoder_layers=1, encoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
        speaker_embedding_dim=4, speech_decoder_prenet_units=8, speech_decoder_postnet_units=8,
        num_mel_bins=8,
    )  # fmt: skip
    SpeechT5ForTextToSpeech(config).save_pretrained(folder)
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=8, upsample_initial_channel=16, upsample_rates=[4], upsample_kernel_sizes=[8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
    )  # fmt: skip
    SpeechT5HifiGan(vocoder).save_pretrained(folder / "vocoder")
    np.save(folder / "someone.npy", np.ones(4, "float32"))
    return folder


async def test_a_vits_checkpoint_speaks_in_a_process_of_its_own(vits: Path, tmp_path: Path) -> None:
    models = ModelHost()
    settings = SpeakSettings.model_validate({"engine": "transformers", "checkpoint": str(vits)})
    try:
        [tool] = tools_of(Speak, [settings, models])
        said = await run_call(tool, {"text": "hello 5"}, CallContext(1, tmp_path))
    finally:
        await models.close()
    assert (said.status, said.files) == ("ok", ("speech.wav",)), said.text
    assert seconds(tmp_path / "speech.wav") > 0


async def test_a_speecht5_checkpoint_speaks_with_someone_s_voice(
    speecht5: Path, tmp_path: Path
) -> None:
    models = ModelHost()
    plain = {
        "engine": "transformers",
        "checkpoint": str(speecht5),
        "vocoder": str(speecht5 / "vocoder"),
    }
    told: list[ToolResult] = []
    try:
        for more in ({}, {"speaker": str(speecht5 / "someone.npy")}):
            settings = SpeakSettings.model_validate({**plain, **more})
            [tool] = tools_of(Speak, [settings, models])
            told.append(await run_call(tool, {"text": "hello"}, CallContext(1, tmp_path)))
    finally:
        await models.close()
    assert told[0].status == "failed"
    assert "SpeechT5 needs the voice of someone: a .npy file of 4 numbers" in told[0].text
    assert (told[1].status, told[1].files) == ("ok", ("speech.wav",)), told[1].text
