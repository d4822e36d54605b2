"""How the benchmarks measure: interleaved rounds, ratios within a round, a table and a plot.

Knows no model and no engine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

NUM_ROUNDS = 5
REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "docs" / "benchmarks"
OURS = "llmos"
PACKAGES = ("torch", "transformers", "llama-cpp-python")
MAX_COLUMNS = 4

# Measures once, in the round of this index, and returns its figures by the variants' names.
Variant = Callable[[int], Awaitable[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the range that it comes from."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{_digits(self.median)} ({_digits(self.low)} to {_digits(self.high)})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity of several variants, the smaller the better; a dictionary for each round."""

    title: str
    unit: str
    rounds: Sequence[Mapping[str, float]]

    def values(self) -> dict[str, Spread]:
        return {name: Spread.of([each[name] for each in self.rounds]) for name in self.rounds[0]}

    def ratios(self) -> dict[str, Spread]:
        """Return what each other variant takes for what `OURS` takes in the same round.

        Empty where `OURS` is not among the variants: the quantities are then of llmos alone.
        """
        if OURS not in self.rounds[0]:
            return {}
        return {
            name: Spread.of([each[name] / each[OURS] for each in self.rounds])
            for name in self.rounds[0]
            if name != OURS
        }


async def measure_rounds(variants: Sequence[Variant]) -> list[dict[str, float]]:
    """Run every variant once in each round; each round begins with another one."""
    rounds: list[dict[str, float]] = []
    for index in range(NUM_ROUNDS):
        start = index % len(variants)
        measured: dict[str, float] = {}
        for variant in (*variants[start:], *variants[:start]):
            measured |= await variant(index)
        rounds.append(measured)
    return [{name: each[name] for name in rounds[0]} for each in rounds]


def check_equal(outputs: Mapping[str, object], reference: object) -> None:
    """Refuse to time variants that do not say what the reference says.

    Raises:
        RuntimeError: an output differs.
    """
    wrong = [name for name, output in outputs.items() if output != reference]
    if wrong:
        raise RuntimeError(
            f"{', '.join(wrong)}: the greedy float32 output differs from transformers' generate; "
            "mend the variant before timing it"
        )


def environment() -> dict[str, str]:
    """Return what a figure depends on: processor, versions, commit, and the load at the start."""
    return {
        "processor": _processor(),
        **{name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "load average": f"{os.getloadavg()[0]:.2f}",
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    details = dict(line.split("\t:")[:2] for line in lines if "\t:" in line)
    fields = {key.strip(): value.strip() for key, value in details.items()}
    return f"{fields['model name']}, family {fields['cpu family']}, model {fields['model']}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()


def save(
    part: str,
    method: str,
    comparisons: Sequence[Comparison],
    setting: Mapping[str, str],
    *,
    appendix: str = "",
    folder: Path = RESULTS,
) -> None:
    """Write a part's table with an appendix, its plot and raw rounds, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"# {part.capitalize()}", "", " ".join(method.split()), "", *table(comparisons), ""]
    lines += [appendix, ""] if appendix else []
    print("\n".join(lines), flush=True)
    lines += [f"![{part}]({part}.png)", "", *(f"- {k}: {v}" for k, v in setting.items()), ""]
    (folder / f"{part}.md").write_text("\n".join(lines))
    raw = {"setting": dict(setting), "comparisons": [asdict(each) for each in comparisons]}
    (folder / f"{part}.json").write_text(json.dumps(raw, indent=1) + "\n")
    plot(comparisons, folder / f"{part}.png")


def table(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the lines of a Markdown table: medians with their ranges."""
    lines = ["| | variant | measured | times llmos |", "|---|---|---|---|"]
    for comparison in comparisons:
        ratios = comparison.ratios()
        for name, value in comparison.values().items():
            ratio = ratios.get(name, "")
            lines.append(f"| {comparison.title} | {name} | {value} {comparison.unit} | {ratio} |")
    return lines


def plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw a panel for each comparison: a bar for each variant, a whisker for its range."""
    num_columns = min(len(comparisons), MAX_COLUMNS)
    num_rows = -(-len(comparisons) // num_columns)
    figure = Figure(figsize=(4.2 * num_columns, 2.8 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flat
    for panel, comparison in zip(panels, comparisons, strict=False):
        values = comparison.values()
        medians = [value.median for value in values.values()]
        below = [value.median - value.low for value in values.values()]
        above = [value.high - value.median for value in values.values()]
        colours = ["tab:orange" if name == OURS else "tab:gray" for name in values]
        panel.barh(list(values), medians, xerr=[below, above], color=colours, capsize=3)
        panel.invert_yaxis()
        panel.set_title(comparison.title)
        panel.set_xlabel(comparison.unit)
    for panel in list(figure.axes)[len(comparisons) :]:
        panel.set_axis_off()
    figure.savefig(path, dpi=110)
