"""Trains the embedded checkpoint: one command, seeded, resumable.

    python -m llmos_kernel.training.recipe --data DATA --out runs/embedded
    torchrun --nproc-per-node 2 -m llmos_kernel.training.recipe ...   # a process a core

Muon (Jordan et al., 2024) for the matrices, AdamW for embeddings and norms; the learning rate is
constant after a warm-up and falls linearly to zero over the last part (warmup-stable-decay), so a
run can be extended by a larger --steps. With --start-from it begins with a checkpoint, whose sizes
it has, at a share of the learning rate (--rate). Knows nothing of the kernel that will run it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from llmos_kernel.dialects.dialect import EMBEDDED
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.dialects.tool_table import compact_table
from llmos_kernel.engine.torch.precision import autocast
from llmos_kernel.training.attention import BLOCKED
from llmos_kernel.training.batches import Batch, batches
from llmos_kernel.training.dialogues import DialogueMaker
from llmos_kernel.training.muon import Muon
from llmos_kernel.training.vocabulary import train_tokenizer

WARMUP_STEPS = 100
DECAY_SHARE = 0.3
HEAD_DIM = 64


@dataclass(slots=True)
class Settings:
    data: Path
    out: Path
    steps: int
    rows: int
    length: int
    vocabulary: int
    width: int
    layers: int
    seed: int
    save_every: int
    start_from: Path | None = None
    rate: float = 1.0


@dataclass(slots=True)
class Run:
    """What a training run owns; `step` counts finished optimiser steps over all resumptions."""

    settings: Settings
    model: Qwen3ForCausalLM
    renderer: Renderer
    optimizers: list[torch.optim.Optimizer]
    rank: int
    world: int
    step: int = 0
    tokens: int = 0


def main() -> None:
    settings = _arguments()
    torch.set_num_threads(1)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    settings.out.mkdir(parents=True, exist_ok=True)
    run = prepare(settings, rank, world)
    train(run)
    if rank == 0:
        export(run)
    if world > 1:
        dist.destroy_process_group()


def _arguments() -> Settings:
    parser = argparse.ArgumentParser(description="Train the embedded checkpoint.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and logs go")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rows", type=int, default=8, help="rows a step, over all processes")
    parser.add_argument("--length", type=int, default=768, help="tokens a row")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--start-from", type=Path, help="the folder of a checkpoint of this kind")
    parser.add_argument("--rate", type=float, default=1.0, help="share of the learning rate")
    return Settings(**vars(parser.parse_args()))


def prepare(settings: Settings, rank: int, world: int) -> Run:
    """Return a run at its last checkpoint; where there is none, at its start."""
    tokenizer_path = settings.out / "tokenizer.json"
    if rank == 0 and not tokenizer_path.exists():
        if settings.start_from:
            shutil.copy(settings.start_from / "tokenizer.json", tokenizer_path)
        else:
            make_tokenizer(settings).save(str(tokenizer_path))
    if world > 1:
        dist.barrier()
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    torch.manual_seed(settings.seed)
    if settings.start_from:
        if tokenizer_path.read_bytes() != (settings.start_from / "tokenizer.json").read_bytes():
            raise SystemExit(
                f"{settings.out} holds a run with another tokenizer; name a new folder"
            )
        model = Qwen3ForCausalLM.from_pretrained(settings.start_from, dtype=torch.float32)
    else:
        model = Qwen3ForCausalLM(_config(settings, tokenizer))
    model.set_attn_implementation(BLOCKED)
    run = Run(settings, model, Renderer(tokenizer, EMBEDDED), _optimizers(model), rank, world)
    checkpoint = settings.out / "checkpoint.pt"
    if checkpoint.exists():
        _restore(run, torch.load(checkpoint, weights_only=True))
    return run


def make_tokenizer(settings: Settings) -> Tokenizer:
    groups = list(itertools.islice(DialogueMaker(settings.data, seed=settings.seed), 3_000))
    texts = (
        text
        for group in groups
        for dialogue in itertools.islice(group.dialogues, 20)
        for message in dialogue.messages
        for text in (message.content, *(EMBEDDED.call_body(call) for call in message.calls))
    )
    tables = (f"\n\n{compact_table(group.tools)}" if group.tools else "" for group in groups)
    return train_tokenizer(itertools.chain(texts, tables), size=settings.vocabulary)


def _config(settings: Settings, tokenizer: Tokenizer) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=settings.vocabulary,
        hidden_size=settings.width,
        intermediate_size=settings.width * 3,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.width // HEAD_DIM,
        num_key_value_heads=max(1, settings.width // HEAD_DIM // 2),
        head_dim=HEAD_DIM,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|end|>"),
        pad_token_id=tokenizer.token_to_id("<|pad|>"),
    )


def _optimizers(model: Qwen3ForCausalLM) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in n]
    return [
        Muon(matrices, lr=0.02, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _learning_rate_share(step: int, steps: int) -> float:
    """Return the share of the full learning rate at a step, in (0, 1]."""
    decay_steps = steps * DECAY_SHARE
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * min(1.0, max(0.0, (steps - step) / decay_steps))


def _restore(run: Run, state: dict[str, Any]) -> None:
    run.model.load_state_dict(state["model"])
    for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    run.step, run.tokens = state["step"], state["tokens"]


def _save(run: Run) -> None:
    path = run.settings.out / "checkpoint.pt"
    partial = path.with_suffix(".partial")
    state = {
        "model": run.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "step": run.step,
        "tokens": run.tokens,
    }
    torch.save(state, partial)
    partial.replace(path)


def held_out_batches(run: Run, count: int) -> list[Batch]:
    """Return batches of the phrasings that training does not see, the same at every step."""
    return list(itertools.islice(_batches(run, run.settings.seed + 500, held_out=True), count))


def _data(run: Run) -> Iterator[Batch]:
    """Return this process's share of the data; a resumed run goes on with data of its own."""
    return _batches(run, run.settings.seed + 1000 * run.step + run.rank, held_out=False)


def _batches(run: Run, seed: int, *, held_out: bool) -> Iterator[Batch]:
    settings = run.settings
    maker = DialogueMaker(settings.data, seed=seed, held_out=held_out)
    pad_id = run.renderer.control_id("<|pad|>")
    rows = settings.rows // run.world
    return batches(iter(maker), run.renderer, rows=rows, length=settings.length, pad_id=pad_id)


def weighted_loss(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Return the mean weighted cross-entropy, in nats a token."""
    with autocast():
        logits = model(
            input_ids=batch.tokens,
            attention_mask=batch.attention_mask(),
            position_ids=batch.positions,
            use_cache=False,
        ).logits
    # The rows' last predictions, of a next row's first token, weigh nothing: no copy to cut them.
    targets = batch.tokens.roll(-1, dims=1)
    weights = torch.nn.functional.pad(batch.weights[:, 1:], (0, 1)).flatten()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), reduction="none"
    )
    return (losses * weights).sum() / weights.sum()


def train(run: Run) -> None:
    settings = run.settings
    data = _data(run)
    held_out = held_out_batches(run, 4)
    base_rates = [0.02, 3e-3]
    started, tokens_before, recent = time.monotonic(), run.tokens, 0.0
    run.model.train()
    while run.step < settings.steps:
        share = settings.rate * _learning_rate_share(run.step, settings.steps)
        for optimizer, rate in zip(run.optimizers, base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * share
        loss = weighted_loss(run.model, next(data))
        loss.backward()
        _average_gradients(run)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
        for optimizer in run.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        run.step += 1
        run.tokens += settings.rows * settings.length
        recent = 0.95 * recent + 0.05 * loss.item() if recent else loss.item()
        if run.rank == 0 and run.step % 20 == 0:
            speed = (run.tokens - tokens_before) / (time.monotonic() - started)
            _log(run, {"loss": round(recent, 4), "tokens_per_s": round(speed)})
        if run.rank == 0 and run.step % settings.save_every == 0:
            _save(run)
            _log(run, {"held_out_loss": round(evaluate(run.model, held_out), 4)})
    if run.rank == 0:
        _save(run)


def _average_gradients(run: Run) -> None:
    if run.world == 1:
        return
    gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
    flat = torch._utils._flatten_dense_tensors(gradients)  # pyright: ignore
    dist.all_reduce(flat)
    flat /= run.world
    parts = torch._utils._unflatten_dense_tensors(flat, gradients)  # pyright: ignore
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part)


def evaluate(model: Qwen3ForCausalLM, held_out: list[Batch]) -> float:
    """Return the mean loss on phrasings that training does not see."""
    with torch.no_grad():
        return sum(weighted_loss(model, batch).item() for batch in held_out) / len(held_out)


def _log(run: Run, figures: dict[str, float]) -> None:
    line = json.dumps({"step": run.step, "tokens": run.tokens, **figures})
    print(line, flush=True)
    with (run.settings.out / "log.jsonl").open("a") as log:
        log.write(line + "\n")


def export(run: Run) -> None:
    """Write the checkpoint in the Hugging Face form, in bfloat16, under `out/model`."""
    folder = run.settings.out / "model"
    run.model.to(torch.bfloat16).save_pretrained(folder)  # pyright: ignore
    shutil.copy(run.settings.out / "tokenizer.json", folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token="<|end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
        model_max_length=run.model.config.max_position_embeddings,
        chat_template=(Path(__file__).parent / "chat_template.jinja").read_text(),
    )
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
