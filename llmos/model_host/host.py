"""Starts models when they are first asked, and ends those that have been idle when room is short.

Knows processes and bytes, and nothing of what a model answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmos.model_host.settings import HostSettings
from llmos.model_host.values import HostedModel, Reply, Report
from llmos_kernel.abi import JsonObject

NO_FILES: Mapping[str, bytes] = MappingProxyType({})


class ModelHost:
    """All hosted models of one kernel. A tool class asks for it by a type hint."""

    def __init__(self, settings: HostSettings | None = None) -> None:
        self._settings = settings or HostSettings.model_validate({})

    async def ask(
        self,
        model: HostedModel,
        request: JsonObject,
        files: Mapping[str, bytes] = NO_FILES,
        *,
        report: Report,
    ) -> Reply:
        """Ask a model, which is loaded first where it is not. Cancelling ends its process.

        Raises:
            ToolFailed: it cannot be loaded, has no room, broke, or says that it cannot.
            RetryCall: it says that the request is wrong.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End all models."""
