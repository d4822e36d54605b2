"""The steps between a decoder's matrix products, and how plain PyTorch takes them.

`native` has the same compiled for the CPU; both agree up to rounding. Know no requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from llmos_kernel.engine.torch.cache import PageCache
from llmos_kernel.engine.torch.checkpoint import DecoderConfig
from llmos_kernel.engine.torch.pages import pages_for


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows [start, end) of a step: consecutive tokens of one sequence that holds `num_held`.

    `mask` (rows, num_held + rows) says which positions each row sees; None where that is all up
    to its own, and nothing is held.
    """

    start: int
    end: int
    num_held: int
    pages: torch.Tensor
    mask: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one step: first one for each sequence that decodes, then the chunks.

    `positions`, `pages`, `slots` (n,) place each row; `tables` (singles, most pages) and `lengths`
    (singles,), its own token included, say what a single row sees.
    """

    positions: torch.Tensor
    pages: torch.Tensor
    slots: torch.Tensor
    tables: torch.Tensor
    lengths: torch.Tensor
    chunks: tuple[Chunk, ...]

    @property
    def num_singles(self) -> int:
        return self.lengths.shape[0]


class Operations(Protocol):
    """All activations are (n, features) in the model's dtype; `hidden` is float32."""

    def __init__(self, config: DecoderConfig, cache: PageCache, rotations: torch.Tensor) -> None:
        """`rotations` (ropes, 2, context, head_dim) are the cosines and sines, float32."""
        ...

    def add_norm(
        self, hidden: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Add `delta` to `hidden` in place and return the weighted RMS norm of the sum."""
        ...

    def rotate_and_store(
        self, qkv: torch.Tensor, norms: torch.Tensor, layer: int, rows: Rows
    ) -> torch.Tensor:
        """Put keys and values into the cache; return queries, (n, heads, head_dim).

        `norms` (2, head_dim) weighs the norms of queries and keys; (0, head_dim) for none.
        """
        ...

    def attend(self, queries: torch.Tensor, layer: int, rows: Rows) -> torch.Tensor:
        """Return what the rows attend to, (n, heads * head_dim)."""
        ...

    def gate(self, gate_up: torch.Tensor) -> torch.Tensor:
        """Return activation(first half) * second half of the features."""
        ...


class TorchOperations:
    """Plain PyTorch, on any device."""

    def __init__(self, config: DecoderConfig, cache: PageCache, rotations: torch.Tensor) -> None:
        self._config = config
        self._cache = cache.tensor
        self._rotations = rotations

    def add_norm(
        self, hidden: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        hidden += delta
        normed = functional.rms_norm(hidden, weight.shape, weight, self._config.norm_epsilon)
        return normed.to(self._cache.dtype)

    def rotate_and_store(
        self, qkv: torch.Tensor, norms: torch.Tensor, layer: int, rows: Rows
    ) -> torch.Tensor:
        config = self._config
        heads = qkv.view(len(qkv), -1, config.head_dim)
        rotated = heads[:, : config.num_heads + config.num_kv_heads].float()
        if len(norms):
            counts = torch.tensor([config.num_heads, config.num_kv_heads], device=qkv.device)
            weights = norms.repeat_interleave(counts, dim=0)
            rotated = functional.rms_norm(rotated, (config.head_dim,), None, config.norm_epsilon)
            rotated = rotated * weights
        cos, sin = self._rotations[config.layer_ropes[layer]][:, rows.positions, None]
        first, second = rotated.chunk(2, dim=-1)
        rotated = (rotated * cos + torch.cat((-second, first), dim=-1) * sin).to(qkv.dtype)
        pages = self._cache[layer]
        pages[rows.pages, 0, :, rows.slots] = rotated[:, config.num_heads :]
        pages[rows.pages, 1, :, rows.slots] = heads[:, config.num_heads + config.num_kv_heads :]
        return rotated[:, : config.num_heads]

    def attend(self, queries: torch.Tensor, layer: int, rows: Rows) -> torch.Tensor:
        out = torch.empty_like(queries)
        lengths = rows.lengths.tolist()
        for row, length in enumerate(lengths):
            pages = rows.tables[row, : pages_for(length)].long()
            single = Chunk(row, row + 1, length - 1, pages, None)
            out[row : row + 1] = self.attend_chunk(queries, layer, single)
        for chunk in rows.chunks:
            out[chunk.start : chunk.end] = self.attend_chunk(queries, layer, chunk)
        return out.flatten(1)

    def attend_chunk(self, queries: torch.Tensor, layer: int, chunk: Chunk) -> torch.Tensor:
        """Return what a chunk's rows attend to, (rows, heads, head_dim)."""
        count = chunk.end - chunk.start
        keys, values = self.held(layer, chunk)
        mask = chunk.mask
        if window := self._config.windows[layer]:
            mask = torch.ones(count, keys.shape[1], dtype=torch.bool, device=keys.device)
            mask = mask.tril(chunk.num_held).triu(chunk.num_held - window + 1)
        attended = functional.scaled_dot_product_attention(
            queries[None, chunk.start : chunk.end].transpose(1, 2),
            keys[None],
            values[None],
            attn_mask=mask,
            is_causal=mask is None and count > 1,
            enable_gqa=self._config.num_heads != self._config.num_kv_heads,
        )
        return attended[0].transpose(0, 1)

    def held(self, layer: int, chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and the values that a chunk sees, (kv heads, length, head_dim) each."""
        held = self._cache[layer, chunk.pages].permute(1, 2, 0, 3, 4).flatten(2, 3)
        keys, values = held[:, :, : chunk.num_held + chunk.end - chunk.start]
        return keys, values

    def gate(self, gate_up: torch.Tensor) -> torch.Tensor:
        first, second = gate_up.chunk(2, dim=-1)
        if self._config.activation == "gelu_tanh":
            return functional.gelu(first, approximate="tanh") * second
        return functional.silu(first) * second
