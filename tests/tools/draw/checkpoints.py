"""Tiny random pipelines in the shapes that users name: Stable Diffusion and SDXL.

Knows what diffusers needs to load them, and nothing of the tool.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

WIDTH = 32
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def tokenizer() -> CLIPTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*SPECIAL, *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=24)


def text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=54, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=24, projection_dim=WIDTH,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip


def denoiser(width: int, **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width, attention_head_dim=8, norm_num_groups=8, **options,
    )  # fmt: skip


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 16, 16, 16), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=8, layers_per_block=1,
    )  # fmt: skip


def stable_diffusion(folder: Path) -> None:
    StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=CLIPTextModel(text_config()), tokenizer=tokenizer(),
        unet=denoiser(WIDTH), scheduler=EulerDiscreteScheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def sdxl(folder: Path) -> None:
    extra: dict[str, Any] = {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 8 * 6 + WIDTH,
    }  # fmt: skip
    StableDiffusionXLPipeline(
        vae=autoencoder(), text_encoder=CLIPTextModel(text_config()),
        text_encoder_2=CLIPTextModelWithProjection(text_config()), tokenizer=tokenizer(),
        tokenizer_2=tokenizer(), unet=denoiser(2 * WIDTH, **extra),
        scheduler=EulerDiscreteScheduler(),
    ).save_pretrained(folder)  # fmt: skip
