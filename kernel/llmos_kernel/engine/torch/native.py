"""The steps between a decoder's matrix products, compiled for the CPU by numba.

Activations are float32 or bfloat16, which numba lacks: there the arrays hold its bits as uint16,
and `_load` and `_store` convert. Sums are float32. Knows shapes only, no model and no sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from llvmlite import ir  # pyright: ignore
from numba import njit, types  # pyright: ignore
from numba.core import cgutils  # pyright: ignore
from numba.extending import intrinsic, overload  # pyright: ignore

from llmos_kernel.engine.torch.cache import PageCache
from llmos_kernel.engine.torch.checkpoint import DecoderConfig
from llmos_kernel.engine.torch.operations import Chunk, Rows, TorchOperations

FETCH_STEP = 32  # elements: a cache line of bfloat16, two of float32, which come together
LOG2_E = np.float32(1.4426950408889634)
# Numba's own division looks for zeros, and a loop with that branch is not vectorized.
compiled = partial(njit, nogil=True, fastmath=True, error_model="numpy")


def _inlined(write: Callable[..., Any]) -> Any:
    """Make a function of what writes its LLVM instructions; its own first argument is left out."""
    return intrinsic(write)


def _load(value: Any) -> Any:
    """Return an array's element as float32."""
    raise NotImplementedError


@overload(_load, inline="always")
def _load_overload(value: Any) -> Any:
    def widened(value: Any) -> Any:
        return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)

    def same(value: Any) -> Any:
        return value

    return widened if value == types.uint16 else same


def _store(like: Any, value: Any) -> Any:
    """Return a float32 as an array element of the type of `like`, rounded to nearest even."""
    raise NotImplementedError


@overload(_store, inline="always")
def _store_overload(like: Any, value: Any) -> Any:
    def rounded(like: Any, value: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    def same(like: Any, value: Any) -> Any:
        return np.float32(value)

    return rounded if like == types.uint16 else same


@compiled(inline="always")
def _exp(x: Any) -> Any:
    """e**x for float32, within 2 units in the last place; below -87 it is about 1e-38.

    2**n by its bits times a polynomial for the fraction (Cephes' expf), so that loops vectorize.
    """
    x = max(np.float32(-87.0), min(np.float32(88.0), x))
    n = np.floor(x * LOG2_E + np.float32(0.5))
    r = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    scale = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * scale


@compiled(cache=True)
def add_norm(hidden: Any, delta: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """Add `delta` (n, width) to `hidden` (n, width) and write the RMS norm of the sum to `out`."""
    width = hidden.shape[1]
    for row in range(hidden.shape[0]):
        total = np.float32(0.0)
        for i in range(width):
            value = hidden[row, i] + _load(delta[row, i])
            hidden[row, i] = value
            total += value * value
        scale = np.float32(1.0) / np.sqrt(total / np.float32(width) + epsilon)
        for i in range(width):
            out[row, i] = _store(out[row, i], hidden[row, i] * scale * weight[i])


@compiled(cache=True)
def gate(gate_up: Any, is_gelu: bool, out: Any) -> None:
    """Write activation(gate) * up of `gate_up` (n, 2 * mlp width) to `out` (n, mlp width).

    The activation is SiLU, x * sigmoid(x), or GELU by tanh, which is x * sigmoid(2 * u) for
    u = sqrt(2 / pi) * (x + 0.044715 * x**3).
    """
    width = out.shape[1]
    for row in range(out.shape[0]):
        gates, ups = gate_up[row, :width], gate_up[row, width:]
        for i in range(width):
            value, up = _load(gates[i]), _load(ups[i])
            inner = value
            if is_gelu:
                cubed = np.float32(0.044715) * value * value * value
                inner = np.float32(1.5957691216057308) * (value + cubed)
            out[row, i] = _store(out[row, i], value * up / (np.float32(1.0) + _exp(-inner)))


@compiled(cache=True)
def rotate_and_store(
    qkv: Any,
    rotations: Any,
    positions: Any,
    pages: Any,
    slots: Any,
    cache: Any,
    norms: Any,
    epsilon: Any,
    queries: Any,
) -> None:
    """Norm and rotate queries and keys; write keys and values to their place in the cache.

    qkv (n, (heads + 2 kv heads) * dim); rotations (2, context, dim), cosines and sines; positions,
    pages, slots (n,); cache (pages, 2, kv heads, page size, dim), one layer's; norms (2, dim), or
    (0, dim) for none; queries (n, heads, dim) is written.
    """
    num_heads, dim = queries.shape[1], queries.shape[2]
    num_kv_heads = cache.shape[2]
    scratch = np.empty(dim, np.float32)
    for row in range(qkv.shape[0]):
        turn = rotations[:, positions[row]]
        for head in range(num_heads):
            values = qkv[row, head * dim : (head + 1) * dim]
            _norm_and_rotate(values, norms[:1], turn, epsilon, scratch, queries[row, head])
        place = cache[pages[row], :, :, slots[row]]
        for head in range(num_kv_heads):
            start = (num_heads + head) * dim
            values = qkv[row, start : start + dim]
            _norm_and_rotate(values, norms[1:], turn, epsilon, scratch, place[0, head])
            start = (num_heads + num_kv_heads + head) * dim
            for i in range(dim):
                place[1, head, i] = _store(place[1, head, i], _load(qkv[row, start + i]))


@compiled()
def _norm_and_rotate(
    values: Any, norm: Any, turn: Any, epsilon: Any, scratch: Any, target: Any
) -> None:
    """Write values (dim,), normed by norm (1, dim) unless that is (0, dim), and rotated."""
    dim = values.shape[0]
    half = dim // 2
    for i in range(dim):
        scratch[i] = _load(values[i])
    if norm.shape[0]:
        total = np.float32(0.0)
        for i in range(dim):
            total += scratch[i] * scratch[i]
        scale = np.float32(1.0) / np.sqrt(total / np.float32(dim) + epsilon)
        for i in range(dim):
            scratch[i] = scratch[i] * scale * norm[0, i]
    low, high = target[:half], target[half:]
    low_cosines, high_cosines = turn[0, :half], turn[0, half:]
    low_sines, high_sines = turn[1, :half], turn[1, half:]
    firsts, seconds = scratch[:half], scratch[half:]
    for i in range(half):
        first, second = firsts[i], seconds[i]
        low[i] = _store(low[i], first * low_cosines[i] - second * low_sines[i])
        high[i] = _store(high[i], second * high_cosines[i] + first * high_sines[i])


@compiled(cache=True)
def attend(
    queries: Any, tables: Any, lengths: Any, window: int, cache: Any, scores: Any, out: Any
) -> None:
    """Attend from one query a sequence to the last `window` positions that it holds, 0 for all.

    queries, out (n, heads, dim); tables (n, most pages) of page numbers; lengths (n,) in tokens;
    cache as above; scores (heads + 1, at least the longest length) is scratch, float32. Heads that
    share keys are taken in pairs, so that these are widened once; an odd one pairs with a last row
    that means nothing. Each page is fetched while the one before it is read.
    """
    num_heads, dim = queries.shape[1], queries.shape[2]
    scale = np.float32(1.0 / math.sqrt(dim))
    query = np.zeros((num_heads + 1, dim), np.float32)
    total = np.empty((num_heads + 1, dim), np.float32)
    for row in range(queries.shape[0]):
        length = lengths[row]
        for head in range(num_heads):
            for i in range(dim):
                query[head, i] = _load(queries[row, head, i]) * scale
        total[:] = np.float32(0.0)
        _score(query, tables[row], cache, scores[:, :length])
        for head in range(num_heads):
            if 0 < window < length:
                scores[head, : length - window] = np.float32(-np.inf)
            _softmax(scores[head, :length])
        following = tables[min(row + 1, queries.shape[0] - 1), 0]
        _sum_values(scores[:, :length], tables[row], following, cache, total)
        for head in range(num_heads):
            for i in range(dim):
                out[row, head, i] = _store(out[row, head, i], total[head, i])


@compiled(inline="always")
def _score(query: Any, pages: Any, cache: Any, scores: Any) -> None:
    """Write the products of query (heads + 1, dim) with all keys to scores (heads + 1, length)."""
    num_heads, length = scores.shape[0] - 1, scores.shape[1]
    num_kv_heads, page_size, dim = cache.shape[2], cache.shape[3], cache.shape[4]
    group, num_pages = num_heads // num_kv_heads, (length + page_size - 1) // page_size
    for index in range(num_pages):
        start, page = index * page_size, pages[index]
        following = cache[pages[index + 1], 0] if index + 1 < num_pages else cache[pages[0], 1]
        for kv_head in range(num_kv_heads):
            keys, following_keys = cache[page, 0, kv_head], following[kv_head].ravel()
            for member in range(0, group, 2):
                head = kv_head * group + member
                pair = head + 1 if member + 1 < group else num_heads
                first, second = query[head], query[pair]
                for slot in range(min(page_size, length - start)):
                    if member == 0:
                        _fetch(following_keys, slot * dim, dim)
                    key = keys[slot]
                    first_dot, second_dot = np.float32(0.0), np.float32(0.0)
                    for i in range(dim):
                        value = _load(key[i])
                        first_dot += first[i] * value
                        second_dot += second[i] * value
                    scores[head, start + slot] = first_dot
                    scores[pair, start + slot] = second_dot


@compiled(inline="always")
def _sum_values(shares: Any, pages: Any, next_keys: int, cache: Any, total: Any) -> None:
    """Add all values, weighted by shares (heads + 1, length), to total (heads + 1, dim).

    `next_keys` is the page whose keys are read afterwards.
    """
    num_heads, length = shares.shape[0] - 1, shares.shape[1]
    num_kv_heads, page_size, dim = cache.shape[2], cache.shape[3], cache.shape[4]
    group, num_pages = num_heads // num_kv_heads, (length + page_size - 1) // page_size
    for index in range(num_pages):
        start, page = index * page_size, pages[index]
        count = min(page_size, length - start)
        following = cache[pages[index + 1], 1] if index + 1 < num_pages else cache[next_keys, 0]
        for kv_head in range(num_kv_heads):
            values, following_values = cache[page, 1, kv_head], following[kv_head].ravel()
            for member in range(0, group, 2):
                head = kv_head * group + member
                pair = head + 1 if member + 1 < group else num_heads
                first, second = shares[head, start:], shares[pair, start:]
                into_first, into_second = total[head], total[pair]
                # Four at a time: each pass over the sums costs loads and stores.
                for slot in range(0, count - 3, 4):
                    if member == 0:
                        _fetch(following_values, slot * dim, 4 * dim)
                    p, q, r, s = values[slot], values[slot + 1], values[slot + 2], values[slot + 3]
                    a, b, c, d = first[slot], first[slot + 1], first[slot + 2], first[slot + 3]
                    e, f, g, h = second[slot], second[slot + 1], second[slot + 2], second[slot + 3]
                    for i in range(dim):
                        w, x, y, z = _load(p[i]), _load(q[i]), _load(r[i]), _load(s[i])
                        into_first[i] += (a * w + b * x) + (c * y + d * z)
                        into_second[i] += (e * w + f * x) + (g * y + h * z)
                for slot in range(count // 4 * 4, count):
                    for i in range(dim):
                        value = _load(values[slot, i])
                        into_first[i] += first[slot] * value
                        into_second[i] += second[slot] * value


@compiled(inline="always")
def _fetch(array: Any, start: int, count: int) -> None:
    """Begin to read elements of array (n,) into the cache of the core."""
    for at in range(start, start + count, FETCH_STEP):
        _prefetch(array, at)


@_inlined
def _prefetch(_: Any, array: Any, index: Any) -> Any:
    """Ask for the line of element `index`: LLVM's prefetch, for reading, into the second cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, int32, int32, int32])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.bitcast(builder.gep(data, [arguments[1]]), pointer)
        builder.call(prefetch, [place, int32(0), int32(2), int32(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


@_inlined
def _larger(_: Any, one: Any, other: Any) -> Any:
    """Return the larger of two float32; numba's own minds NaN, and its loops stay scalar."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_larger = builder.fcmp_ordered(">", *arguments, flags=["fast"])
        return builder.select(is_larger, *arguments, flags=["fast"])

    return types.float32(types.float32, types.float32), generate


@compiled(inline="always")
def _softmax(scores: Any) -> None:
    most = np.float32(-np.inf)
    for i in range(scores.shape[0]):
        most = _larger(most, scores[i])
    total = np.float32(0.0)
    for i in range(scores.shape[0]):
        scores[i] = _exp(scores[i] - most)
        total += scores[i]
    for i in range(scores.shape[0]):
        scores[i] /= total


@compiled(cache=True)
def soften(scores: Any, count: int, num_held: int, window: int, scale: float) -> None:
    """Turn products of queries and keys into shares of attention, in place.

    scores (kv heads, heads of each * count, num_held + count): row r is the query at position
    num_held + r % count, which sees the last `window` positions up to its own, 0 for all.
    """
    num_rows, length = scores.shape[1], scores.shape[2]
    values = np.empty(length, np.float32)
    factor = np.float32(scale)
    for kv_head in range(scores.shape[0]):
        for row in range(num_rows):
            into = scores[kv_head, row]
            end = num_held + row % count + 1
            start = max(0, end - window) if window else 0
            seen, shares = into[start:end], values[start:end]
            for i in range(seen.shape[0]):
                shares[i] = _load(seen[i]) * factor
            _softmax(shares)
            for i in range(seen.shape[0]):
                seen[i] = _store(seen[i], shares[i])
            into[:start] = 0
            into[end:] = 0


@compiled()
def _multiply(inputs: Any, weight: Any, bias: Any, out: Any) -> None:
    """Write inputs (n, in) times the transpose of weight (out, in), plus bias (out,) or (0,)."""
    for column in range(weight.shape[0]):
        weights = weight[column]
        start = bias[column] if bias.shape[0] else np.float32(0.0)
        for row in range(inputs.shape[0]):
            values = inputs[row]
            total = np.float32(0.0)
            for i in range(weights.shape[0]):
                total += values[i] * _load(weights[i])
            out[row, column] = total + start


@compiled(cache=True)
def forward_few(
    hidden: Any,
    weights: Any,
    norms: Any,
    layer_ropes: Any,
    windows: Any,
    rotations: Any,
    places: Any,
    tables: Any,
    lengths: Any,
    cache: Any,
    epsilon: Any,
    is_gelu: bool,
    logits: Any,
) -> None:
    """Take a few rows, one a sequence, through all layers; write logits (n, vocabulary).

    hidden (n, width) float32 is changed; weights are (layers, out, in) for qkv with its bias
    (layers, out), output, gate and up, down, and the head (vocabulary, width); norms (layers,
    width) before attention and MLP, (layers, 2, dim) of queries and keys, (width,) at the end;
    places (3, n): positions, pages, slots; the rest as above, the cache's of all layers.
    """
    qkv_weight, qkv_bias, output_weight, gate_up_weight, down_weight, head_weight = weights
    input_norms, mlp_norms, qk_norms, final_norm = norms
    n, width = hidden.shape
    dim = cache.shape[5]
    num_heads = output_weight.shape[2] // dim
    no_bias = np.empty(0, np.float32)
    normed = np.empty((n, width), np.float32)
    delta = np.zeros((n, width), np.float32)
    qkv = np.empty((n, qkv_weight.shape[1]), np.float32)
    queries = np.empty((n, num_heads, dim), np.float32)
    attended = np.empty((n, num_heads, dim), np.float32)
    gate_up = np.empty((n, gate_up_weight.shape[1]), np.float32)
    gated = np.empty((n, down_weight.shape[2]), np.float32)
    scores = np.empty((num_heads + 1, lengths.max()), np.float32)
    for layer in range(qkv_weight.shape[0]):
        add_norm(hidden, delta, input_norms[layer], epsilon, normed)
        _multiply(normed, qkv_weight[layer], qkv_bias[layer], qkv)
        rotate_and_store(
            qkv,
            rotations[layer_ropes[layer]],
            places[0],
            places[1],
            places[2],
            cache[layer],
            qk_norms[layer],
            epsilon,
            queries,
        )
        attend(queries, tables, lengths, windows[layer], cache[layer], scores, attended)
        flat = attended.reshape((n, num_heads * dim))
        _multiply(flat, output_weight[layer], no_bias, delta)
        add_norm(hidden, delta, mlp_norms[layer], epsilon, normed)
        _multiply(normed, gate_up_weight[layer], no_bias, gate_up)
        gate(gate_up, is_gelu, gated)
        _multiply(gated, down_weight[layer], no_bias, delta)
    add_norm(hidden, delta, final_norm, epsilon, normed)
    _multiply(normed, head_weight, no_bias, logits)


class NativeOperations:
    """Compiled by numba, on the CPU; chunks attend by PyTorch's products."""

    def __init__(self, config: DecoderConfig, cache: PageCache, rotations: torch.Tensor) -> None:
        self._config = config
        self._epsilon = np.float32(config.norm_epsilon)
        self._dtype = cache.tensor.dtype
        self._cache = _view(cache.tensor)
        self._rotations = rotations.numpy()
        self._chunks = TorchOperations(config, cache, rotations)
        self._scores = np.empty((config.num_heads + 1, config.context_length), np.float32)

    def add_norm(
        self, hidden: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        out = torch.empty(hidden.shape, dtype=self._dtype)
        add_norm(hidden.numpy(), _view(delta), weight.numpy(), self._epsilon, _view(out))
        return out

    def rotate_and_store(
        self, qkv: torch.Tensor, norms: torch.Tensor, layer: int, rows: Rows
    ) -> torch.Tensor:
        shape = (len(qkv), self._config.num_heads, self._config.head_dim)
        queries = torch.empty(shape, dtype=self._dtype)
        rotate_and_store(
            _view(qkv),
            self._rotations[self._config.layer_ropes[layer]],
            rows.positions.numpy(),
            rows.pages.numpy(),
            rows.slots.numpy(),
            self._cache[layer],
            norms.numpy(),
            self._epsilon,
            _view(queries),
        )
        return queries

    def attend(self, queries: torch.Tensor, layer: int, rows: Rows) -> torch.Tensor:
        out = torch.empty_like(queries)
        singles = rows.num_singles
        if singles:
            attend(
                _view(queries)[:singles],
                rows.tables.numpy(),
                rows.lengths.numpy(),
                self._config.windows[layer],
                self._cache[layer],
                self._scores,
                _view(out)[:singles],
            )
        is_exact = self._dtype == torch.float32
        attend_chunk = self._chunks.attend_chunk if is_exact else self._attend_chunk
        for chunk in rows.chunks:
            out[chunk.start : chunk.end] = attend_chunk(queries, layer, chunk)
        return out.flatten(1)

    def _attend_chunk(self, queries: torch.Tensor, layer: int, chunk: Chunk) -> torch.Tensor:
        """Do what PyTorch's attention does, by its products, which are twice as fast in bfloat16.

        The heads that share keys are rows of one product.
        """
        config, count = self._config, chunk.end - chunk.start
        num_kv_heads, dim = config.num_kv_heads, config.head_dim
        keys, values = self._chunks.held(layer, chunk)
        heads = queries[chunk.start : chunk.end].view(count, num_kv_heads, -1, dim)
        heads = heads.permute(1, 2, 0, 3).reshape(num_kv_heads, -1, dim)
        scores = heads @ keys.transpose(1, 2)
        soften(_view(scores), count, chunk.num_held, config.windows[layer], dim**-0.5)
        attended = (scores @ values).view(num_kv_heads, -1, count, dim)
        return attended.permute(2, 0, 1, 3).reshape(count, -1, dim)

    def gate(self, gate_up: torch.Tensor) -> torch.Tensor:
        out = torch.empty((len(gate_up), gate_up.shape[1] // 2), dtype=self._dtype)
        gate(_view(gate_up), self._config.activation == "gelu_tanh", _view(out))
        return out


class FewRows:
    """All layers of a small model in one compiled call: between products nothing waits for Python.

    For steps of a few rows, each of another sequence; products of many rows are PyTorch's.
    """

    def __init__(
        self,
        config: DecoderConfig,
        cache: PageCache,
        rotations: torch.Tensor,
        weights: Sequence[torch.Tensor],
        norms: Sequence[torch.Tensor],
    ) -> None:
        """Weights and norms are those of `forward_few`, in its order."""
        self._weights = tuple(_view(weight) for weight in weights)
        self._norms = tuple(norm.numpy() for norm in norms)
        self._layer_ropes = np.array(config.layer_ropes)
        self._windows = np.array(config.windows)
        self._rotations = rotations.numpy()
        self._cache = _view(cache.tensor)
        self._epsilon = np.float32(config.norm_epsilon)
        self._is_gelu = config.activation == "gelu_tanh"
        self._vocabulary = config.vocabulary

    def forward(self, hidden: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return logits, (rows, vocabulary), of rows that are all single; hidden is changed."""
        logits = torch.empty(len(hidden), self._vocabulary)
        forward_few(
            hidden.numpy(),
            self._weights,
            self._norms,
            self._layer_ropes,
            self._windows,
            self._rotations,
            torch.stack((rows.positions, rows.pages, rows.slots)).numpy(),
            rows.tables.numpy(),
            rows.lengths.numpy(),
            self._cache,
            self._epsilon,
            self._is_gelu,
            logits.numpy(),
        )
        return logits


def _view(tensor: torch.Tensor) -> np.ndarray:
    """Return the tensor's memory as numpy sees it: bfloat16 as its bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
