"""Make draw's checkpoint, a `StableDiffusionPipeline`: `python -m media_training.draw --out FOLDER`.

Three stages, each resumed where it was cut off: the autoencoder; the text encoder, taught to say
what a caption says; the denoiser over the latents of scenes. Knows no tool.
"""

from __future__ import annotations

import argparse
import itertools
import random
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from torch import Tensor

from media_training.loop import Stage, train
from media_training.scenes import render, scenes

BATCH: Final = 32
LATENT_NOISE: Final = 0.1


def pixels(images: list[Image.Image]) -> Tensor:
    """Return pictures as (batch, 3, height, width) from -1 to 1."""
    stacked = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def new_autoencoder() -> AutoencoderTiny:
    """An untrained autoencoder: 64 x 64 pixels to 16 x 16 latents of 4 channels."""
    width = (32, 32, 32)
    return AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=width,
        decoder_block_out_channels=width,
        num_encoder_blocks=(1, 1, 2),
        num_decoder_blocks=(2, 2, 1),
        scaling_factor=1.0,
    )


def autoencoder_stage(steps: int) -> Stage:
    """Teach latents of mean 0 and deviation 1, and a decoder that forgives noise in them."""
    model = new_autoencoder().to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        images = pixels([render(scene) for scene in itertools.islice(scenes(step), BATCH)])
        images = images.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(images).latents.float()
            noisy = latents + LATENT_NOISE * torch.randn_like(latents)
            decoded = model.decode(noisy).sample.float()
        off = decoded - images
        means, deviations = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        regular = means.square().mean() + (deviations - 1).square().mean()
        return off.abs().mean() + off.square().mean() + 0.02 * regular

    return Stage("autoencoder", model, loss, steps, 2e-3, averaging=0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--autoencoder-steps", type=int, default=1500)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    train(autoencoder_stage(arguments.autoencoder_steps), arguments.out)


if __name__ == "__main__":
    main()
