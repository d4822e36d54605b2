"""One forward step of a Llama-type decoder over one sequence with its KV cache.

Runs Llama (Touvron et al., 2023), Qwen2 and Qwen3; matches transformers' classes of these names.
Knows no sampling and no requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from llmos_kernel.engine.torch.checkpoint import DecoderConfig


class KVCache:
    """Keys and values of one sequence: (layers, 2, kv heads, capacity, head_dim).

    `tokens` are the ids whose keys and values are held, in order.
    """

    def __init__(self, config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> None:
        self._shape = (config.num_layers, 2, config.num_kv_heads)
        self._head_dim = config.head_dim
        self._pages = torch.empty(*self._shape, 0, config.head_dim, dtype=dtype, device=device)
        self.tokens: list[int] = []

    def common_length(self, tokens: Sequence[int]) -> int:
        """Return how many leading ids of `tokens` are held."""
        length = 0
        for held, asked in zip(self.tokens, tokens, strict=False):
            if held != asked:
                break
            length += 1
        return length

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        del self.tokens[length:]

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens in all; grows by doubling."""
        capacity = self._pages.shape[3]
        if length <= capacity:
            return
        grown = self._pages.new_empty(*self._shape, max(length, 2 * capacity, 256), self._head_dim)
        grown[:, :, :, : len(self.tokens)] = self._pages[:, :, :, : len(self.tokens)]
        self._pages = grown

    def write(
        self, layer: int, start: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (kv heads, n, head_dim) at `start`; return all up to the end, the same way laid."""
        end = start + keys.shape[1]
        self._pages[layer, 0, :, start:end] = keys
        self._pages[layer, 1, :, start:end] = values
        return self._pages[layer, 0, :, :end], self._pages[layer, 1, :, :end]


class Decoder:
    """The weights and the forward pass. Stateless; caches are passed in."""

    def __init__(self, config: DecoderConfig, weights: dict[str, torch.Tensor]) -> None:
        self.config = config
        self._weights = weights
        embedding = weights["model.embed_tokens.weight"]
        self._head = embedding if config.has_tied_embeddings else weights["lm_head.weight"]
        self._cos, self._sin = _rotations(config, embedding.dtype, embedding.device)

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int], cache: KVCache) -> torch.Tensor:
        """Append tokens to the cache and return the last one's logits, (vocabulary,), float32."""
        start, count = len(cache.tokens), len(tokens)
        cache.reserve(start + count)
        device = self._head.device
        hidden = self._weights["model.embed_tokens.weight"][torch.tensor(tokens, device=device)]
        cos, sin = self._cos[start : start + count], self._sin[start : start + count]
        for layer in range(self.config.num_layers):
            prefix = f"model.layers.{layer}."
            normed = self._norm(hidden, f"{prefix}input_layernorm.weight")
            hidden = hidden + self._attention(normed, layer, cache, cos, sin)
            normed = self._norm(hidden, f"{prefix}post_attention_layernorm.weight")
            hidden = hidden + self._mlp(normed, f"{prefix}mlp.")
        cache.tokens.extend(tokens)
        last = self._norm(hidden[-1:], "model.norm.weight")
        return functional.linear(last, self._head)[0].float()

    def _norm(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        weight = self._weights[name]
        return functional.rms_norm(hidden, weight.shape, weight, self.config.norm_epsilon)

    def _project(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        weights = self._weights
        return functional.linear(hidden, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def _attention(
        self, hidden: torch.Tensor, layer: int, cache: KVCache, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        config, prefix = self.config, f"model.layers.{layer}.self_attn."
        count, start = hidden.shape[0], len(cache.tokens)
        queries = self._heads(hidden, f"{prefix}q_proj", config.num_heads)
        keys = self._heads(hidden, f"{prefix}k_proj", config.num_kv_heads)
        values = self._heads(hidden, f"{prefix}v_proj", config.num_kv_heads)
        if config.has_qk_norm:
            queries = self._norm(queries, f"{prefix}q_norm.weight")
            keys = self._norm(keys, f"{prefix}k_norm.weight")
        queries, keys = _rotate(queries, cos, sin), _rotate(keys, cos, sin)
        keys, values = cache.write(layer, start, keys, values)
        mask = None
        if count > 1 and start:
            mask = torch.ones(count, start + count, dtype=torch.bool, device=hidden.device)
            mask = mask.tril(diagonal=start)
        attended = functional.scaled_dot_product_attention(
            queries[None],
            keys[None],
            values[None],
            attn_mask=mask,
            is_causal=count > 1 and not start,
            enable_gqa=config.num_heads != config.num_kv_heads,
        )
        return self._project(attended[0].transpose(0, 1).reshape(count, -1), f"{prefix}o_proj")

    def _heads(self, hidden: torch.Tensor, name: str, num_heads: int) -> torch.Tensor:
        """Project (n, width) to (heads, n, head_dim)."""
        projected = self._project(hidden, name)
        return projected.view(hidden.shape[0], num_heads, self.config.head_dim).transpose(0, 1)

    def _mlp(self, hidden: torch.Tensor, prefix: str) -> torch.Tensor:
        gate = functional.silu(self._project(hidden, f"{prefix}gate_proj"))
        return self._project(gate * self._project(hidden, f"{prefix}up_proj"), f"{prefix}down_proj")


def _rotations(
    config: DecoderConfig, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines, each (context, head_dim), of rotary embeddings (Su et al.)."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = config.rope_theta**-exponents
    if config.rope_scaling is not None:
        frequencies = _llama3_frequencies(frequencies, config.rope_scaling)
    angles = torch.outer(torch.arange(config.context_length, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(device, dtype), angles.sin().to(device, dtype)


def _llama3_frequencies(frequencies: torch.Tensor, scaling: dict[str, float]) -> torch.Tensor:
    """Stretch the long wavelengths as Llama 3.1 does (its model card and reference code)."""
    factor, old = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelengths = 2 * math.pi / frequencies
    blend = ((old / wavelengths - low) / (high - low)).clamp(0, 1)
    return frequencies * (blend + (1 - blend) / factor)


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin
