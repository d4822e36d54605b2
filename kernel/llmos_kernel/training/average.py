"""Makes one checkpoint of several of the same run: the mean of their weights.

    python -m llmos_kernel.training.average EARLIER LATER --out runs/averaged

Steps of one run at a rate that is still high lie around a better point than any of them
(Izmailov et al., 2018, "Averaging Weights Leads to Wider Optima").
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description="Average the weights of checkpoints of one run.")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="their folders")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    arguments = parser.parse_args()
    average(arguments.checkpoints, arguments.out)


def average(checkpoints: list[Path], out: Path) -> None:
    """Write the mean of the checkpoints to `out`; all but the weights is the last one's.

    Raises:
        ValueError: they differ in a tensor's name or shape.
        FileExistsError: `out` is there.
    """
    states = [load_file(folder / WEIGHTS) for folder in checkpoints]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(other != shapes[0] for other in shapes):
        raise ValueError("the checkpoints are not of one model")
    shutil.copytree(checkpoints[-1], out)
    mean = {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(tensor.dtype)
        for name, tensor in states[-1].items()
    }
    save_file(mean, out / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
