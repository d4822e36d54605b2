"""llmos: an operating system whose kernel is a local language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmos.sdk import (
        CallContext,
        Effect,
        Grounded,
        Media,
        Output,
        RetryCall,
        ToolFailed,
        tool,
    )
    from llmos.system import LLMOS, Budget, Signal, run

_OF_SYSTEM = ("LLMOS", "Budget", "Signal", "run")
__all__ = [
    "LLMOS",
    "Budget",
    "CallContext",
    "Effect",
    "Grounded",
    "Media",
    "Output",
    "RetryCall",
    "Signal",
    "ToolFailed",
    "run",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `llmos --help` pays for nothing else."""
    if name not in __all__:
        raise AttributeError(f"module 'llmos' has no attribute {name!r}")
    from llmos import sdk, system

    return getattr(system if name in _OF_SYSTEM else sdk, name)
