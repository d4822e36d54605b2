"""What the pages hold: keys and values of every layer, in memory or swapped out.

Which page belongs to whom is the block manager's business. Knows no request.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

from llmos_kernel.engine.torch.checkpoint import DecoderConfig
from llmos_kernel.engine.torch.pages import PAGE_SIZE, BlockManager, OutOfPages, PageTable


class PageCache:
    """Shape (layers, pages, 2, kv heads, page size, head_dim); index 0 of the third is keys."""

    def __init__(
        self, config: DecoderConfig, num_pages: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Reserve address space; the system gives memory to a page when it is first written."""
        self.tensor = torch.empty(
            (config.num_layers, num_pages, 2, config.num_kv_heads, PAGE_SIZE, config.head_dim),
            dtype=dtype,
            device=device,
        )


def page_bytes(config: DecoderConfig, dtype: torch.dtype) -> int:
    """Return the size of one page over all layers, in bytes."""
    elements = config.num_layers * 2 * config.num_kv_heads * PAGE_SIZE * config.head_dim
    return elements * dtype.itemsize


class SwapFile:
    """Pages that left the cache, each in a slot of one unnamed file.

    The system keeps the file in free memory and writes it to disk when memory is short; it is
    gone when the process ends, however it ends.
    """

    def __init__(self, folder: Path | None, example: torch.Tensor) -> None:
        """`folder` is on the disk to use, or None for the system's; `example` is one page."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed with the engine)
        self._dtype, self._shape, self._size = example.dtype, example.shape, example.nbytes

    def write(self, slot: int, page: torch.Tensor) -> None:
        """Store a page, (layers, 2, kv heads, page size, head_dim).

        Raises:
            OSError: the disk is full.
        """
        data = page.contiguous().view(torch.uint8).numpy().data
        os.pwrite(self._file.fileno(), data, slot * self._size)

    def read(self, slot: int) -> torch.Tensor:
        data = bytearray(os.pread(self._file.fileno(), self._size, slot * self._size))
        return torch.frombuffer(data, dtype=self._dtype).view(self._shape)

    def close(self) -> None:
        self._file.close()


class KVMemory:
    """Page tables together with what their pages hold. Use from one thread."""

    def __init__(self, cache: PageCache, *, swap_folder: Path | None = None) -> None:
        self.manager = BlockManager(cache.tensor.shape[1])
        self._cache = cache.tensor
        self._swap = SwapFile(swap_folder, self._cache[:, 0])

    def has_room(self, table: PageTable, count: int) -> bool:
        """Whether there are pages to bring a table in and for `count` more tokens."""
        return self.manager.num_needed(table, count) <= self.manager.num_unused

    def prepare(self, table: PageTable, count: int) -> None:
        """Bring a table in and make room for `count` more tokens.

        Raises:
            OutOfPages: there are not enough; nothing has changed.
        """
        if not self.has_room(table, count):
            raise OutOfPages("the pages that are needed are in use")
        self.bring_in(table)
        for source, target in self.manager.reserve(table, count):
            self._cache[:, target] = self._cache[:, source]

    def bring_in(self, table: PageTable) -> None:
        """Fill the pages of a table that are swapped out.

        Raises:
            OutOfPages: there are not enough; nothing has changed.
        """
        for slot, page in self.manager.swap_in(table):
            self._cache[:, page] = self._swap.read(slot).to(self._cache.device)

    def vacate(self, table: PageTable) -> bool:
        """Save the pages that only this table uses and give them back; return whether it held any.

        Where others use all that it holds, or nothing can be saved, it is emptied as a whole: its
        tokens are computed again. One that holds none stays as it is.
        """
        if all(page is None for page in table.pages):
            return False
        if not self.manager.num_alone(table):
            self.manager.release(table)
            return True
        try:
            for page, slot in self.manager.swap_out(table):
                self._swap.write(slot, self._cache[:, page].cpu())
        except OSError:
            self.manager.release(table)
        return True

    def close(self) -> None:
        self._swap.close()
