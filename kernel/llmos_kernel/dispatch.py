"""Runs checked calls: the one boundary where a tool's exception becomes a result.

Knows neither models nor processes' states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeAlias

from llmos_kernel.abi import (
    CallContext,
    Driver,
    Output,
    ResultStatus,
    ToolCall,
    ToolResult,
    ToolSpec,
    blob_handle,
)
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

        Output beyond the limit goes whole to the blobs; the model gets the head, the size and a
        handle under which the rest can be read.
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
            return self._result(call, spec, "retry", Output(f"error: {error}"))
        except LlmosError as error:
            return self._result(call, spec, "failed", Output(f"error: {error}"))
        except Exception as error:  # a tool may raise anything; the process goes on
            text = f"error: {spec.name} broke: {type(error).__name__}: {error}"
            return self._result(call, spec, "failed", Output(text))
        return self._result(call, spec, "ok", output)

    def _result(
        self, call: ToolCall, spec: ToolSpec, status: ResultStatus, output: Output
    ) -> ToolResult:
        text, limit = output.text, spec.max_output_chars
        if len(text) <= limit:
            return ToolResult(call.id, status, text, output.files, output.label)
        digest = self._store_blob(text.encode(errors="surrogatepass"))
        rest = f"{blob_handle(digest)}@{limit}"
        text = f"{text[:limit]}\n[cut: {len(text)} characters in all; the rest is the file {rest}]"
        return ToolResult(call.id, status, text, output.files, output.label, digest)
