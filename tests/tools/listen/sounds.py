"""Sounds and random Whisper checkpoints for the tests of listen."""

from __future__ import annotations

import hashlib
import wave
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from whisper.model import ModelDimensions, Whisper

RATE = 16_000
Sound = NDArray[np.float64]


def write_wav(path: Path, sound: Sound) -> None:
    write_samples(path, samples(sound).tobytes())


def write_samples(path: Path, data: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(data)


def samples(*parts: Sound) -> NDArray[np.int16]:
    return np.round(np.concatenate(parts) * 32767).astype(np.int16)


def tone(seconds: float, level: float = 0.3) -> Sound:
    return level * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)


def silence(seconds: float) -> Sound:
    return np.zeros(int(seconds * RATE))


def write_checkpoint(path: Path, num_tokens: int) -> str:
    """Write a Whisper of random weights; return its SHA-256."""
    torch.manual_seed(0)
    dims = ModelDimensions(80, 1500, 16, 2, 1, num_tokens, 32, 16, 2, 1)
    model = Whisper(dims)
    torch.nn.init.normal_(model.decoder.token_embedding.weight)
    torch.nn.init.zeros_(model.decoder.positional_embedding)
    torch.save({"dims": asdict(dims), "model_state_dict": model.state_dict()}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
