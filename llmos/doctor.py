"""`llmos doctor`: what is installed, what is missing, and the one command that mends it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points

from llmos.boot import installed_tools, journal_path, load_model
from llmos.config import home_path, load_settings
from llmos.model_host import ModelHost
from llmos_kernel.errors import LlmosError
from llmos_kernel.journal import Journal
from llmos_kernel.syscalls import SyscallTable

PROBES = "llmos.doctor"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is empty where nothing is to be done."""

    what: str
    is_ok: bool
    detail: str
    remedy: str = ""


def run_doctor(*, as_json: bool) -> int:
    """Print the findings; return 0 where all is well, else 1."""
    findings = list(examine())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{'ok' if finding.is_ok else 'MISSING':8} {finding.what:14} {finding.detail}")
            if finding.remedy:
                print(f"{'':8} {'':14} -> {finding.remedy}")
    return 0 if all(finding.is_ok for finding in findings) else 1


def examine() -> Iterator[Finding]:
    """Look at Python, the state folder, the settings, the model, the tools and what they need."""
    yield Finding("python", True, sys.version.split()[0])
    yield _tried("settings", lambda: str(load_settings().model.path))
    yield _tried("state", _state)
    yield _tried("model", _model)
    reports: list[str] = []
    yield _tried("tools", lambda: _tools(reports))
    for line in reports:
        yield Finding("plugin", False, line, "install what it lacks, or uninstall it")
    for entry in sorted(entry_points(group=PROBES), key=lambda entry: entry.name):
        yield _probed(entry)


def _tried(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except LlmosError as error:
        problem, _, remedy = str(error).partition("; ")
        return Finding(what, False, problem, remedy)


def _state() -> str:
    path = journal_path(home_path())
    Journal(path).close()
    return str(path.parent)


def _model() -> str:
    renderer, engine = load_model(load_settings())
    engine.close()
    return f"dialect {renderer.dialect.name}, context of {engine.context_length} tokens"


def _tools(reports: list[str]) -> str:
    settings = load_settings()
    models = ModelHost(settings.models)
    found = asyncio.run(installed_tools(settings, models, home=home_path(), report=reports.append))
    return ", ".join(spec.name for spec in SyscallTable(found).specs)


def _probed(entry: EntryPoint) -> Finding:
    """Ask a plugin's probe: a function that returns None, or its problem with the remedy."""
    try:
        problem = entry.load()()
    except Exception as error:  # a plugin's probe may fail in any way
        problem = f"the probe broke: {error}"
    if problem is None:
        return Finding(entry.name, True, "ready")
    text, _, remedy = str(problem).partition("; ")
    return Finding(entry.name, False, text, remedy)
