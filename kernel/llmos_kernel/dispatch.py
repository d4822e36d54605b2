"""Runs checked calls: the one boundary where a tool's exception becomes a result.

Knows neither models nor processes' states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmos_kernel.abi import CallContext, Driver, ToolCall, ToolResult
from llmos_kernel.errors import LlmosError, RetryCall

StoreBlob = Callable[[bytes], str]


async def run_call(
    driver: Driver, call: ToolCall, context: CallContext, store_blob: StoreBlob
) -> ToolResult:
    """Run one call within its tool's time and output limits. Cancellation ends the tool's work.

    Output beyond the limit goes whole to `store_blob`; the model gets the head and the size.
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
    text = _shortened(output.text, spec.max_output_chars, store_blob)
    return ToolResult(call.id, "ok", text, output.files)


def _error_text(error: object, limit: int) -> str:
    return f"error: {error}"[:limit]


def _shortened(text: str, limit: int, store_blob: StoreBlob) -> str:
    if len(text) <= limit:
        return text
    digest = store_blob(text.encode(errors="surrogatepass"))
    return f"{text[:limit]}\n[cut: {len(text)} characters in all, kept as blob {digest[:12]}]"
