"""One forward step of a Llama-type decoder over a batch of sequences in a paged cache.

Runs Llama (Touvron et al., 2023), Qwen2, Qwen3, Gemma and Gemma 3, as transformers' classes do.
Knows no sampling and no requests.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.nn import functional

from llmos_kernel.engine.torch.cache import PageCache
from llmos_kernel.engine.torch.checkpoint import DecoderConfig, Rope
from llmos_kernel.engine.torch.operations import (
    Chunk,
    Operations,
    Rows,
    TorchOperations,
)
from llmos_kernel.engine.torch.pages import PAGE_SIZE, PageTable, pages_for

if TYPE_CHECKING:
    from llmos_kernel.engine.torch.native import FewRows

MANY_SINGLES = 4
MANY_STEPS = 200
FEW_ROWS = 8
SMALL_MODEL_ELEMENTS = 60_000_000

Linear: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens to compute for one sequence; they follow those of its table, in reserved pages."""

    table: PageTable
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer's tensors, the matrices (out, in) that share an input joined; norms in float32.

    `qkv_bias` is (0,) and `qk_norms` (0, head_dim) where there are none, else (2, head_dim).
    """

    input_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor
    qk_norms: torch.Tensor
    output: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor
    output_norm: torch.Tensor | None
    down_norm: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Products:
    """One layer's matrix products."""

    qkv: Linear
    output: Linear
    gate_up: Linear
    down: Linear


class Decoder:
    """The weights and the forward pass over one page cache. Use from one thread."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: dict[str, torch.Tensor],
        cache: PageCache,
        *,
        operations: type[Operations] | None = None,
    ) -> None:
        """Take over `weights`, which is emptied. `operations` are chosen by the work if not given.

        The compiled ones take half a second to load, and on a machine's first time some seconds to
        compile: a lone sequence starts without them.
        """
        self.config = config
        self._embedding = weights["model.embed_tokens.weight"]
        self._device = self._embedding.device
        self._final_norm = weights.pop("model.norm.weight").float() + config.norm_offset
        self._head_weight = weights.get("lm_head.weight", self._embedding)
        self._head = _linear(self._head_weight)
        self._layers = [_layer(weights, config, index) for index in range(config.num_layers)]
        self._products = [_products(layer) for layer in self._layers]
        weights.clear()
        self._cache = cache
        self._rotations = _rotations(config).to(self._device)
        self._may_load_compiled = operations is None and _can_compile(self._device)
        self._operations = (operations or TorchOperations)(config, cache, self._rotations)
        self._few_rows: FewRows | None = None
        self._num_steps = 0

    @torch.inference_mode()
    def forward(self, segments: Sequence[Segment]) -> torch.Tensor:
        """Compute all tokens; return the logits of each segment's last, (segments, vocabulary).

        Float32, in the order given: segments of one token first, then longer ones. The tables are
        read and not changed.
        """
        rows = _rows(segments, self._device)
        self._num_steps += 1
        is_worth_it = rows.num_singles >= MANY_SINGLES or self._num_steps >= MANY_STEPS
        if self._may_load_compiled and is_worth_it:
            self._load_compiled()
        tokens = torch.tensor([t for s in segments for t in s.tokens], device=self._device)
        delta = self._embedding[tokens]
        if self.config.embedding_scale != 1.0:
            delta = delta * delta.new_tensor(self.config.embedding_scale)
        if self._few_rows and rows.num_singles <= FEW_ROWS and not rows.chunks:
            return self._few_rows.forward(delta.float(), rows)
        hidden = torch.zeros(delta.shape, dtype=torch.float32, device=self._device)
        operations = self._operations
        for index, (layer, products) in enumerate(zip(self._layers, self._products, strict=True)):
            normed = operations.add_norm(hidden, delta, layer.input_norm)
            queries = operations.rotate_and_store(products.qkv(normed), layer.qk_norms, index, rows)
            delta = products.output(operations.attend(queries, index, rows))
            delta = self._normed(delta, layer.output_norm)
            normed = operations.add_norm(hidden, delta, layer.mlp_norm)
            delta = products.down(operations.gate(products.gate_up(normed)))
            delta = self._normed(delta, layer.down_norm)
        last = [*range(rows.num_singles), *(chunk.end - 1 for chunk in rows.chunks)]
        normed = operations.add_norm(hidden[last], delta[last], self._final_norm)
        return self._head(normed).float()

    def _normed(self, delta: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        if weight is None:
            return delta
        epsilon = self.config.norm_epsilon
        return functional.rms_norm(delta.float(), weight.shape, weight, epsilon).to(delta.dtype)

    def _load_compiled(self) -> None:
        from llmos_kernel.engine.torch.native import FewRows, NativeOperations

        self._operations = NativeOperations(self.config, self._cache, self._rotations)
        self._may_load_compiled = False
        layers, head = self._layers, self._head_weight
        num_elements = sum(layer.gate_up.numel() for layer in layers) + head.numel()
        if self.config.has_post_norms or num_elements > SMALL_MODEL_ELEMENTS:
            return
        names = ("qkv", "qkv_bias", "output", "gate_up", "down")
        weights = [torch.stack([getattr(layer, name) for layer in layers]) for name in names]
        norms = [
            torch.stack([getattr(layer, name) for layer in layers])
            for name in ("input_norm", "mlp_norm", "qk_norms")
        ]
        self._few_rows = FewRows(
            self.config,
            self._cache,
            self._rotations,
            [*weights, head],
            [*norms, self._final_norm],
        )


def _rows(segments: Sequence[Segment], device: torch.device) -> Rows:
    positions: list[int] = []
    pages: list[int] = []
    chunks: list[Chunk] = []
    singles: list[Segment] = []
    for segment in segments:
        held, start = len(segment.table.tokens), len(positions)
        for position in range(held, held + len(segment.tokens)):
            page = segment.table.pages[position // PAGE_SIZE]
            assert page is not None, "the caller swaps a table in before it computes"
            positions.append(position)
            pages.append(page)
        if len(segment.tokens) == 1:
            singles.append(segment)
        else:
            chunks.append(_chunk(segment, start, device))
    most = max((len(s.table.pages) for s in singles), default=0)
    tables = [[*s.table.pages, *[0] * (most - len(s.table.pages))] for s in singles]
    return Rows(
        torch.tensor(positions, device=device),
        torch.tensor(pages, device=device),
        torch.tensor([position % PAGE_SIZE for position in positions], device=device),
        torch.tensor(tables, dtype=torch.int32, device=device),
        torch.tensor([len(s.table.tokens) + 1 for s in singles], device=device),
        tuple(chunks),
    )


def _chunk(segment: Segment, start: int, device: torch.device) -> Chunk:
    held, count = len(segment.table.tokens), len(segment.tokens)
    pages = torch.tensor(segment.table.pages[: pages_for(held + count)], device=device)
    mask = None
    if held:
        mask = torch.ones(count, held + count, dtype=torch.bool, device=device).tril(held)
    return Chunk(start, start + count, held, pages, mask)


def _layer(weights: dict[str, torch.Tensor], config: DecoderConfig, index: int) -> LayerWeights:
    prefix = f"model.layers.{index}."

    def joined(part: str, *names: str) -> torch.Tensor:
        return torch.cat([weights.pop(f"{prefix}{part}.{name}_proj.weight") for name in names])

    def norm(name: str) -> torch.Tensor:
        return weights.pop(f"{prefix}{name}.weight").float() + config.norm_offset

    device = weights["model.embed_tokens.weight"].device
    qkv_bias, qk_norms = torch.empty(0, device=device), torch.empty(0, config.head_dim).to(device)
    if config.has_qkv_bias:
        names = [f"{prefix}self_attn.{name}_proj.bias" for name in "qkv"]
        qkv_bias = torch.cat([weights.pop(name).float() for name in names])
    if config.has_qk_norm:
        queries = norm("self_attn.q_norm") * config.query_scale
        qk_norms = torch.stack([queries, norm("self_attn.k_norm")])
    has_post_norms = config.has_post_norms
    return LayerWeights(
        norm("input_layernorm"),
        joined("self_attn", "q", "k", "v"),
        qkv_bias,
        qk_norms,
        joined("self_attn", "o"),
        norm("pre_feedforward_layernorm" if has_post_norms else "post_attention_layernorm"),
        joined("mlp", "gate", "up"),
        joined("mlp", "down"),
        norm("post_attention_layernorm") if has_post_norms else None,
        norm("post_feedforward_layernorm") if has_post_norms else None,
    )


def _products(layer: LayerWeights) -> Products:
    bias = layer.qkv_bias.to(layer.qkv.dtype) if len(layer.qkv_bias) else None
    return Products(
        _linear(layer.qkv, bias),
        _linear(layer.output),
        _linear(layer.gate_up),
        _linear(layer.down),
    )


def _linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
    """Return the product with a weight (out, in), packed where that is faster.

    oneDNN's own layout makes bfloat16 products on the CPU up to three times as fast; the packing
    operator is private to PyTorch, so where it is missing the plain product stays.
    """
    if weight.device.type == "cpu" and weight.dtype == torch.bfloat16:
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight)
            multiply = torch.ops.mkldnn._linear_pointwise
        except (AttributeError, NotImplementedError, RuntimeError):
            return lambda inputs: functional.linear(inputs, weight, bias)
        return lambda inputs: multiply(inputs, packed, bias, "none", [], "")
    return lambda inputs: functional.linear(inputs, weight, bias)


def _can_compile(device: torch.device) -> bool:
    return device.type == "cpu" and importlib.util.find_spec("numba") is not None


def _rotations(config: DecoderConfig) -> torch.Tensor:
    """Return cosines and sines, (ropes, 2, context, head_dim), of rotary embeddings (Su et al.)."""
    return torch.stack([_rotation(config, rope) for rope in config.ropes])


def _rotation(config: DecoderConfig, rope: Rope) -> torch.Tensor:
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = rope.theta**-exponents
    match rope.scaling:
        case {"type": "llama3"}:
            frequencies = _llama3_frequencies(frequencies, rope.scaling)
        case {"type": "linear", "factor": factor}:
            frequencies = frequencies / factor
        case _:
            pass
    angles = torch.outer(torch.arange(config.context_length, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return torch.stack((angles.cos(), angles.sin()))


def _llama3_frequencies(frequencies: torch.Tensor, scaling: dict[str, float]) -> torch.Tensor:
    """Stretch the long wavelengths as Llama 3.1 does (its model card and reference code)."""
    factor, old = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelengths = 2 * math.pi / frequencies
    blend = ((old / wavelengths - low) / (high - low)).clamp(0, 1)
    return frequencies * (blend + (1 - blend) / factor)
