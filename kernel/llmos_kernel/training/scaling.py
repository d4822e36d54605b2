"""Trains four sizes on three counts of tokens each, and plots the held-out loss.

    python -m llmos_kernel.training.scaling --data DATA --out runs/scaling

Each point is a run of the recipe of its own, so that its rate has fallen to zero. An interrupted
study goes on where it stopped when the command is given again. Knows no evaluation set.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from llmos_kernel.training.recipe import (
    Settings,
    evaluate,
    held_out_batches,
    make_tokenizer,
    prepare,
    train,
)

# (width, layers): about 1, 2, 4 and 8 million parameters with 4,096 entries.
SIZES = ((128, 3), (192, 3), (256, 4), (384, 4))
TOKENS = (500_000, 1_000_000, 2_000_000)
# Fewer rows than the recipe's: the smallest count is then three times as long as the warm-up.
ROWS = 2
NUM_HELD_OUT = 32
POINTS = "points.json"


@dataclass(frozen=True, slots=True)
class Point:
    """The held-out loss, in nats a token, of one size after so many tokens."""

    width: int
    layers: int
    parameters: int
    tokens: int
    held_out_loss: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare sizes of the embedded model.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--out", type=Path, required=True, help="where runs and points go")
    parser.add_argument("--plot", type=Path, default=Path("docs/scaling.png"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    all_settings = list(settings_of(arguments.data, arguments.out, seed=arguments.seed))
    for points in study(all_settings, arguments.out, num_held_out=NUM_HELD_OUT):
        print(json.dumps(asdict(points[-1])), flush=True)
        plot(points, arguments.plot)


def settings_of(
    data: Path,
    out: Path,
    *,
    sizes: Sequence[tuple[int, int]] = SIZES,
    counts: Sequence[int] = TOKENS,
    length: int = 768,
    vocabulary: int = 4096,
    seed: int = 1,
) -> Iterator[Settings]:
    """Yield the runs of a study, all sizes at the smallest count of tokens first."""
    for count in counts:
        for width, layers in sizes:
            yield Settings(
                data=data,
                out=out / f"{width}x{layers}-{count}",
                steps=max(1, round(count / (ROWS * length))),
                rows=ROWS,
                length=length,
                vocabulary=vocabulary,
                width=width,
                layers=layers,
                seed=seed,
                save_every=100,
            )


def study(
    all_settings: Sequence[Settings], out: Path, *, num_held_out: int
) -> Iterator[list[Point]]:
    """Train each run that is not finished; yield all points after each that is added."""
    out.mkdir(parents=True, exist_ok=True)
    points = read_points(out)
    done = {(point.width, point.layers, point.tokens) for point in points}
    for settings in all_settings:
        tokens = settings.steps * settings.rows * settings.length
        if (settings.width, settings.layers, tokens) not in done:
            points.append(measured(settings, out / "tokenizer.json", num_held_out))
            _write_points(points, out)
            yield list(points)


def measured(settings: Settings, tokenizer: Path, num_held_out: int) -> Point:
    """Train a run to its end and return its loss on the held-out rows that all sizes share."""
    if not tokenizer.exists():
        make_tokenizer(settings).save(str(tokenizer))
    settings.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(tokenizer, settings.out / "tokenizer.json")
    run = prepare(settings, rank=0, world=1)
    train(run)
    loss = evaluate(run.model, held_out_batches(run, num_held_out))
    parameters = sum(weight.numel() for weight in run.model.parameters())
    return Point(settings.width, settings.layers, parameters, run.tokens, round(loss, 4))


def read_points(out: Path) -> list[Point]:
    path = out / POINTS
    return [Point(**each) for each in json.loads(path.read_text())] if path.exists() else []


def _write_points(points: Sequence[Point], out: Path) -> None:
    partial = out / f"{POINTS}.partial"
    partial.write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
    partial.replace(out / POINTS)


def plot(points: Sequence[Point], path: Path) -> None:
    """Draw the loss over the parameters, a line for each count of tokens; write JSON beside it."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for tokens in sorted({point.tokens for point in points}):
        line = sorted((p.parameters, p.held_out_loss) for p in points if p.tokens == tokens)
        axes.plot(*zip(*line, strict=True), marker="o", label=f"{tokens / 1e6:.1f} M tokens")
    axes.set(xlabel="parameters", ylabel="held-out loss, nats a token", xscale="log")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    rows = [asdict(point) for point in points]
    path.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
