"""Tools: how long each takes to start, a call of it takes, and its limits."""

from __future__ import annotations

import asyncio
import functools
import http.server
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.method import Comparison, environment, measure_rounds, save
from llmos.config import load_settings
from llmos.model_host import ModelHost
from llmos.plugins import plugin_tools
from llmos_kernel.abi import CallContext, Driver, JsonObject, Label, ToolSpec

CALLS_A_ROUND = 5
PAGE = "<title>Kites</title><p>A kite flies. <a href='{}x'>More</a> <input aria-label='Name'></p>"
# In this order: later calls act on what earlier ones made. `<n>` counts the calls of a tool from 0,
# `<next>` is one more. timer only waits; listen has no model of its own yet.
CALLS: Mapping[str, JsonObject] = {
    "calculate": {"expression": "17*24"},
    "python": {"code": "print(17*24)"},
    "write_file": {"path": "a.txt", "content": "kite 0"},
    "edit_file": {"path": "a.txt", "old": "kite <n>", "new": "kite <next>"},
    "read_file": {"path": "a.txt"},
    "list_files": {},
    "find_text": {"text": "kite"},
    "restore_file": {"path": "a.txt"},
    "browse": {"url": "<url>"},
    "browse_type": {"number": 2, "text": "Ann"},
    "browse_screenshot": {},
    "look": {"image": "page.png", "question": "what colour is it?"},
    "browse_click": {"number": 1},
    "browse_back": {},
    "search": {"query": "kites"},
    "remember": {"fact": "Ann flies <n> kites"},
    "recall": {"query": "kites"},
    "forget": {"fact": "Ann flies <n> kites"},
    "draw": {"prompt": "a red house under a yellow sun"},
    "speak": {"text": "A kite flies."},
    "now": {},
    "schedule": {"task": "say hello", "when": "tomorrow at 9"},
}
METHOD = f"""
Milliseconds: the first call of a tool in a new process of llmos, with whatever it starts, and the
median of {CALLS_A_ROUND} later calls, in {{rounds}} rounds with tools made anew. The browser reads
a page of this machine; search has no network, so that it searches what was read before.
"""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.format(self.path).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: the table is what is printed."""


@contextmanager
def page_server() -> Generator[str]:
    """Serve one page on this machine; yield its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def workspace() -> Generator[Path]:
    """Lend an empty workspace in a state folder of its own."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "workspace")
        folder.mkdir()
        yield folder


def drivers(models: ModelHost) -> dict[str, Driver]:
    """Return the installed tools by name: the browser may read this machine, nothing is played."""
    settings = load_settings(browser={"allow_hosts": ["127.0.0.1"]}, speak={"play": False})
    found = plugin_tools(settings, models, print)
    return {owned.driver.spec.name: owned.driver for owned in found}


def filled(arguments: JsonObject, number: int, url: str) -> JsonObject:
    values = {"<n>": str(number), "<next>": str(number + 1), "<url>": url}
    return {
        key: functools.reduce(lambda text, slot: text.replace(*slot), values.items(), value)
        if isinstance(value, str)
        else value
        for key, value in arguments.items()
    }


async def measure_tools(url: str, folder: Path) -> dict[str, float]:
    """Return the first and the median later call of each tool, made anew.

    Raises:
        LlmosError: a call is refused or fails.
    """
    models = ModelHost()
    tools = drivers(models)
    found: dict[str, float] = {}
    context = CallContext(1, folder, home=folder.parent, label=Label.TRUSTED)
    for name, arguments in CALLS.items():
        moments = [time.perf_counter()]
        for number in range(1 + CALLS_A_ROUND):
            await tools[name].call(filled(arguments, number, url), context)
            moments.append(time.perf_counter())
        first, *later = (1000 * (b - a) for a, b in itertools.pairwise(moments))
        found |= {f"{name}, first": first, f"{name}, later": statistics.median(later)}
    for driver in tools.values():
        await driver.close()
    await models.close()
    return found


def limits_table(specs: list[ToolSpec]) -> str:
    """Return the tools' limits as a Markdown table."""
    lines = ["| tool | effects | time limit | output | repeatable |", "|---|---|---|---|---|"]
    for spec in specs:
        effects = ", ".join(sorted(spec.effects)) or "none"
        repeatable = "yes" if spec.is_repeatable else "no"
        lines.append(
            f"| `{spec.name}` | {effects} | {spec.timeout_s:,.0f} s "
            f"| {spec.max_output_chars:,} characters | {repeatable} |"
        )
    return "\n".join(lines)


def measure() -> dict[str, float]:
    """Measure this part, write its table and plot, and return the medians in milliseconds."""
    setting = environment()
    with page_server() as url:

        async def once(index: int) -> Mapping[str, float]:
            with workspace() as folder:
                return await measure_tools(url, folder)

        rounds = asyncio.run(measure_rounds([once]))
    comparisons = [
        Comparison(
            name,
            "ms",
            [{"first": each[f"{name}, first"], "later": each[f"{name}, later"]} for each in rounds],
        )
        for name in CALLS
    ]
    specs = [driver.spec for driver in drivers(ModelHost()).values()]
    method = METHOD.format(rounds=len(rounds))
    save("tools", method, comparisons, setting, appendix=limits_table(specs))
    return {
        f"tool_{kind}_ms_{each.title}": value.median
        for each in comparisons
        for kind, value in each.values().items()
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
