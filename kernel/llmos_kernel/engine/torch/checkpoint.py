"""Reads a checkpoint folder: configuration and weights, never code.

Covered: safetensors only, an allow-list of architectures, shapes checked against the
configuration, so a damaged or foreign file is one clear error. Not covered: weights that were
trained to do harm.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from llmos_kernel.errors import ModelError, UnknownArchitecture

GEMMA = ("GemmaForCausalLM", "Gemma3ForCausalLM")
ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen2ForCausalLM", "LlamaForCausalLM", *GEMMA)


@dataclass(frozen=True, slots=True)
class Rope:
    """A rotary position embedding; `scaling` is None, or the parameters of `llama3` or `linear`."""

    theta: float
    scaling: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of a Llama-type decoder; lengths in tokens, widths in elements.

    `layer_ropes` indexes `ropes`; a layer sees `windows` positions up to its own, all where that
    is 0. `norm_offset` is added to the weights of norms, `query_scale` multiplies queries beyond
    the usual 1 / sqrt(head_dim), `embedding_scale` the embeddings. With `has_post_norms` what
    attention and MLP give is normed before it is added.
    """

    vocabulary: int
    width: int
    mlp_width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    norm_epsilon: float
    ropes: tuple[Rope, ...]
    layer_ropes: tuple[int, ...]
    windows: tuple[int, ...]
    activation: Literal["silu", "gelu_tanh"]
    norm_offset: float
    query_scale: float
    embedding_scale: float
    has_tied_embeddings: bool
    has_qk_norm: bool
    has_qkv_bias: bool
    has_post_norms: bool


def read_config(folder: Path) -> DecoderConfig:
    """Read `config.json`.

    Raises:
        UnknownArchitecture: it describes a model that this engine does not run.
        ModelError: it is missing or damaged.
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
        raise UnknownArchitecture(
            f"this engine does not run {architecture}; it runs {', '.join(ARCHITECTURES)}"
        )
    if raw.get("use_sliding_window"):
        raise UnknownArchitecture("this engine does not run Qwen's sliding-window attention")
    if raw.get("use_bidirectional_attention") or raw.get("attn_logit_softcapping"):
        raise UnknownArchitecture("this engine does not run bidirectional or soft-capped attention")
    num_layers, is_gemma = int(raw["num_hidden_layers"]), architecture in GEMMA
    head_dim = int(raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"])
    kinds = raw.get("layer_types") or ["full_attention"] * num_layers
    names = sorted(set(kinds))
    return DecoderConfig(
        vocabulary=int(raw["vocab_size"]),
        width=int(raw["hidden_size"]),
        mlp_width=int(raw["intermediate_size"]),
        num_layers=num_layers,
        num_heads=int(raw["num_attention_heads"]),
        num_kv_heads=int(raw.get("num_key_value_heads") or raw["num_attention_heads"]),
        head_dim=head_dim,
        context_length=int(raw["max_position_embeddings"]),
        norm_epsilon=float(raw["rms_norm_eps"]),
        ropes=tuple(_rope(raw, name) for name in names),
        layer_ropes=tuple(names.index(kind) for kind in kinds),
        windows=tuple(
            int(raw["sliding_window"]) if kind == "sliding_attention" else 0 for kind in kinds
        ),
        activation="gelu_tanh" if is_gemma else "silu",
        norm_offset=1.0 if is_gemma else 0.0,
        query_scale=math.sqrt(head_dim / raw.get("query_pre_attn_scalar", head_dim)),
        embedding_scale=math.sqrt(raw["hidden_size"]) if is_gemma else 1.0,
        has_tied_embeddings=bool(raw.get("tie_word_embeddings", is_gemma)),
        has_qk_norm=architecture in ("Qwen3ForCausalLM", "Gemma3ForCausalLM"),
        has_qkv_bias=architecture == "Qwen2ForCausalLM" or bool(raw.get("attention_bias", False)),
        has_post_norms=architecture == "Gemma3ForCausalLM",
    )


def _rope(raw: dict[str, Any], kind: str) -> Rope:
    """Read the position encoding of one kind of layers, in the forms of transformers 4 and 5."""
    parameters = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    parameters = parameters.get(kind, parameters)
    theta = parameters.get("rope_theta") or raw.get("rope_theta", 10_000.0)
    if kind == "sliding_attention" and "rope_local_base_freq" in raw:
        theta, parameters = raw["rope_local_base_freq"], {}
    rope_type = parameters.get("rope_type", parameters.get("type", "default"))
    if rope_type not in ("default", "llama3", "linear"):
        raise UnknownArchitecture(f"this engine does not know the position encoding {rope_type!r}")
    return Rope(float(theta), None if rope_type == "default" else {**parameters, "type": rope_type})


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
        if config.has_post_norms:
            shapes[f"{prefix}pre_feedforward_layernorm.weight"] = (config.width,)
            shapes[f"{prefix}post_feedforward_layernorm.weight"] = (config.width,)
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
