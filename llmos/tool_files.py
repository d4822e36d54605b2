"""Reads tool schemas in the OpenAI form; such tools can be described to a model, never run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from llmos_kernel.abi import CallContext, JsonObject, Output, ToolSpec
from llmos_kernel.errors import ConfigError, ToolFailed
from llmos_kernel.syscalls import OwnedDriver


class FunctionSchema(BaseModel):
    """The inner object of an OpenAI tool."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}


class OpenAITool(BaseModel):
    """`{"type": "function", "function": {...}}`."""

    function: FunctionSchema


class DescribedTool:
    """A tool that is known by its schema only."""

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        """Refuse: there is nothing to run."""
        raise ToolFailed(f"{self.spec.name} is only described, it cannot be run")

    async def close(self) -> None:
        """Hold nothing, so give nothing back."""


def described_tools(schemas: Sequence[Any], owner: str) -> list[OwnedDriver]:
    """Return tools for a list of schemas, in the OpenAI form or its inner object.

    Raises:
        ConfigError: an entry is neither.
    """
    form = TypeAdapter[list[OpenAITool | FunctionSchema]](list[OpenAITool | FunctionSchema])
    try:
        entries = form.validate_python(list(schemas))
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(
            f"{owner}: entry {problem['loc'][0]} is no tool: {problem['msg']}"
        ) from error
    functions = [e.function if isinstance(e, OpenAITool) else e for e in entries]
    specs = [ToolSpec(f.name, f.description, f.parameters) for f in functions]
    return [OwnedDriver(DescribedTool(spec), owner) for spec in specs]


def read_tool_file(path: Path) -> list[OwnedDriver]:
    """Read a JSON file that holds one list of tools.

    Raises:
        ConfigError: it is missing or not such a list.
    """
    try:
        schemas = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the tools in {str(path)!r}: {error}") from error
    if not isinstance(schemas, list):
        raise ConfigError(f"{str(path)!r} holds no list of tools")
    return described_tools(schemas, f"the file {path.name!r}")  # pyright: ignore
