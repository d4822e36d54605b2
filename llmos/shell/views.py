"""Prints views: tools, the model, settings. Reads only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmos.boot import describe_model, installed_tools, load_model
from llmos.config import explained_settings, home_path, load_settings
from llmos.model_host import ModelHost
from llmos.plugin_checks import Finding
from llmos.shell.progress import console as stderr_console
from llmos.shell.progress import working
from llmos_kernel.syscalls import SyscallTable

console = Console(highlight=False)


def print_tools(*, as_json: bool) -> None:
    """Print the installed tools and where each comes from."""
    settings = load_settings()
    report = stderr_console.print
    models = ModelHost(settings.models)
    found = asyncio.run(installed_tools(settings, models, home=home_path(), report=report))
    table = SyscallTable(found)
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


def print_findings(findings: Sequence[Finding], digest: str | None, *, as_json: bool) -> None:
    """Print what was found of a plugin, and how one that ran in the sandbox comes out of it."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
        return
    shown = Table("tool", "check", "state", "detail", box=None, pad_edge=False)
    for finding in findings:
        state = "FAILED" if finding.state == "failed" else finding.state
        shown.add_row(finding.tool, finding.check, state, Text(finding.detail))
    console.print(shown)
    if digest is not None:
        console.print(f"It ran in the sandbox. Its SHA-256, for tools.trusted: {digest}")


def print_model(flags: dict[str, Any], *, as_json: bool) -> None:
    """Load the configured model and print what it turned out to be.

    Raises:
        ModelError: it cannot be loaded.
    """
    settings = load_settings(**flags)
    with working("Loading the model"):
        renderer, engine = load_model(settings)
    figures = describe_model(settings, renderer, engine)
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
