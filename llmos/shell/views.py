"""Prints views: processes, traces, tools, the model, settings. Reads only."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from llmos.boot import journal_path, load_model, model_folder
from llmos.config import explained_settings, home_path, load_settings
from llmos.plugins import discover_tools
from llmos.shell.progress import console as stderr_console
from llmos.shell.progress import working
from llmos.shell.screen import printable
from llmos_kernel.journal import Journal, ProcessRecord
from llmos_kernel.syscalls import SyscallTable

console = Console(highlight=False)


def print_processes(*, show_all: bool, as_json: bool) -> None:
    """Print the processes of the journal; without `show_all` those that have not ended."""
    journal = Journal(journal_path(home_path()))
    records = [r for r in journal.processes() if show_all or r.state != "ZOMBIE"]
    journal.close()
    if as_json:
        print(json.dumps([_process_json(record) for record in records], ensure_ascii=False))
        return
    table = Table("pid", "state", "started", "task", box=None, pad_edge=False)
    for record in records:
        task = " ".join(printable(record.task).split())
        table.add_row(str(record.pid), _state(record), _moment(record.time), task[:60])
    console.print(table)


def _state(record: ProcessRecord) -> str:
    """Return the state to show; a process whose kernel is gone cannot run on by itself."""
    if record.state == "ZOMBIE":
        return record.exit_status or "ended"
    return record.state if record.is_kernel_alive else f"{record.state} (kernel died)"


def _process_json(record: ProcessRecord) -> dict[str, Any]:
    return {
        "pid": record.pid,
        "state": record.state,
        "exit": record.exit_status,
        "is_kernel_alive": record.is_kernel_alive,
        "model": record.model,
        "task": record.task,
        "time": record.time,
    }


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M:%S")


def print_trace(pid: int, *, as_json: bool) -> None:
    """Print a process's events in order.

    Raises:
        StateError: there is no such process.
    """
    journal = Journal(journal_path(home_path()))
    for event in journal.events(pid):
        if as_json:
            print(json.dumps(event.as_json(), ensure_ascii=False))
        else:
            body = json.dumps(event.body, ensure_ascii=False)
            print(f"{_moment(event.time)} {event.seq:4} {event.kind:12} {printable(body)}")
    journal.close()


def print_tools(*, as_json: bool) -> None:
    """Print the installed tools and where each comes from."""
    settings = load_settings()
    table = SyscallTable(
        discover_tools(disabled=settings.tools.disabled, report=stderr_console.print)
    )
    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "description": spec.description,
            "effects": sorted(effect.value for effect in spec.effects),
            "owner": table.owner(spec.name),
            "parameters": dict(spec.parameters),
        }
        for spec in table.specs
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    shown = Table("tool", "does", "effects", "from", box=None, pad_edge=False)
    for row in rows:
        effects = ", ".join(row["effects"]) or "none"
        shown.add_row(row["name"], row["description"], effects, row["owner"])
    console.print(shown)


def print_model(flags: dict[str, Any], *, as_json: bool) -> None:
    """Load the configured model and print what it turned out to be.

    Raises:
        ModelError: it cannot be loaded.
    """
    settings = load_settings(**flags)
    with working("Loading the model"):
        renderer, engine = load_model(settings)
    figures = {
        "model": settings.model.path,
        "folder": str(model_folder(settings.model.path)),
        "dialect": renderer.dialect.name,
        "context_length": engine.context_length,
    }
    engine.close()
    _print_pairs(figures, as_json=as_json)


def print_settings(*, as_json: bool) -> None:
    """Print every setting with its value and its source."""
    rows = list(explained_settings(load_settings()))
    if as_json:
        print(json.dumps({name: {"value": v, "from": source} for name, v, source in rows}))
        return
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for name, value, source in rows:
        table.add_row(name, json.dumps(value), source)
    console.print(table)


def _print_pairs(figures: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:16} {value}")
