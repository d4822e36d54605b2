"""What a plugin imports: `tool`, the errors it raises and the values it returns.

    @tool
    def weather(city: str) -> str:
        "Current weather in a city."
        return lookup(city)

Knows neither the kernel's state nor any model. Imports no torch.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Annotated, Any, TypeAlias, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from llmos.outputs import Media, as_output
from llmos_kernel.abi import (
    ALL_EFFECTS,
    CallContext,
    Driver,
    Effect,
    JsonObject,
    Label,
    Output,
    ToolSpec,
)
from llmos_kernel.errors import ConfigError, RetryCall, ToolFailed
from llmos_kernel.grounding import KEYWORD

__all__ = [
    "CallContext",
    "Effect",
    "FunctionTool",
    "Grounded",
    "Label",
    "Media",
    "Output",
    "RetryCall",
    "ToolFailed",
    "tool",
    "tools_in",
    "tools_of",
]

Function = Callable[..., Any]

# A text that a tool takes only as a span of what the process has seen, words as they stand there.
Grounded: TypeAlias = Annotated[str, Field(json_schema_extra={KEYWORD: True})]


class ToolBusy(ToolFailed):
    """A plain function is still at work on a call that was given up."""


class FunctionTool:
    """A function as a tool. Calling it calls the function, so that it is tested as one.

    A coroutine function runs in the kernel's event loop and is cancelled at its time limit. Any
    other function runs in a thread of its own; Python cannot end a thread, so at the time limit
    the call is given up and further calls are refused until the function returns.
    """

    def __init__(self, function: Function, spec: ToolSpec, arguments: type[BaseModel]) -> None:
        self._function = function
        self._arguments = arguments
        self._context_name = _context_parameter(function)
        # Threads whose callers have gone; calls that run as they should are not among them.
        self._given_up: set[threading.Thread] = set()
        self.spec = spec
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__name__ = spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __get__(self, owner: Any, owner_type: type | None = None) -> FunctionTool:
        """Bind the tool to an object, as a method is bound."""
        if owner is None:
            return self
        return FunctionTool(self._function.__get__(owner), self.spec, self._arguments)

    def with_effects(self, effects: Collection[Effect]) -> FunctionTool:
        """Return this tool with other effects: for one that reaches less on some machines."""
        spec = replace(self.spec, effects=frozenset(effects))
        return FunctionTool(self._function, spec, self._arguments)

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        """Run one call; see `llmos_kernel.abi.Driver`."""
        try:
            values = self._arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise RetryCall(_first_problem(error)) from error
        keywords = {name: getattr(values, name) for name in type(values).model_fields}
        if self._context_name is not None:
            keywords[self._context_name] = context
        if inspect.iscoroutinefunction(self._function):
            return as_output(await self._function(**keywords), context)
        return await self._call_in_thread(lambda: as_output(self._function(**keywords), context))

    async def _call_in_thread(self, work: Callable[[], Output]) -> Output:
        self._given_up = {thread for thread in self._given_up if thread.is_alive()}
        if self._given_up:
            raise ToolBusy(f"{self.spec.name} is still busy with a call that was given up")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Output] = loop.create_future()

        def settle(outcome: Callable[[], Any]) -> None:
            if not future.done():
                outcome()

        def run() -> None:
            try:
                outcome = partial(future.set_result, work())
            except BaseException as error:  # the thread's boundary: the caller gets the error
                outcome = partial(future.set_exception, error)
            try:
                loop.call_soon_threadsafe(settle, outcome)
            except RuntimeError:  # the loop has closed: nobody waits any more
                return

        thread = threading.Thread(target=run, name=self.spec.name, daemon=True)
        thread.start()
        try:
            return await future
        except asyncio.CancelledError:
            self._given_up.add(thread)
            raise

    async def close(self) -> None:
        """Hold nothing, so give nothing back."""


@overload
def tool(function: Function, /) -> FunctionTool: ...
@overload
def tool(
    *,
    name: str | None = None,
    effects: Collection[Effect | str] = ALL_EFFECTS,
    is_repeatable: bool = False,
    timeout_s: float = 30.0,
    max_output_chars: int = 4000,
    max_concurrent: int | None = 1,
    keywords: Collection[str] = (),
) -> Callable[[Function], FunctionTool]: ...
def tool(function: Function | None = None, /, **options: Any) -> Any:
    """Make a tool of a function with type hints and a docstring.

    The schema comes from the hints; the description is the docstring's first paragraph, an
    argument's is its line under `Args:`. A parameter annotated `CallContext` is filled in by the
    kernel and hidden from the model. What is not declared is taken at its strictest: all effects,
    not repeatable, one call at a time (`max_concurrent=None`: any number). `keywords` are other
    words by which people ask for it, where it is one of many.

    Raises:
        ConfigError: the function has no docstring, or a parameter without a type hint, or an
            option is out of range.
    """
    if function is None:
        return partial(tool_of, **options)
    return tool_of(function)


def tool_of(function: Function, *, name: str | None = None, **options: Any) -> FunctionTool:
    """Do what `tool` does, as a plain call."""
    label = name or function.__name__
    doc = inspect.getdoc(function)
    if not doc:
        raise ConfigError(f"the tool {label!r} needs a docstring: the model reads it")
    description, about = _read_docstring(doc)
    arguments = _arguments_model(function, label, about)
    options = {"max_concurrent": 1, **options}
    if "effects" in options:
        options["effects"] = _effects(options["effects"], label)
    options["keywords"] = _keywords(options.get("keywords", ()), label)
    spec = ToolSpec(label, description, _plain_schema(arguments), **options)
    _check(spec)
    return FunctionTool(function, spec, arguments)


class _BoundTool:
    """A tool method of an object that holds something: opened before its first call."""

    def __init__(self, tool: FunctionTool, holder: _Holder) -> None:
        self.spec = tool.spec
        self._tool = tool
        self._holder = holder

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        await self._holder.open()
        return await self._tool.call(arguments, context)

    async def close(self) -> None:
        await self._holder.close()


class _Holder:
    """Opens an object once, before the first call of any of its tools, and closes it once."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._lock = asyncio.Lock()
        self._is_open = False

    async def open(self) -> None:
        async with self._lock:
            if not self._is_open and hasattr(self._owner, "open"):
                await self._owner.open()
            self._is_open = True

    async def close(self) -> None:
        async with self._lock:
            if self._is_open and hasattr(self._owner, "close"):
                await self._owner.close()
            self._is_open = False


def tools_of(plugin: Any, provided: Collection[object] = ()) -> list[Driver]:
    """Return the tools of a plugin: a tool, a plain function, or a class with tool methods.

    A class's constructor gets what it asks for by a type hint out of `provided`: its settings, a
    model of the entry-point group `llmos.settings`, and the `llmos.model_host.ModelHost`.

    Raises:
        ConfigError: it is none of these, or a class without tools.
    """
    if isinstance(plugin, FunctionTool | _BoundTool):
        return [plugin]
    if isinstance(plugin, type):
        methods = _tool_names(plugin)
        if not methods:
            raise ConfigError(f"the class {plugin.__name__!r} has no method marked @tool")
        owner = plugin(**_asked_for(plugin, provided))
        holder = _Holder(owner)
        return [_BoundTool(getattr(owner, name), holder) for name in methods]
    if inspect.isroutine(plugin):
        return [tool_of(plugin)]
    raise ConfigError(f"{plugin!r} is not a tool: give a function with type hints and a docstring")


def tools_in(module: ModuleType) -> list[Driver]:
    """Return the tools that a module defines, in order: those marked @tool, and classes of such.

    Raises:
        ConfigError: it has none.
    """
    plugins = [
        value
        for value in vars(module).values()
        if getattr(value, "__module__", None) == module.__name__
        and (isinstance(value, FunctionTool) or (isinstance(value, type) and _tool_names(value)))
    ]
    if not plugins:
        raise ConfigError("it has no function that is marked @tool")
    return [driver for plugin in plugins for driver in tools_of(plugin)]


def _tool_names(owner: type) -> list[str]:
    return [name for name, value in vars(owner).items() if isinstance(value, FunctionTool)]


def _effects(effects: Collection[Effect | str], label: str) -> frozenset[Effect]:
    known = ", ".join(effect.value for effect in Effect)
    if isinstance(effects, str):
        raise ConfigError(f"the tool {label!r}: give effects as a set: {{{effects!r}}}")
    try:
        return frozenset(map(Effect, effects))
    except ValueError as error:
        raise ConfigError(f"the tool {label!r}: {error}; the effects are {known}") from error


def _keywords(keywords: Collection[object], label: str) -> tuple[str, ...]:
    """Return the keywords in their order; a lone string would be taken for its letters.

    Raises:
        ConfigError: they are no collection of strings.
    """
    words = tuple(word for word in keywords if isinstance(word, str))
    if isinstance(keywords, str) or len(words) < len(keywords):
        raise ConfigError(f"the tool {label!r}: keywords are a list of words, not {keywords!r}")
    return words


def _check(spec: ToolSpec) -> None:
    """Refuse what no model could call and what would never end.

    Raises:
        ConfigError: the name is no identifier, or a limit is not above zero.
    """
    if not (spec.name.isidentifier() and spec.name.isascii() and len(spec.name) <= 64):
        raise ConfigError(f"{spec.name!r} is no name for a tool: use letters, digits and _")
    for option in ("timeout_s", "max_output_chars", "max_concurrent"):
        value = getattr(spec, option)
        if value is not None and value <= 0:
            raise ConfigError(f"the tool {spec.name!r}: {option} is {value!r}; it must be above 0")


def _asked_for(plugin: type, provided: Collection[object]) -> dict[str, object]:
    hints = inspect.get_annotations(plugin.__init__, eval_str=True)
    return {
        name: value for name, hint in hints.items() for value in provided if type(value) is hint
    }


def _context_parameter(function: Function) -> str | None:
    for name, annotation in inspect.get_annotations(function, eval_str=True).items():
        if annotation is CallContext:
            return name
    return None


def _arguments_model(function: Function, label: str, about: dict[str, str]) -> type[BaseModel]:
    hints = inspect.get_annotations(function, eval_str=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or hints.get(name) is CallContext:
            continue
        if name not in hints:
            raise ConfigError(f"the tool {label!r} needs a type hint for its parameter {name!r}")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints[name], Field(default, description=about.get(name)))
    return create_model(label, __config__=ConfigDict(extra="forbid"), **fields)


def _plain_schema(arguments: type[BaseModel]) -> dict[str, Any]:
    """Return the model's JSON schema without titles; `X | None = None` is an optional X."""
    schema = arguments.model_json_schema()
    properties: dict[str, Any] = {}
    for name, full in schema.get("properties", {}).items():
        branches = [b for b in full.get("anyOf", []) if b != {"type": "null"}]
        is_optional = len(branches) == 1 and full.get("default", 0) is None
        value = {**branches[0], "description": full.get("description")} if is_optional else full
        properties[name] = {k: v for k, v in value.items() if k != "title" and v is not None}
    plain = {
        "type": "object",
        "properties": properties,
        "required": schema.get("required", []),
        "additionalProperties": False,
    }
    return {**plain, "$defs": schema["$defs"]} if "$defs" in schema else plain


def _read_docstring(doc: str) -> tuple[str, dict[str, str]]:
    """Return the first paragraph, and the descriptions under `Args:` (Google style)."""
    head, _, tail = doc.partition("\nArgs:\n")
    description = " ".join(head.split("\n\n")[0].split())
    about: dict[str, str] = {}
    for line in tail.splitlines():
        name, colon, text = line.strip().partition(":")
        if not colon or not line.startswith(" "):
            break
        about[name] = text.strip()
    return description, about


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the arguments"
    return f"{place}: {problem['msg']}"
