"""Reads a checkpoint folder: configuration and weights, never code.

Covered: safetensors only, an allow-list of architectures, shapes checked against the
configuration, so a damaged or foreign file is one clear error. Not covered: weights that were
trained to do harm.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from llmos_kernel.errors import ModelError

ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen2ForCausalLM", "LlamaForCausalLM")


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of a Llama-type decoder; lengths in tokens, widths in elements."""

    vocabulary: int
    width: int
    mlp_width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    norm_epsilon: float
    rope_theta: float
    rope_scaling: dict[str, Any] | None
    has_tied_embeddings: bool
    has_qk_norm: bool
    has_qkv_bias: bool


def read_config(folder: Path) -> DecoderConfig:
    """Read `config.json`.

    Raises:
        ModelError: it is missing or damaged, or describes a model that this engine does not run.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{str(folder)!r} is not a model folder: it has no config.json; give the folder of a "
            "checkpoint in the Hugging Face form"
        )
    try:
        raw = json.loads(path.read_text())
        return _config(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged or incomplete ({error!r}); fetch it again") from error


def _config(raw: dict[str, Any]) -> DecoderConfig:
    architecture = (raw.get("architectures") or ["?"])[0]
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"this engine does not run {architecture}; it runs {', '.join(ARCHITECTURES)}"
        )
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type not in ("default", "llama3"):
        raise ModelError(f"this engine does not know the position encoding {rope_type!r}")
    if raw.get("use_sliding_window"):
        raise ModelError("this engine does not run sliding-window attention")
    return DecoderConfig(
        vocabulary=int(raw["vocab_size"]),
        width=int(raw["hidden_size"]),
        mlp_width=int(raw["intermediate_size"]),
        num_layers=int(raw["num_hidden_layers"]),
        num_heads=int(raw["num_attention_heads"]),
        num_kv_heads=int(raw.get("num_key_value_heads") or raw["num_attention_heads"]),
        head_dim=int(raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"]),
        context_length=int(raw["max_position_embeddings"]),
        norm_epsilon=float(raw["rms_norm_eps"]),
        rope_theta=float(rope.get("rope_theta") or raw.get("rope_theta", 10_000.0)),
        rope_scaling=rope if rope_type == "llama3" else None,
        has_tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        has_qk_norm=architecture == "Qwen3ForCausalLM",
        has_qkv_bias=architecture == "Qwen2ForCausalLM" or bool(raw.get("attention_bias", False)),
    )


def read_weights(
    folder: Path, config: DecoderConfig, *, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """Read the weights that the decoder needs, by their Hugging Face names.

    Raises:
        ModelError: a file is missing or damaged, or a tensor is missing or of another shape.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{str(folder)!r} has no .safetensors file; fetch the checkpoint again")
    found: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                    found[name] = tensors.get_tensor(name).to(device, dtype)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged ({error}); fetch the checkpoint again") from error
    _check_shapes(found, config, folder)
    return found


def expected_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that the decoder needs, by name."""
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocabulary, config.width),
        "model.norm.weight": (config.width,),
    }
    if not config.has_tied_embeddings:
        shapes["lm_head.weight"] = (config.vocabulary, config.width)
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}."
        attention = f"{prefix}self_attn."
        shapes |= {
            f"{prefix}input_layernorm.weight": (config.width,),
            f"{prefix}post_attention_layernorm.weight": (config.width,),
            f"{attention}q_proj.weight": (queries, config.width),
            f"{attention}k_proj.weight": (keys, config.width),
            f"{attention}v_proj.weight": (keys, config.width),
            f"{attention}o_proj.weight": (config.width, queries),
            f"{prefix}mlp.gate_proj.weight": (config.mlp_width, config.width),
            f"{prefix}mlp.up_proj.weight": (config.mlp_width, config.width),
            f"{prefix}mlp.down_proj.weight": (config.width, config.mlp_width),
        }
        if config.has_qk_norm:
            shapes[f"{attention}q_norm.weight"] = (config.head_dim,)
            shapes[f"{attention}k_norm.weight"] = (config.head_dim,)
        if config.has_qkv_bias:
            shapes[f"{attention}q_proj.bias"] = (queries,)
            shapes[f"{attention}k_proj.bias"] = (keys,)
            shapes[f"{attention}v_proj.bias"] = (keys,)
    return shapes


def _check_shapes(found: dict[str, torch.Tensor], config: DecoderConfig, folder: Path) -> None:
    for name, shape in expected_shapes(config).items():
        if name not in found:
            raise ModelError(f"{str(folder)!r} lacks the tensor {name}; fetch the checkpoint again")
        if tuple(found[name].shape) != shape:
            raise ModelError(
                f"{str(folder)!r}: {name} has the shape {tuple(found[name].shape)}, the "
                f"configuration says {shape}; fetch the checkpoint again"
            )
