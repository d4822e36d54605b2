"""`llmos run`: one task from the command line, from its words to its exit status."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos.boot import BootOptions, record_failed_start, workspace_path
from llmos.cli import DONE, INTERRUPTED
from llmos.config import home_path, load_settings
from llmos.shell.approval import ask_on_terminal
from llmos.shell.screen import Screen
from llmos.shell.starting import report, started
from llmos.tool_files import read_tool_file
from llmos_kernel.errors import ConfigError, LlmosError, StateError
from llmos_kernel.journal import JournalEvent
from llmos_kernel.kernel import Kernel, ignore
from llmos_kernel.policy import Approver, approve_all, deny_all
from llmos_kernel.process import ExitStatus

EVENTS = frozenset({"tool_call", "tool_result", "malformed", "answer", "error"})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags of `llmos run`."""

    attach: tuple[Path, ...]
    as_json: bool
    dry_run: bool
    tools: Path | None
    yes: bool
    deny: bool


def run_task(task: str, options: RunOptions, flags: dict[str, Any]) -> int:
    """Run one task and return the exit status.

    Raises:
        LlmosError: it could not start, or failed; the message says what to do.
    """
    _check(task, options)
    message = task + _input_from(sys.stdin) + _attached(options.attach)
    return asyncio.run(_run(message, options, flags))


def _check(task: str, options: RunOptions) -> None:
    if not task.strip():
        raise ConfigError('the task is empty; say what is to be done: llmos run "What is 2 + 2?"')
    if options.tools is not None and not options.dry_run:
        raise ConfigError("--tools only describes tools, so it needs --dry-run")
    if options.yes and options.deny:
        raise ConfigError("give either --yes or --deny, not both")


def _input_from(stream: Any) -> str:
    """Return what is piped in, as part of the message."""
    if stream is None or stream.isatty():
        return ""
    try:
        text = stream.read().strip()
    except UnicodeDecodeError as error:
        raise ConfigError("stdin is not text; give a file with --attach") from error
    return f"\n\n{text}" if text else ""


def _attached(paths: Sequence[Path]) -> str:
    """Copy files into the workspace; return the lines that name them there.

    Raises:
        ConfigError: a file is missing, or the workspace has another file of its name.
    """
    lines: list[str] = []
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"there is no file {str(path)!r} to attach")
        target = workspace_path(home_path()) / path.name
        if target.exists() and target.read_bytes() != path.read_bytes():
            raise ConfigError(
                f"the workspace already has another file {path.name!r}; rename one of them"
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        except OSError as error:
            raise StateError(f"cannot copy {str(path)!r} into the workspace: {error}") from error
        lines.append(f"Attached file: {path.name}")
    return "\n\n" + "\n".join(lines) if lines else ""


async def _run(message: str, options: RunOptions, flags: dict[str, Any]) -> int:
    settings = load_settings(**flags)
    screen = Screen()
    boot_options = BootOptions(
        tools=read_tool_file(options.tools) if options.tools else (),
        is_dry_run=options.dry_run,
        approve=_approver(options),
        on_event=_print_json if options.as_json else screen.show_step,
        on_text=ignore if options.as_json else screen.show_text,
        report=report,
    )
    async with AsyncExitStack() as stack:
        try:
            kernel = await stack.enter_async_context(started(settings, boot_options))
        except LlmosError as error:
            record_failed_start(boot_options.home, message, settings, error)
            raise
        return await _one_turn(kernel, message, None if options.as_json else screen)


async def _one_turn(kernel: Kernel, message: str, screen: Screen | None) -> int:
    process = kernel.start(message)
    work = asyncio.ensure_future(kernel.turn(process, message))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        answer = await work
    except asyncio.CancelledError:
        kernel.finish(process, ExitStatus.INTERRUPTED)
        return INTERRUPTED
    except LlmosError:
        kernel.finish(process, ExitStatus.FAILED)
        raise
    kernel.finish(process, ExitStatus.DONE)
    if screen is not None:
        screen.show_answer(answer)
    return DONE


def _approver(options: RunOptions) -> Approver:
    if options.yes:
        return approve_all
    if options.deny or not sys.stdin.isatty():
        return deny_all
    return ask_on_terminal


def _print_json(event: JournalEvent) -> None:
    if event.kind in EVENTS:
        print(json.dumps(event.as_json(), ensure_ascii=False), flush=True)
