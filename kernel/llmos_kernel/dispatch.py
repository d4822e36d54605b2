"""Runs checked calls: the one boundary where a tool's exception becomes a result.

Knows neither models nor processes' states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeAlias

from llmos_kernel.abi import CallContext, Driver, ToolCall, ToolResult, ToolSpec
from llmos_kernel.errors import LlmosError, RetryCall

StoreBlob: TypeAlias = Callable[[bytes], str]


class Dispatcher:
    """Runs the calls of all processes, so many of a tool at once as the tool allows."""

    def __init__(self, specs: Iterable[ToolSpec], store_blob: StoreBlob) -> None:
        self._store_blob = store_blob
        self._places = {
            spec.name: asyncio.Semaphore(spec.max_concurrent)
            for spec in specs
            if spec.max_concurrent is not None
        }

    async def run(
        self, driver: Driver, call: ToolCall, context: CallContext, on_start: Callable[[], None]
    ) -> ToolResult:
        """Run one call once its tool has a place for it; `on_start` is called just before.

        Cancellation ends the tool's work. What `on_start` raises is raised, and nothing is run.
        """
        place = self._places.get(driver.spec.name)
        if place is None:
            on_start()
            return await self._run(driver, call, context)
        async with place:
            on_start()
            return await self._run(driver, call, context)

    async def _run(self, driver: Driver, call: ToolCall, context: CallContext) -> ToolResult:
        """Run one call within its tool's time and output limits.

        Output beyond the limit goes whole to the blobs; the model gets the head and the size.
        """
        spec = driver.spec
        try:
            async with asyncio.timeout(spec.timeout_s):
                output = await driver.call(call.arguments, context)
        except TimeoutError:
            return ToolResult(
                call.id, "timeout", f"error: {spec.name} was stopped after {spec.timeout_s:g} s"
            )
        except RetryCall as error:
            return ToolResult(call.id, "retry", _error_text(error, spec.max_output_chars))
        except LlmosError as error:
            return ToolResult(call.id, "failed", _error_text(error, spec.max_output_chars))
        except Exception as error:  # a tool may raise anything; the process goes on
            text = f"{spec.name} broke: {type(error).__name__}: {error}"
            return ToolResult(call.id, "failed", _error_text(text, spec.max_output_chars))
        text = _shortened(output.text, spec.max_output_chars, self._store_blob)
        return ToolResult(call.id, "ok", text, output.files, output.label)


def _error_text(error: object, limit: int) -> str:
    return f"error: {error}"[:limit]


def _shortened(text: str, limit: int, store_blob: StoreBlob) -> str:
    if len(text) <= limit:
        return text
    digest = store_blob(text.encode(errors="surrogatepass"))
    return f"{text[:limit]}\n[cut: {len(text)} characters in all, kept as blob {digest[:12]}]"
