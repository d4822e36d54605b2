"""Train the embedded checkpoint of look: `python -m media_training.look --out runs/look`.

Stage one teaches the vision tower what each patch shows; stage two teaches the whole to answer,
several questions about one picture in one sequence, each blind to the others. Resumes from the
checkpoint in its folder. Knows no tool.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llmos_kernel.engine.torch.precision import autocast
from llmos_kernel.training.muon import Muon
from media_training.figures import KINDS
from media_training.look_model import (
    ANSWER,
    EOS,
    NUM_PATCHES,
    PAD,
    PATCH,
    UNK,
    WIDTH,
    new_model,
    new_tokenizer,
    save,
)  # fmt: skip
from media_training.odd_pictures import odd_pictures, small, written
from media_training.questions import Asker, Question
from media_training.scenes import BACKGROUNDS, PIXELS, Scene, render, scenes

BATCH: Final = 32
QUESTIONS: Final = 8
POOL: Final = 1500
ODD_SHARE: Final = 0.16
WRITTEN_SHARE: Final = 0.06
UNKNOWN_WORDS: Final = 0.05
# How often a question begins with words that are not known, as in "would you kindly say".
POLITE: Final = 0.2
SAVED_EVERY_S: Final = 120
LOGGED_EVERY_S: Final = 20
IGNORED: Final = -100
GRID: Final = PIXELS // PATCH
# What a patch shows: a kind, nothing of its own, or part of a picture that is no scene.
PATCH_KINDS: Final = (*KINDS, "ground", "odd", "writing")
# Its colour: that of the thing, or the name of the background.
PATCH_COLOURS: Final = (*BACKGROUNDS, "odd", "writing")


@dataclass(frozen=True, slots=True)
class Batch:
    """`pixels` (batch, 3, 64, 64); `kinds`, `colours` (batch, patches); tokens by picture."""

    pixels: Tensor
    kinds: Tensor
    colours: Tensor
    questions: list[list[Question]]


class Heads(nn.Module):
    """What stage one reads off the tower's patches; not part of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.kinds = nn.Linear(WIDTH, len(PATCH_KINDS))
        self.colours = nn.Linear(WIDTH, len(PATCH_COLOURS))

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross entropy of both readings of (batch, patches, width)."""
        normed = self.norm(features)
        kinds = cross_entropy(self.kinds(normed).flatten(0, 1), batch.kinds.flatten())
        colours = cross_entropy(self.colours(normed).flatten(0, 1), batch.colours.flatten())
        return kinds + colours


def batches(seed: int) -> Iterator[Batch]:
    """Yield batches without end; the seed fixes them."""
    rng = random.Random(seed)
    asker, drawn = Asker(rng), scenes(rng.getrandbits(32))
    pool = list(itertools.islice(odd_pictures(7), POOL))
    words = [small(written(rng)) for _ in range(POOL // 3)]
    while True:
        rows = [_row(rng, asker, next(drawn), pool, words) for _ in range(BATCH)]
        pictures, kinds, colours, questions = zip(*rows, strict=True)
        yield Batch(
            pixels_of(list(pictures)),
            torch.tensor(np.stack(kinds)),
            torch.tensor(np.stack(colours)),
            list(questions),
        )


Row = tuple[Image.Image, NDArray[np.int64], NDArray[np.int64], list[Question]]


def _row(
    rng: random.Random,
    asker: Asker,
    scene: Scene,
    pool: list[Image.Image],
    words: list[Image.Image],
) -> Row:
    choice = rng.random()
    if choice < ODD_SHARE:
        picture = rng.choice(pool)
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        asked = [asker.about_odd(scene) for _ in range(QUESTIONS)]
        return picture, *_all_patches("odd"), asked
    if choice < ODD_SHARE + WRITTEN_SHARE:
        asked = [asker.about_writing(scene) for _ in range(QUESTIONS)]
        return rng.choice(words), *_all_patches("writing"), asked
    asked = [asker.about(scene) for _ in range(QUESTIONS)]
    return roughened(render(scene), rng), *patches_of(scene), asked


def _all_patches(name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return (
        np.full(NUM_PATCHES, PATCH_KINDS.index(name)),
        np.full(NUM_PATCHES, PATCH_COLOURS.index(name)),
    )


def patches_of(scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what each patch shows, row by row: the thing whose box holds its middle."""
    kinds = np.full((GRID, GRID), PATCH_KINDS.index("ground"))
    colours = np.full((GRID, GRID), PATCH_COLOURS.index(scene.background))
    middles = (np.arange(GRID) + 0.5) / GRID
    for thing in scene.things:
        reach = thing.size / 2 + 0.01
        rows, columns = abs(middles - thing.y) < reach, abs(middles - thing.x) < reach
        kinds[np.ix_(rows, columns)] = PATCH_KINDS.index(thing.kind)
        colours[np.ix_(rows, columns)] = PATCH_COLOURS.index(thing.colour)
    return kinds.flatten(), colours.flatten()


def roughened(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Blur, resample or compress a picture a little, half of the time, as files are."""
    match rng.randrange(8):
        case 0:
            return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
        case 1:
            side = rng.randint(40, 200)
            return picture.resize((side, side), Image.Resampling.BICUBIC).resize(picture.size)
        case 2:
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=rng.randint(40, 95))
            return Image.open(stream).convert("RGB")
        case 3:
            noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 6, (PIXELS, PIXELS, 3))
            return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
        case _:
            return picture


def pixels_of(pictures: list[Image.Image]) -> Tensor:
    """Return pictures as the checkpoint's processor would, from -1 to 1."""
    values = np.stack([np.asarray(picture) for picture in pictures]).astype(np.float32)
    return torch.from_numpy(values / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True, slots=True)
class Packed:
    """Questions of each picture side by side, after its patches (which `mask` and `positions`
    count and `tokens` does not): `mask` is (batch, 1, length, length), true where seen."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    mask: Tensor


def pack(
    rows: list[list[Question]], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> Packed:
    """Lay out what is asked about each picture; a target is the token that follows."""
    encoded = [[_encoded(question, tokenizer, rng) for question in row] for row in rows]
    length = max(sum(len(tokens) for tokens, _ in row) for row in encoded)
    shape = (len(rows), length)
    tokens, targets = np.full(shape, PAD), np.full(shape, IGNORED)
    positions, segments = np.zeros(shape, int), np.full(shape, -1)
    for index, row in enumerate(encoded):
        start = 0
        for segment, (ids, start_of_answer) in enumerate(row):
            end = start + len(ids)
            tokens[index, start:end] = ids
            targets[index, start + start_of_answer - 1 : end - 1] = ids[start_of_answer:]
            positions[index, start:end] = np.arange(len(ids)) + NUM_PATCHES
            segments[index, start:end] = segment
            start = end
    return Packed(torch.from_numpy(tokens), torch.from_numpy(targets), *_seen(positions, segments))


def _seen(positions: NDArray[Any], segments: NDArray[Any]) -> tuple[Tensor, Tensor]:
    batch, length = segments.shape
    patches = np.broadcast_to(np.arange(NUM_PATCHES), (batch, NUM_PATCHES))
    full = np.concatenate([np.full((batch, NUM_PATCHES), -2), segments], axis=1)
    causal = np.tril(np.ones((NUM_PATCHES + length,) * 2, bool))
    same = full[:, :, None] == full[:, None, :]
    mask = causal & (same | (full == -2)[:, None, :])
    return (
        torch.from_numpy(np.concatenate([patches, positions], axis=1)),
        torch.from_numpy(mask[:, None]),
    )


def _encoded(
    question: Question, tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> tuple[list[int], int]:
    asked: list[int] = tokenizer.encode(question.text, add_special_tokens=False)
    asked = [UNK if rng.random() < UNKNOWN_WORDS else token for token in asked]
    if rng.random() < POLITE:
        asked = [UNK] * rng.randint(1, 3) + asked
    answer: list[int] = tokenizer.encode(question.answer, add_special_tokens=False)
    return [*asked, ANSWER, *answer, EOS], len(asked) + 1


def answer_loss(model: LlavaForConditionalGeneration, features: Tensor, packed: Packed) -> Tensor:
    """Return the cross entropy of the answers' tokens."""
    words = model.get_input_embeddings()(packed.tokens)
    embeddings = torch.cat([model.model.multi_modal_projector(features), words], dim=1)
    hidden = model.model.language_model(
        inputs_embeds=embeddings, attention_mask=packed.mask, position_ids=packed.positions,
        use_cache=False,
    ).last_hidden_state[:, NUM_PATCHES:]  # fmt: skip
    is_target = packed.targets != IGNORED
    return cross_entropy(model.lm_head(hidden[is_target]), packed.targets[is_target])


class Trainer:
    """A run: its model, its optimizers and how far it is."""

    def __init__(self, out: Path, seed: int, steps: int, tower_steps: int) -> None:
        torch.manual_seed(seed)
        self._out, self._seed = out, seed
        self._steps, self._tower_steps = steps, tower_steps
        self._tokenizer = new_tokenizer()
        self.model = new_model(self._tokenizer)
        self._heads = Heads()
        matrices, others = _split_parameters(self.model, self._heads)
        self._optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=2e-3, weight_decay=0.02, has_adam_size=True),
            torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self._rates = [2e-3, 1e-3]
        self._step = 0
        out.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self._load()

    @property
    def _file(self) -> Path:
        return self._out / "state.pt"

    def train(self) -> None:
        """Train to the last step; the rate falls over the last third."""
        rng = random.Random(self._seed + self._step)
        logged_at = saved_at = time.monotonic()
        losses: list[tuple[float, float]] = []
        for batch in batches(self._seed + self._step):
            if self._step >= self._steps:
                break
            losses.append(self._train_on(batch, rng))
            self._step += 1
            now = time.monotonic()
            if now - logged_at > LOGGED_EVERY_S:
                tower, answers = np.mean(losses, axis=0)
                rate = len(losses) * BATCH / (now - logged_at)
                print(
                    f"step {self._step} patches {tower:.3f} answers {answers:.3f} {rate:.0f}/s",
                    flush=True,
                )
                logged_at, losses = now, []
            if now - saved_at > SAVED_EVERY_S:
                self._save()
                saved_at = now
        self._save()

    def _train_on(self, batch: Batch, rng: random.Random) -> tuple[float, float]:
        self._set_rates()
        with autocast():
            output = self.model.model.vision_tower(batch.pixels)
            features = output.last_hidden_state[:, 1:]
            patches = self._heads.loss(features, batch)
            answers = torch.zeros(())
            if self._step >= self._tower_steps:
                packed = pack(batch.questions, self._tokenizer, rng)
                answers = answer_loss(self.model, features, packed)
        weight = 1.0 if self._step < self._tower_steps else 0.2
        (weight * patches + answers).backward()
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self._heads.parameters()], 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return patches.item(), answers.item()

    def _set_rates(self) -> None:
        start = self._tower_steps if self._step >= self._tower_steps else 0
        warm = min(1.0, (self._step - start + 1) / 100)
        fall = min(1.0, (self._steps - self._step) / (0.35 * self._steps))
        for optimizer, rate in zip(self._optimizers, self._rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * warm * fall

    def _save(self) -> None:
        state = {
            "step": self._step,
            "model": self.model.state_dict(),
            "heads": self._heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }
        torch.save(state, self._file.with_suffix(".tmp"))
        self._file.with_suffix(".tmp").replace(self._file)

    def _load(self) -> None:
        state = torch.load(self._file, weights_only=True)
        self._step = state["step"]
        self.model.load_state_dict(state["model"])
        self._heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _split_parameters(*modules: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the matrices of layers, and all else, what is not trained left out."""
    named = [pair for module in modules for pair in module.named_parameters()]
    matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
    return matrices, others


def main() -> None:
    """Train, or export what has been trained so far."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--steps", type=int, default=12_000, help="the last step")
    parser.add_argument("--tower-steps", type=int, default=1500, help="steps of stage one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--export", type=Path, help="write the checkpoint there, train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trainer = Trainer(options.out, options.seed, options.steps, options.tower_steps)
    if options.export is not None:
        save(trainer.model, options.export)
    else:
        trainer.train()


if __name__ == "__main__":
    main()
