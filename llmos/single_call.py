"""Runs one call of a tool as the kernel would, without a kernel.

Keeps nothing: of an output that is cut, the rest cannot be read.
"""

from __future__ import annotations

import hashlib

from llmos_kernel.abi import CallContext, Driver, JsonObject, ToolCall, ToolResult
from llmos_kernel.dispatch import Dispatcher
from llmos_kernel.errors import RetryCall
from llmos_kernel.syscalls import OwnedDriver, SyscallTable


async def run_call(driver: Driver, arguments: JsonObject, context: CallContext) -> ToolResult:
    """Check the arguments against the schema, and run the call within the tool's limits.

    Raises:
        ConfigError: the schema is not valid.
    """
    table = SyscallTable([OwnedDriver(driver, "the plugin")])
    call = ToolCall("call", driver.spec.name, arguments)
    try:
        table.check(call.name, arguments)
    except RetryCall as error:
        return ToolResult(call.id, "retry", f"error: {error}")
    dispatcher = Dispatcher(table.specs, lambda data: hashlib.sha256(data).hexdigest())
    return await dispatcher.run(driver, call, context, lambda: None)
