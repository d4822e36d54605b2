"""How long a page may load, and how much of it is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    load_s: float = 15.0
    page_bytes: int = 10_000_000
    download_bytes: int = 100_000_000
