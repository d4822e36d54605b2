"""Make draw's checkpoint, a `StableDiffusionPipeline`.

`python -m media_training.draw --out FOLDER` takes three stages, each resumed where it was cut off:
the autoencoder; the text encoder, taught to say what a caption says; the denoiser over the latents
of scenes. With `--start-from PIPELINE` they begin with its weights, and pictures keep the latents
that its denoiser knows: only the decoder learns on. Knows no tool.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import (
    AutoencoderTiny,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from llmos_kernel.engine.torch.precision import autocast
from media_training.captions import (
    WIDTH,
    Reader,
    encode,
    new_text_encoder,
    new_tokenizer,
    text_stage,
    with_asides,
)
from media_training.loop import Stage, train
from media_training.scenes import examples, render, scenes

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


def autoencoder_stage(model: AutoencoderTiny, steps: int, learning_rate: float) -> Stage:
    """Teach latents of mean 0 and deviation 1, and a decoder that forgives noise in them."""
    model.to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        images = pixels([render(scene) for scene in itertools.islice(scenes(step), BATCH)])
        images = images.to(memory_format=torch.channels_last)
        with autocast():
            latents = model.encode(images).latents.float()
            noisy = latents + LATENT_NOISE * torch.randn_like(latents)
            decoded = model.decode(noisy).sample.float()
        off = decoded - images
        means, deviations = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        regular = means.square().mean() + (deviations - 1).square().mean()
        return off.abs().mean() + off.square().mean() + 0.02 * regular

    return Stage("autoencoder", model, loss, steps, learning_rate, averaging=0.99)


def new_denoiser() -> UNet2DConditionModel:
    """An untrained denoiser of latents, which attends to a caption at half and quarter size."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 96, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 3, 4),
        norm_num_groups=16,
        use_linear_projection=True,
    )


def new_scheduler() -> DPMSolverMultistepScheduler:
    """The noise of training, and how it is taken away."""
    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """What is trained of a pipeline, and the tokenizer."""

    autoencoder: AutoencoderTiny
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    denoiser: UNet2DConditionModel


def new_parts() -> Parts:
    """Return untrained parts."""
    tokenizer = new_tokenizer()
    return Parts(new_autoencoder(), tokenizer, new_text_encoder(tokenizer), new_denoiser())


def parts_of(folder: Path) -> Parts:
    """Return the parts of a saved pipeline, in single precision, its encoder frozen."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.vae.encoder.requires_grad_(requires_grad=False)
    return Parts(pipeline.vae, pipeline.tokenizer, pipeline.text_encoder, pipeline.unet)


@torch.no_grad()
def known_latents(autoencoder: AutoencoderTiny, count: int) -> tuple[Tensor, list[str]]:
    """Return the latents (count, 4, 16, 16) and the captions of that many scenes."""
    pairs = list(itertools.islice(examples(1), count))
    parts = [
        autoencoder.encode(pixels([render(scene) for scene, _ in pairs[start : start + BATCH]]))
        for start in range(0, count, BATCH)
    ]
    return torch.cat([part.latents for part in parts]), [text for _, text in pairs]


def denoiser_stage(
    parts: Parts, latents: Tensor, captions: Sequence[str], steps: int, learning_rate: float
) -> Stage:
    """Teach the denoiser the velocity (Salimans and Ho, 2022) of noised latents, by their caption.

    One caption in ten is left out, for guidance (Ho and Salimans, 2022).
    """
    model = parts.denoiser.to(memory_format=torch.channels_last)
    shares = new_scheduler().alphas_cumprod

    def loss(step: int) -> Tensor:
        rng = random.Random(step)
        chosen = rng.sample(range(len(captions)), BATCH)
        texts = [with_asides(captions[i], rng) if rng.random() > 0.1 else "" for i in chosen]
        with torch.no_grad():
            told = parts.text_encoder(encode(parts.tokenizer, texts)).last_hidden_state
        clean, noise = latents[chosen], torch.randn(BATCH, *latents.shape[1:])
        times = torch.randint(0, len(shares), (BATCH,))
        signal = shares[times].sqrt()[:, None, None, None]
        spread = (1 - shares[times]).sqrt()[:, None, None, None]
        noised = (signal * clean + spread * noise).to(memory_format=torch.channels_last)
        with autocast():
            velocity = model(noised, times, told).sample.float()
        return functional.mse_loss(velocity, signal * noise - spread * clean)

    return Stage("denoiser", model, loss, steps, learning_rate)


def export(folder: Path, parts: Parts) -> None:
    """Save all as a pipeline that diffusers loads, in half precision."""
    pipeline = StableDiffusionPipeline(
        vae=parts.autoencoder,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.denoiser,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--start-from", type=Path, help="the folder of a pipeline of this kind")
    parser.add_argument("--autoencoder-steps", type=int, default=1500)
    parser.add_argument("--text-steps", type=int, default=700)
    parser.add_argument("--denoiser-steps", type=int, default=12_000)
    parser.add_argument("--num-scenes", type=int, default=24_000)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="of what paints")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    parts = parts_of(arguments.start_from) if arguments.start_from else new_parts()
    rate = arguments.learning_rate
    train(autoencoder_stage(parts.autoencoder, arguments.autoencoder_steps, rate), arguments.out)
    reader = Reader(parts.text_encoder)
    train(text_stage(parts.tokenizer, reader, arguments.text_steps), arguments.out)
    latents, captions = known_latents(parts.autoencoder, arguments.num_scenes)
    train(denoiser_stage(parts, latents, captions, arguments.denoiser_steps, rate), arguments.out)
    export(arguments.out / "model", parts)


if __name__ == "__main__":
    main()
