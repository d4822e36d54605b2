"""Train the embedded checkpoint of listen: `python -m media_training.listen --out runs/listen`.

Trains on utterances as long as they are, and now and then on whole windows of 30 s, as inference
sees them. Reads the shards of `media_training.speech` as they appear, and resumes from its folder.
Knows no tool.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, ctc_loss, log_softmax
from whisper.audio import N_FRAMES, log_mel_spectrogram
from whisper.model import disable_sdpa

from llmos_kernel.engine.torch.precision import autocast
from media_training.acoustics import noise_of, roughened
from media_training.listen_model import (
    LETTERS,
    CompactWhisper,
    special_tokens,
    timestamp,
    tokenizer,
    tokens_of,
)
from media_training.speech import RATE, Recording, Samples, read_shard, shards
from media_training.spoken import sentences

BATCH: Final = 20
WINDOWS_BATCH: Final = 4
WINDOWS_EVERY: Final = 20
SORTED: Final = 8
LONGEST_S: Final = 6.0
# At first short sentences alone, in which the decoder finds sooner what belongs to what.
SHORT_S: Final = 2.2
SHORT_STEPS: Final = 800
SILENT_SHARE: Final = 0.02
TIMED_SHARE: Final = 0.3
PEAK_RATE: Final = 1.5e-3
WARMUP: Final = 150
CTC_WEIGHT: Final = 1.0
VOCABULARY_FROM: Final = 20_000
IGNORED: Final = -100
SAVED_EVERY_S: Final = 90
LOGGED_EVERY_S: Final = 20


@dataclass(frozen=True, slots=True)
class Batch:
    """`mel` (batch, 80, frames); `tokens`, `targets` (batch, length), as places in the vocabulary.

    `letters` (batch, longest) of what is said, from 1, and `num_letters` of each.
    """

    mel: Tensor
    tokens: Tensor
    targets: Tensor
    letters: Tensor
    num_letters: Tensor


def vocabulary() -> list[int]:
    """Return the tokens of many drawn sentences, in order; the same each time."""
    drawn = itertools.islice(sentences(0), VOCABULARY_FROM)
    return sorted(special_tokens().union(*(tokens_of(sentence.written) for sentence in drawn)))


class Batches:
    """Draws batches of roughened recordings; the seed fixes them once the shards are there."""

    def __init__(self, speech: Path, seed: int, known: list[int]) -> None:
        self._speech = speech
        self._rng = np.random.default_rng(seed)
        self._places = {token: place for place, token in enumerate(known)}
        self._recordings: list[Recording] = []
        self._num_shards = 0
        self.longest_s = LONGEST_S

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._read_new()
            drawn = [self._drawn() for _ in range(BATCH * SORTED)]
            drawn.sort(key=lambda pair: len(pair[1]))
            for place in self._rng.permutation(SORTED):
                yield self._batch(drawn[place * BATCH : (place + 1) * BATCH])

    def windows(self) -> Batch:
        """Draw a batch of whole windows."""
        return self._batch([self._drawn() for _ in range(WINDOWS_BATCH)], frames=N_FRAMES)

    def _read_new(self) -> None:
        for path in shards(self._speech)[self._num_shards :]:
            self._recordings.extend(r for r in read_shard(path) if self._is_known(r))
            self._num_shards += 1

    def _is_known(self, recording: Recording) -> bool:
        tokens = tokens_of(recording.sentence.written)
        return (
            all(token in self._places for token in tokens)
            and len(recording.samples) < LONGEST_S * RATE
        )

    def _drawn(self) -> tuple[Recording | None, Samples]:
        if self._rng.random() < SILENT_SHARE:
            noise = noise_of(int(self._rng.uniform(0.5, 4) * RATE), self._rng)
            return None, noise * np.float32(10 ** self._rng.uniform(-4, -1))
        while True:
            recording = self._recordings[self._rng.integers(len(self._recordings))]
            if len(recording.samples) < self.longest_s * RATE:
                return recording, roughened(recording.sound, self._rng)

    def _batch(self, drawn: list[tuple[Recording | None, Samples]], frames: int = 0) -> Batch:
        longest = max(len(sound) for _, sound in drawn) + int(self._rng.uniform(0, 0.5) * RATE)
        length = frames * 160 or math.ceil(longest / 320) * 320
        mel = [log_mel_spectrogram(sound, padding=length - len(sound)) for _, sound in drawn]
        framed = [self._framed(recording, len(sound) / RATE) for recording, sound in drawn]
        said = [_letters(recording) for recording, _ in drawn]
        return Batch(
            torch.stack(mel)[:, :, : length // 160],
            _padded([tokens for tokens, _ in framed], 0),
            _padded([targets for _, targets in framed], IGNORED),
            _padded(said, 0),
            torch.tensor([len(letters) for letters in said]),
        )

    def _framed(self, recording: Recording | None, seconds: float) -> tuple[list[int], list[int]]:
        """Return the decoder's tokens and what should follow each, as places."""
        encoder = tokenizer()
        is_timed = self._rng.random() < TIMED_SHARE
        start = timestamp(0) if is_timed else encoder.no_timestamps
        if recording is None:
            assert encoder.no_speech is not None
            return self._placed([encoder.sot, start]), self._placed(
                [encoder.no_speech, encoder.eot]
            )
        end = [timestamp(seconds)] if is_timed else []
        tokens = [encoder.sot, start, *tokens_of(recording.sentence.written), *end, encoder.eot]
        placed = self._placed(tokens)
        targets = placed[1:]
        if not is_timed:
            targets[0] = IGNORED
        return placed[:-1], targets

    def _placed(self, tokens: list[int]) -> list[int]:
        return [self._places[token] for token in tokens]


def _letters(recording: Recording | None) -> list[int]:
    return [LETTERS.index(letter) + 1 for letter in recording.sentence.said] if recording else []


def _padded(rows: list[list[int]], value: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def losses(model: CompactWhisper, batch: Batch) -> tuple[Tensor, Tensor, float]:
    """Return the decoder's loss, the letters' loss, and the share of tokens that are right."""
    # In training torch's fused attention pays from about a window on, and costs half below.
    attention = nullcontext() if batch.mel.shape[2] == N_FRAMES else disable_sdpa()
    with attention, autocast():
        features = model.encode(batch.mel)
        letters = model.letters(features)
        logits = model.decode(batch.tokens, features)
    logits = logits.float()
    decoded = cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
    frames = torch.full((len(batch.mel),), letters.shape[1])
    read = ctc_loss(
        log_softmax(letters.float(), -1).transpose(0, 1),
        batch.letters,
        frames,
        batch.num_letters,
        zero_infinity=True,
    )
    counted = batch.targets != IGNORED
    right = (logits.argmax(-1) == batch.targets)[counted].float().mean().item()
    return decoded, read, right


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate: up to its peak, then down by a cosine."""
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    done = min((step - WARMUP) / max(steps - WARMUP, 1), 1)
    return PEAK_RATE * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


class Training:
    """One run, its model, optimizer and step, kept in a folder."""

    def __init__(self, out: Path, speech: Path, steps: int) -> None:
        torch.manual_seed(0)
        self._path, self._steps, self._step = out / "training.pt", steps, 0
        state = torch.load(self._path, weights_only=True) if self._path.exists() else None
        # What was trained keeps its tokens, also where other sentences are drawn by now.
        self.model = CompactWhisper(state["vocabulary"] if state else vocabulary())
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01
        )
        if state:
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._step = state["step"]
        self._batches = Batches(speech, self._step, self.model.vocabulary)

    def save(self) -> None:
        """Replace the kept state at once."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "vocabulary": self.model.vocabulary,
        }
        torch.save(state, self._path.with_suffix(".new"))
        self._path.with_suffix(".new").rename(self._path)

    def run(self) -> None:
        """Train to the last step, with a log line and a saved state now and then."""
        logged = saved = time.monotonic()
        drawn = iter(self._batches)
        while self._step < self._steps:
            is_short = self._step < SHORT_STEPS
            self._batches.longest_s = SHORT_S if is_short else LONGEST_S
            is_window = not is_short and self._step % WINDOWS_EVERY == 0
            batch = self._batches.windows() if is_window else next(drawn)
            values = self._train(batch)
            now = time.monotonic()
            if now - logged > LOGGED_EVERY_S:
                logged = now
                print(f"step {self._step} {values} frames {batch.mel.shape[2]}", flush=True)
            if now - saved > SAVED_EVERY_S:
                saved = now
                self.save()
        self.save()

    def _train(self, batch: Batch) -> str:
        for group in self._optimizer.param_groups:
            group["lr"] = rate_at(self._step, self._steps)
        decoded, read, right = losses(self.model, batch)
        self._optimizer.zero_grad()
        (decoded + CTC_WEIGHT * read).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._step += 1
        return f"tokens {decoded.item():.3f} letters {read.item():.3f} right {right:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speech", type=Path, default=Path("runs/speech"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--export", type=Path, help="write the checkpoint there and train no more")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    training = Training(options.out, options.speech, options.steps)
    if options.export:
        training.model.export(options.export)
        print(hashlib.sha256(options.export.read_bytes()).hexdigest())
        return
    training.run()


if __name__ == "__main__":
    main()
