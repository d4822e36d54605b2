"""The checkpoints that are measured: the embedded one and a larger one with random weights.

Knows no engine; random weights cost the same time as trained ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

import llmos_kernel
from benchmarks.method import REPOSITORY
from llmos_kernel.engine.torch.precision import has_bfloat16

EMBEDDED_FOLDER = Path(llmos_kernel.__file__).parent / "model"
# What is timed, as fast as the processor can; what is checked against the reference is float32.
TIMED_DTYPE = "bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
RANDOM_FOLDER = REPOSITORY / "runs" / "benchmarks" / "random-32m"


@dataclass(frozen=True, slots=True)
class BenchmarkModel:
    """A checkpoint; `suffix` marks its ratios."""

    title: str
    folder: Path
    suffix: str
    config: Qwen3Config

    def random_tokens(self, count: int, seed: int) -> list[int]:
        """Return tokens that share no beginning with those of another seed."""
        return random.Random(seed).choices(range(self.config.vocab_size), k=count)

    @property
    def num_weights(self) -> int:
        """How many weights a step reads: all but the embeddings that no token asks for."""
        with torch.device("meta"):
            model = Qwen3ForCausalLM(self.config)
        return sum(weight.numel() for weight in model.parameters())

    @property
    def num_kv_elements(self) -> int:
        """How many elements of keys and values are held for a token."""
        config = self.config
        return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim


def embedded_model() -> BenchmarkModel:
    config = Qwen3Config.from_pretrained(EMBEDDED_FOLDER)
    return BenchmarkModel("embedded", EMBEDDED_FOLDER, "", config)


def random_model() -> BenchmarkModel:
    """Return the random model, made where it is not there yet."""
    if not (RANDOM_FOLDER / "model.safetensors").is_file():
        make_random_model(RANDOM_FOLDER, random_config())
    config = Qwen3Config.from_pretrained(RANDOM_FOLDER)
    return BenchmarkModel("random 32 M", RANDOM_FOLDER, "_32m", config)


def random_config() -> Qwen3Config:
    return Qwen3Config(
        vocab_size=16_384,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
    )


def make_random_model(folder: Path, config: Qwen3Config) -> None:
    """Save a model of this shape, the same weights each time."""
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
