"""`llmos run`: one task from the command line, from its words to its process."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos.boot import record_failed_start, workspace_path
from llmos.config import home_path, load_settings
from llmos.shell.foreground import ForegroundOptions, run_in_foreground
from llmos.tool_files import read_tool_file
from llmos_kernel.errors import ConfigError, StateError
from llmos_kernel.process import Budget, check_nice


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags of `llmos run`."""

    attach: tuple[Path, ...]
    dry_run: bool
    tools: Path | None
    nice: int
    budget: Budget


def run_task(
    task: str, options: RunOptions, shown: ForegroundOptions, flags: dict[str, Any]
) -> int:
    """Run one task and return the exit status.

    Raises:
        LlmosError: it could not start, or failed; the message says what to do.
    """
    _check(task, options)
    shown.check()
    message = task + _input_from(sys.stdin) + _attached(options.attach)
    settings = load_settings(**flags)
    work = run_in_foreground(
        lambda kernel: kernel.spawn(
            message, nice=options.nice, budget=options.budget, is_interactive=True
        ),
        settings,
        shown,
        tools=read_tool_file(options.tools) if options.tools else (),
        is_dry_run=options.dry_run,
        on_failed_start=lambda error: record_failed_start(home_path(), message, settings, error),
    )
    return asyncio.run(work)


def _check(task: str, options: RunOptions) -> None:
    if not task.strip():
        raise ConfigError('the task is empty; say what is to be done: llmos run "What is 2 + 2?"')
    if options.tools is not None and not options.dry_run:
        raise ConfigError("--tools only describes tools, so it needs --dry-run")
    check_nice(options.nice)


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
