"""A VITS or SpeechT5 checkpoint of transformers, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    VitsModel,
)

from llmos.model_host.values import Report
from llmos.sdk import ToolFailed
from llmos_kernel.abi import JsonObject
from llmos_tools.speak.sound import Sound


class NeuralVoice:
    """See `llmos.model_host.values.Guest`."""

    def __init__(self, checkpoint: str, report: Report) -> None:
        kind = AutoConfig.from_pretrained(checkpoint).model_type
        voices = {"vits": _Vits, "speecht5": _SpeechT5}
        if kind not in voices:
            raise ToolFailed(f"{checkpoint!r} is a {kind!r} model; name a VITS or SpeechT5 one")
        self._tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
        self._voice = voices[kind](checkpoint)

    def answer(self, request: JsonObject, folder: Path, report: Report) -> JsonObject:
        inputs = self._tokenizer(str(request["text"]), return_tensors="pt")
        if not inputs["input_ids"].shape[-1]:
            raise ToolFailed("the speaking model knows none of these letters; use another voice")
        with torch.inference_mode():
            waveform, rate = self._voice.say(inputs, request)
        samples = (np.clip(waveform.numpy(), -1, 1) * 32767).astype("<i2")
        (folder / "out" / "speech.wav").write_bytes(Sound(rate, samples.tobytes()).as_wav())
        return {}


class _Vits:
    def __init__(self, checkpoint: str) -> None:
        self._model: Any = VitsModel.from_pretrained(checkpoint).eval()

    def say(self, inputs: Any, request: JsonObject) -> tuple[Any, int]:
        self._model.speaking_rate = self._model.config.speaking_rate * float(str(request["pace"]))
        waveform = self._model(**inputs, speaker_id=self._speaker(request["speaker"])).waveform
        return waveform[0], self._model.config.sampling_rate

    def _speaker(self, speaker: object) -> int | None:
        count = self._model.config.num_speakers
        if speaker is None:
            return 0 if count > 1 else None
        if not (str(speaker).isdecimal() and int(str(speaker)) < count):
            raise ToolFailed(f"there is no speaker {speaker!r}; speak.speaker is below {count}")
        return int(str(speaker))


class _SpeechT5:
    def __init__(self, checkpoint: str) -> None:
        self._model: Any = SpeechT5ForTextToSpeech.from_pretrained(checkpoint).eval()
        self._vocoders: dict[str, Any] = {}

    def say(self, inputs: Any, request: JsonObject) -> tuple[Any, int]:
        name = str(request["vocoder"])
        if name not in self._vocoders:
            self._vocoders[name] = SpeechT5HifiGan.from_pretrained(name).eval()
        vector = self._vector(request["speaker"])
        waveform = self._model.generate_speech(
            inputs["input_ids"], vector, vocoder=self._vocoders[name]
        )
        return waveform, self._vocoders[name].config.sampling_rate

    def _vector(self, speaker: object) -> Any:
        size = self._model.config.speaker_embedding_dim
        needed = f"SpeechT5 needs the voice of someone: a .npy file of {size} numbers"
        try:
            vector = np.load(Path(str(speaker)).expanduser(), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ToolFailed(f"{needed} as speak.speaker, not {speaker!r}") from error
        if vector.size != size:
            raise ToolFailed(f"{needed}; {speaker!r} has {vector.size}")
        return torch.from_numpy(vector.astype("float32").reshape(1, size))
