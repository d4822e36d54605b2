"""Fits how the kernel reads the model's confidence in its calls, and measures how far that holds.

    python -m benchmarks.calibration

Fits two temperatures on the sets in `--fit`, and how sure the model must be that a call is wanted;
writes them beside the checkpoint, measures on the sets in `--measure`, draws the reliability
diagram of both, and prints one JSON object of figures.
Knows how calls are judged by `llmos.evaluation` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from llmos.boot import limits_of, load_model, model_folder, tool_choice_of
from llmos.config import EMBEDDED_MODEL, load_settings
from llmos.evaluation import JudgedCall, calibration_error, evaluate, read_cases
from llmos.model_host import ModelHost
from llmos.plugins import plugin_tools
from llmos.shell.progress import console
from llmos_kernel.confidence import Calibration, Confidence, scaled

SETS = Path("tests/evaluation")
DIAGRAM = Path("docs/confidence.png")
TEMPERATURES = tuple(0.1 * 1.02**step for step in range(300))  # 0.1 to 37
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
OPENINGS = tuple(round(0.01 * step, 2) for step in range(100))
AS_GOOD = 2  # a threshold that is right in so many cases fewer than the best may be as good
NUM_BINS = (10, 15)
NUM_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model said of a call before any calibration, and how it was judged.

    `opening` is how sure it was that a call is wanted, 1 of those behind a first call; `is_wanted`:
    the request asks for some call.
    """

    log_tool: float
    log_arguments: float
    opening: float
    has_right_tool: bool
    is_right: bool
    is_wanted: bool

    @classmethod
    def of(cls, call: JudgedCall, *, is_first: bool, is_wanted: bool) -> Reading:
        said = call.confidence
        logs = math.log(said.tool), math.log(said.call / said.tool)
        opening = said.opening if is_first else 1.0
        return cls(*logs, opening, call.has_right_tool, call.is_right, is_wanted)

    def judged(self, calibration: Calibration) -> JudgedCall:
        tool = scaled(self.log_tool, calibration.tool)
        call = tool * scaled(self.log_arguments, calibration.arguments)
        return JudgedCall(Confidence(call, tool, {}), self.has_right_tool, self.is_right)


def main() -> None:
    arguments = _arguments()
    folder = model_folder(arguments.model)
    fitted_on = [read(path, arguments.model) for path in arguments.fit]
    calibration = fit([reading for readings in fitted_on for reading in readings])
    calibration.save(folder)
    measured = [read(path, arguments.model) for path in arguments.measure]
    sets = dict(zip([*arguments.fit, *arguments.measure], [*fitted_on, *measured], strict=True))
    judged = {
        path.stem: [reading.judged(calibration) for reading in readings]
        for path, readings in sets.items()
    }
    draw(judged, arguments.diagram)
    figures = {
        path.stem: {**figures_of(judged[path.stem]), "words": words(readings, calibration.opening)}
        for path, readings in sets.items()
    }
    print(json.dumps({**asdict(calibration), "sets": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fit_on = [SETS / f"{name}.jsonl" for name in ("core", "core_2", "core_4")]
    measure_on = [SETS / "core_3.jsonl", SETS / "unseen.jsonl"]
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="'embedded' or a folder")
    parser.add_argument("--fit", type=Path, nargs="+", default=fit_on)
    parser.add_argument("--measure", type=Path, nargs="+", default=measure_on)
    parser.add_argument("--diagram", type=Path, default=DIAGRAM)
    return parser.parse_args()


def read(path: Path, model: str) -> list[Reading]:
    """Run an evaluation file and return its calls with what the model said of them itself."""
    settings = load_settings(model={"path": model})
    renderer, engine = load_model(settings)
    drivers = plugin_tools(settings, ModelHost(settings.models), console.print)
    limits, choice = limits_of(settings), tool_choice_of(settings)
    work = evaluate(read_cases(path), renderer, engine, drivers, limits, choice, Calibration())
    try:
        verdicts = asyncio.run(work)
    finally:
        engine.close()
    return [
        Reading.of(call, is_first=not i, is_wanted=any("name" in e for e in verdict.case.expect))
        for verdict in verdicts
        for i, call in enumerate(verdict.judged)
    ]


def fit(readings: Sequence[Reading]) -> Calibration:
    """Return the temperatures under which what was said was likeliest to come out as it did.

    That of the arguments is fitted where the tool is right: it says how sure they are, if so.
    """
    tool = _best([(r.log_tool, r.has_right_tool) for r in readings])
    arguments = _best([(r.log_arguments, r.is_right) for r in readings if r.has_right_tool])
    return Calibration(round(tool, 3), round(arguments, 3), opening_of(readings))


def opening_of(readings: Sequence[Reading]) -> float:
    """Return how sure the model must be for a call: with it most requests come out right.

    Single requests decide between the best thresholds: the least of those that are about as good,
    since a call that is refused is worse than one too many. 0 where no threshold is better.
    """
    helped = [
        sum(not r.is_wanted for r in given_up) - sum(r.is_right for r in given_up)
        for given_up in ([r for r in readings if r.opening < each] for each in OPENINGS)
    ]
    least = max(1, max(helped) - AS_GOOD)
    good = (o for o, count in zip(OPENINGS, helped, strict=True) if count >= least)
    return next(good, 0.0)


def words(readings: Sequence[Reading], opening: float) -> dict[str, int]:
    """Return how many calls are given up for words; of them, the unwanted and the right ones."""
    given_up = [r for r in readings if r.opening < opening]
    return {
        "instead_of_calls": len(given_up),
        "unwanted": sum(not r.is_wanted for r in given_up),
        "right": sum(r.is_right for r in given_up),
    }


def _best(outcomes: Sequence[tuple[float, bool]]) -> float:
    def loss(temperature: float) -> float:
        shares = ((scaled(log, temperature), is_right) for log, is_right in outcomes)
        return -sum(math.log(max(p if is_right else 1 - p, 1e-12)) for p, is_right in shares)

    return min(TEMPERATURES, key=loss)


def figures_of(calls: Sequence[JudgedCall]) -> dict[str, Any]:
    """Return how far confidence is from how often calls are right, and what asking would bring."""
    confidences = [call.confidence.call for call in calls]
    tools = [
        JudgedCall(
            Confidence(c.confidence.tool, c.confidence.tool, {}), c.has_right_tool, c.has_right_tool
        )
        for c in calls
    ]
    return {
        "calls": len(calls),
        "right": sum(call.is_right for call in calls),
        "mean_confidence": round(sum(confidences) / len(calls), 4),
        "ece": {num: calibration_error(calls, num_bins=num) for num in NUM_BINS},
        "ece_by_chance": _by_chance(confidences),
        "tool_ece": calibration_error(tools),
        "asked": {threshold: _asked(calls, threshold) for threshold in THRESHOLDS},
    }


def _by_chance(confidences: Sequence[float]) -> float:
    """Return the mean error of as many calls, were each right just as often as it is sure to be."""
    rng = random.Random(1)
    errors = [
        calibration_error(
            [JudgedCall(Confidence(p, p, {}), True, rng.random() < p) for p in confidences]
        )
        for _ in range(NUM_DRAWS)
    ]
    return round(sum(error or 0.0 for error in errors) / NUM_DRAWS, 4)


def _asked(calls: Sequence[JudgedCall], threshold: float) -> dict[str, int]:
    """Return how many calls would be asked for, and how many calls are right among which."""
    asked = [call for call in calls if call.confidence.call < threshold]
    made = [call for call in calls if call.confidence.call >= threshold]
    return {
        "asked": len(asked),
        "of_them_wrong": sum(not call.is_right for call in asked),
        "made": len(made),
        "of_them_right": sum(call.is_right for call in made),
    }


def draw(judged: dict[str, list[JudgedCall]], path: Path) -> None:
    """Draw how often calls are right against how sure the model is of them, in ten bins."""
    figure = Figure(figsize=(2.6 * len(judged), 3.0), layout="constrained")
    for place, (name, calls) in enumerate(judged.items(), 1):
        axes = figure.add_subplot(1, len(judged), place)
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        for bin_ in range(10):
            inside = [c for c in calls if min(int(c.confidence.call * 10), 9) == bin_]
            if inside:
                share = sum(call.is_right for call in inside) / len(inside)
                axes.bar(bin_ / 10 + 0.05, share, width=0.09, color="tab:blue", alpha=0.7)
                axes.annotate(str(len(inside)), (bin_ / 10 + 0.05, share), ha="center", fontsize=7)
        axes.set(title=name, xlabel="how sure", xlim=(0, 1), ylim=(0, 1.08))
    figure.axes[0].set_ylabel("share right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
