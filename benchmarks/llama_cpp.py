"""The peer llama.cpp, through its batch interface: many sequences in one `llama_decode`.

Its server's parallel slots are not in the Python package; the loop here does what they do, with
the shared prefix copied between sequences. Knows Qwen3 only.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.method import REPOSITORY
from benchmarks.models import BenchmarkModel

IS_INSTALLED = find_spec("llama_cpp") is not None and find_spec("gguf") is not None
if IS_INSTALLED:
    import llama_cpp

    from llmos_kernel.training.gguf import write_gguf

    llama_cpp.llama_backend_init()

    @llama_cpp.llama_log_callback
    def _silence(level: int, text: bytes, data: object) -> None:
        """Drop llama.cpp's log, which would hide the table."""


GGUF_FOLDER = REPOSITORY / "runs" / "benchmarks"
BATCH_ROWS = 512
CONTEXT_MULTIPLE = 256


def gguf_of(model: BenchmarkModel, dtype: str) -> Path:
    """Write a model as GGUF anew, since its weights may have changed."""
    target = GGUF_FOLDER / f"{model.folder.name}-{dtype}.gguf"
    return write_gguf(model.folder, dtype, target)


@dataclass(frozen=True, slots=True)
class Row:
    """One token of a batch; `is_asked` where its successor is wanted."""

    token: int
    position: int
    sequence: int
    is_asked: bool


class Batch:
    """The arrays that llama.cpp reads; written in place."""

    def __init__(self, capacity: int) -> None:
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._sequences = np.zeros(capacity, np.int32)
        self._wants = np.zeros(capacity, np.int8)
        self._counts = np.ones(capacity, np.int32)
        self._addresses = self._sequences.ctypes.data + 4 * np.arange(capacity, dtype=np.uint64)

    def fill(self, rows: Sequence[Row]) -> llama_cpp.llama_batch:
        count = len(rows)
        self._tokens[:count] = [row.token for row in rows]
        self._positions[:count] = [row.position for row in rows]
        self._sequences[:count] = [row.sequence for row in rows]
        self._wants[:count] = [row.is_asked for row in rows]
        types = dict(llama_cpp.llama_batch._fields_)
        return llama_cpp.llama_batch(
            n_tokens=count,
            token=self._tokens.ctypes.data_as(types["token"]),
            embd=None,
            pos=self._positions.ctypes.data_as(types["pos"]),
            n_seq_id=self._counts.ctypes.data_as(types["n_seq_id"]),
            seq_id=self._addresses.ctypes.data_as(types["seq_id"]),
            logits=self._wants.ctypes.data_as(types["logits"]),
        )


class LlamaCpp:
    """One model and one context of several sequences. Close it once."""

    def __init__(
        self, path: Path, *, num_sequences: int, num_tokens: int, is_exact: bool = False
    ) -> None:
        """Load a GGUF file for sequences of up to `num_tokens` tokens.

        An exact one keeps keys and values in float32 and attends in it too; llama.cpp's fast
        attention rounds to float16, also over a float32 cache.
        """
        llama_cpp.llama_log_set(_silence, ctypes.c_void_p())
        self._model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot read {str(path)!r}; write it again")
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._num_entries = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        self._context = llama_cpp.llama_init_from_model(
            self._model, _parameters(num_sequences, num_tokens, is_exact)
        )
        if not self._context:
            raise RuntimeError(
                f"llama.cpp has no room for {num_sequences} sequences of {num_tokens} tokens"
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = Batch(BATCH_ROWS)
        self.lengths = [0] * num_sequences

    def decode(self, rows: Sequence[Row]) -> list[int]:
        """Run at most `BATCH_ROWS` rows; return the next token after each row that is asked."""
        status = llama_cpp.llama_decode(self._context, self._batch.fill(rows))
        if status != 0:
            raise RuntimeError(f"llama_decode gave {status} for {len(rows)} rows")
        for row in rows:
            self.lengths[row.sequence] = row.position + 1
        num_wanted = sum(row.is_asked for row in rows)
        logits = llama_cpp.llama_get_logits(self._context)
        if not num_wanted:
            return []
        shape = (num_wanted, self._num_entries)
        return np.ctypeslib.as_array(logits, shape).argmax(axis=1).tolist()

    def rows(self, sequence: int, tokens: Sequence[int], *, is_whole: bool) -> list[Row]:
        """Return the rows that append tokens; the successor of whole ones is asked for."""
        first, last = self.lengths[sequence], len(tokens) - 1
        return [
            Row(token, first + index, sequence, is_whole and index == last)
            for index, token in enumerate(tokens)
        ]

    def prefill(self, sequence: int, tokens: Sequence[int]) -> int:
        """Append tokens to a sequence and return the next one."""
        found: list[int] = []
        for start in range(0, len(tokens), BATCH_ROWS):
            end = start + BATCH_ROWS
            rows = self.rows(sequence, tokens[start:end], is_whole=end >= len(tokens))
            found = self.decode(rows)
        return found[0]

    def copy(self, source: int, target: int) -> None:
        """Make an empty sequence the same as another."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self.lengths[target] = self.lengths[source]

    def tokens_of(self, text: str) -> list[int]:
        """Tokenize plain text by the file's own tokenizer; control tokens stay text.

        Raises:
            RuntimeError: the file holds no tokenizer.
        """
        data = text.encode()
        found = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(
            self._vocabulary, data, len(data), found, len(found), False, False
        )
        if count < 0:
            raise RuntimeError(
                f"llama.cpp cannot tokenize {text!r}; write the file with a tokenizer"
            )
        return list(found[:count])

    def truncate(self, sequence: int, length: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)
        self.lengths[sequence] = length

    def close(self) -> None:
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)


def _parameters(
    num_sequences: int, num_tokens: int, is_exact: bool
) -> llama_cpp.llama_context_params:
    parameters = llama_cpp.llama_context_default_params()
    room = -(-num_tokens // CONTEXT_MULTIPLE) * CONTEXT_MULTIPLE
    parameters.n_ctx = num_sequences * room
    parameters.n_batch = parameters.n_ubatch = BATCH_ROWS
    parameters.n_seq_max = num_sequences
    parameters.n_threads = parameters.n_threads_batch = 1
    # Each sequence attends to its own cells only; in a unified cache it would look at all.
    parameters.kv_unified = False
    parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    if is_exact:
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
    return parameters


@dataclass(slots=True)
class Stream:
    """A turn at work: tokens that wait to be read, and what came out so far."""

    sequence: int
    pending: list[int]
    num_new: int
    done: asyncio.Future[list[int]]
    output: list[int] = field(default_factory=list[int])


class LlamaServer:
    """Continuous batching over the sequences of one context, as llama.cpp's own server does it."""

    def __init__(self, llama: LlamaCpp, prefix: Sequence[int]) -> None:
        self._llama = llama
        self._prefix = prefix
        self._streams: list[Stream] = []
        self._thread = ThreadPoolExecutor(1)
        self._worker: asyncio.Task[None] | None = None

    async def turn(self, process: int, tokens: Sequence[int], num_new: int) -> list[int]:
        """Continue a process's context in the batch of all that are at work."""
        if not self._llama.lengths[0]:
            self._share_prefix()
        pending = list(tokens[self._llama.lengths[process] :])
        done = asyncio.get_running_loop().create_future()
        self._streams.append(Stream(process, pending, num_new, done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await done

    def _share_prefix(self) -> None:
        """Read the prefix once, before anything else is at work, and give it to all sequences."""
        self._llama.prefill(0, self._prefix)
        for sequence in range(1, len(self._llama.lengths)):
            self._llama.copy(0, sequence)

    async def _work(self) -> None:
        """Step until no stream is left; what goes wrong ends them all."""
        loop = asyncio.get_running_loop()
        try:
            while self._streams:
                streams = tuple(self._streams)
                await loop.run_in_executor(self._thread, self._step, streams)
                for stream in streams:
                    if len(stream.output) == stream.num_new:
                        self._streams.remove(stream)
                        stream.done.set_result(stream.output)
        except Exception as error:
            for stream in self._streams:
                stream.done.set_exception(error)
            self._streams.clear()

    def _step(self, streams: Sequence[Stream]) -> None:
        """Run one batch: the streams that decode first, then prompts as far as there is room."""
        rows: list[Row] = []
        asking: list[Stream] = []
        for stream in sorted(streams, key=lambda stream: not stream.output):
            chunk = stream.pending[: BATCH_ROWS - len(rows)]
            if not chunk:
                break
            del stream.pending[: len(chunk)]
            rows += self._llama.rows(stream.sequence, chunk, is_whole=not stream.pending)
            if not stream.pending:
                asking.append(stream)
        for stream, token in zip(asking, self._llama.decode(rows), strict=True):
            stream.output.append(token)
            stream.pending = [token]

    def close(self) -> None:
        self._thread.shutdown()
        self._llama.close()


class LlamaDecoder:
    """A batch of contexts that are prefilled once, in `prefill_s`, and decoded again and again."""

    def __init__(
        self,
        path: Path,
        contexts: Sequence[Sequence[int]],
        num_steps: int,
        *,
        is_exact: bool = False,
    ) -> None:
        self._contexts = contexts
        num_tokens = len(contexts[0]) + num_steps
        self._llama = LlamaCpp(
            path, num_sequences=len(contexts), num_tokens=num_tokens, is_exact=is_exact
        )
        start = time.perf_counter()
        for sequence, context in enumerate(contexts):
            self._llama.prefill(sequence, context)
        self.prefill_s = time.perf_counter() - start

    def step_s(self, num_steps: int) -> float:
        """Return the seconds a step, over `num_steps` of them."""
        start = time.perf_counter()
        self.outputs(num_steps)
        return (time.perf_counter() - start) / num_steps

    def outputs(self, num_steps: int) -> list[list[int]]:
        """Continue all contexts side by side, greedily."""
        last = len(self._contexts[0]) - 1
        for sequence in range(len(self._contexts)):
            self._llama.truncate(sequence, last)
        steps = [[context[-1] for context in self._contexts]]
        for position in range(last, last + num_steps):
            rows = [Row(token, position, index, True) for index, token in enumerate(steps[-1])]
            steps.append(self._llama.decode(rows))
        return [list(output) for output in zip(*steps[1:], strict=True)]

    def close(self) -> None:
        self._llama.close()
