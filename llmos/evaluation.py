"""`llmos eval`: runs an evaluation file against the model, without running the tools it calls.

The installed `calculate` tool serves as the judge of expressions. Knows no training data.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.progress import track

from llmos.boot import calibration_of, limits_of, load_model, tool_choice_of
from llmos.config import load_settings
from llmos.model_host import ModelHost
from llmos.plugins import plugin_tools
from llmos.shell.progress import console, working
from llmos.tool_files import described_tools, read_tool_file
from llmos_kernel.abi import CallContext, Driver
from llmos_kernel.confidence import Calibration, Confidence
from llmos_kernel.dialects.renderer import Renderer
from llmos_kernel.engine.base import Engine
from llmos_kernel.errors import ConfigError, ModelError, RetryCall, ToolFailed
from llmos_kernel.journal import Journal
from llmos_kernel.kernel import Kernel, Limits, Step
from llmos_kernel.policy import deny_all
from llmos_kernel.process import Process
from llmos_kernel.syscalls import OwnedDriver, SyscallTable
from llmos_kernel.tool_choice import ToolChoice
from llmos_kernel.trap import Trap

RELATIVE_ERROR = 1e-6


class Case(BaseModel):
    """One line of an evaluation file (its format is described in docs/evaluation.md)."""

    model_config = ConfigDict(extra="forbid")

    id: str
    user: str | None = None
    turns: list[dict[str, str]] = []
    expect: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tags: list[str] = []


@dataclass(slots=True)
class JudgedCall:
    """A call of which the model said how sure it is; `has_right_tool`, whatever its arguments."""

    confidence: Confidence
    has_right_tool: bool
    is_right: bool


@dataclass(slots=True)
class Play:
    """What the model did in a case so far."""

    got: list[Any] = field(default_factory=list[Any])
    judged: list[JudgedCall] = field(default_factory=list[JudgedCall])
    steps_s: list[float] = field(default_factory=list[float])


@dataclass(slots=True)
class Verdict:
    """How one case went; `is_offered`: the tools that it expects were among those offered."""

    case: Case
    is_correct: bool
    is_offered: bool
    got: list[Any]
    judged: list[JudgedCall]
    duration_s: float

    @property
    def has_right_tools(self) -> bool:
        """Whether the tools called are those expected, in order, whatever the arguments."""
        called = [step["name"] for step in self.got if isinstance(step, dict) and "name" in step]
        return called == [each["name"] for each in self.case.expect if "name" in each]


@dataclass(slots=True)
class Judge:
    """Compares what the model did with what was expected; expressions by the calculator."""

    calculator: Driver | None
    _known: dict[str, str | None] = field(default_factory=dict[str, str | None])

    async def accepts(self, expected: dict[str, Any], trap: Trap) -> bool:
        if trap.name != expected.get("name"):
            return False
        if "arguments" in expected:
            return _fits(expected["arguments"], trap.arguments)
        for name, substrings in expected.get("args", {}).items():
            value = str(trap.arguments.get(name, "")).lower()
            if not any(part.lower() in value for part in substrings):
                return False
        expression = str(trap.arguments.get("expression", ""))
        if "value" in expected:
            return await self._has_value(expression, float(expected["value"]))
        if "sympy" in expected:
            return await self._is_equal(expression, str(expected["sympy"]))
        return True

    async def _has_value(self, expression: str, value: float) -> bool:
        text = await self._calculate(f"N({expression}, 15)") or await self._calculate(expression)
        try:
            number = float((text or "").split("≈")[-1])
        except ValueError:
            return False
        return abs(number - value) <= RELATIVE_ERROR * max(abs(value), RELATIVE_ERROR)

    async def _is_equal(self, expression: str, expected: str) -> bool:
        got, wanted = await self._calculate(expression), await self._calculate(expected)
        if got is None or wanted is None:
            return False
        return got == wanted or await self._calculate(f"simplify(({got})-({wanted}))") == "0"

    async def _calculate(self, expression: str) -> str | None:
        if self.calculator is None:
            raise ConfigError("this file needs the `calculate` tool to judge expressions")
        if expression not in self._known:
            context = CallContext(0, Path())
            try:
                output = await self.calculator.call({"expression": expression}, context)
                self._known[expression] = output.text
            except (ToolFailed, RetryCall):
                self._known[expression] = None
        return self._known[expression]


def _fits(expected: Any, got: Any) -> bool:
    """Whether a value is what was expected; `{"any": [...]}` and `"optional"` as in the format."""
    if isinstance(expected, dict) and "any" in expected:
        return any(_fits(choice, got) for choice in expected["any"])
    if isinstance(expected, dict) and isinstance(got, dict):
        missing = [key for key in expected if key not in got]
        if any(not _is_optional(expected[key]) for key in missing) or set(got) - set(expected):
            return False
        return all(_fits(expected[key], value) for key, value in got.items())
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(_fits, expected, got))
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    return expected == got


def _is_optional(expected: Any) -> bool:
    return isinstance(expected, dict) and bool(expected.get("optional"))


def read_cases(path: Path) -> list[Case]:
    """Read an evaluation file.

    Raises:
        ConfigError: it is missing, or a line is not a case; the message names the line.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the evaluation file {str(path)!r}: {error}") from error
    cases: list[Case] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                cases.append(Case.model_validate_json(line))
            except ValidationError as error:
                problem = error.errors()[0]
                place = ".".join(str(part) for part in problem["loc"])
                raise ConfigError(f"{path}:{number}: {place}: {problem['msg']}") from error
    if not cases:
        raise ConfigError(f"{str(path)!r} holds no cases")
    return cases


def run_evaluation(
    path: Path, flags: dict[str, Any], *, more_tools: Path | None, as_json: bool
) -> None:
    """Run a file and print its figures; the tools in `more_tools` stand beside the installed ones.

    Raises:
        ConfigError: the file or the settings are wrong.
        ModelError: the model cannot be loaded.
    """
    cases = read_cases(path)
    more = read_tool_file(more_tools) if more_tools else []
    settings = load_settings(**flags)
    with working("Loading the model"):
        renderer, engine = load_model(settings)
    drivers = plugin_tools(settings, ModelHost(settings.models), console.print, more)
    limits, choice = limits_of(settings), tool_choice_of(settings)
    calibration = calibration_of(settings)
    try:
        verdicts = asyncio.run(
            evaluate(cases, renderer, engine, drivers, limits, choice, calibration)
        )
    finally:
        engine.close()
    figures = summarize(verdicts)
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
    else:
        _print_figures(figures)


async def evaluate(
    cases: Sequence[Case],
    renderer: Renderer,
    engine: Engine,
    drivers: Sequence[OwnedDriver],
    limits: Limits,
    choice: ToolChoice,
    calibration: Calibration | None,
) -> list[Verdict]:
    """Run cases one after the other; at the end the drivers are closed."""
    by_name = {owned.driver.spec.name: owned.driver for owned in drivers}
    judge = Judge(by_name.get("calculate"))
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.db")
        is_quiet = not console.is_terminal
        for case in track(cases, "Evaluating", console=console, transient=True, disable=is_quiet):
            own = described_tools(case.tools, f"case {case.id}") if case.tools else None
            table = SyscallTable(own if own is not None else drivers)
            kernel = Kernel(
                engine, renderer, table, journal,
                workspace=Path(folder), model="evaluated", approve=deny_all, limits=limits,
                tool_choice=choice, calibration=calibration,
            )  # fmt: skip
            verdicts.append(await _run_case(kernel, judge, case))
        journal.close()
    for driver in by_name.values():
        await driver.close()
    return verdicts


async def _run_case(kernel: Kernel, judge: Judge, case: Case) -> Verdict:
    process = kernel.start(case.user or case.turns[0].get("user", ""))
    play = Play()
    try:
        run = _run_dialogue if case.turns else _run_request
        is_correct = await run(kernel, process, judge, case, play)
    except ModelError as error:
        is_correct, play.got = False, [str(error)]
    expected = {call["name"] for call in case.expect if "name" in call}
    is_offered = process.tools is None or expected <= process.tools
    return Verdict(case, is_correct, is_offered, play.got, play.judged, sum(play.steps_s))


async def _step(
    kernel: Kernel, process: Process, judge: Judge, play: Play, expected: Sequence[dict[str, Any]]
) -> tuple[Step, list[bool]]:
    """Let the model speak once; return its step, and which of its calls are those expected."""
    started = time.perf_counter()
    step = await kernel.step(process)
    play.steps_s.append(time.perf_counter() - started)
    play.got += [_shown(trap) for trap in step.traps] or [step.text]
    rights: list[bool] = []
    for index, call in enumerate(process.conversation.calls):
        wanted = expected[index] if index < len(expected) else {}
        trap = call.trap
        has_right_tool = isinstance(trap, Trap) and trap.name == wanted.get("name")
        rights.append(isinstance(trap, Trap) and await judge.accepts(wanted, trap))
        if call.confidence is not None:
            play.judged.append(JudgedCall(call.confidence, has_right_tool, rights[-1]))
    return step, rights


async def _run_request(
    kernel: Kernel, process: Process, judge: Judge, case: Case, play: Play
) -> bool:
    """Collect calls until the model answers or has made as many as expected, and compare them."""
    kernel.tell(process, case.user or "")
    rights: list[bool] = []
    while not rights or len(rights) < len(case.expect):
        step, more = await _step(kernel, process, judge, play, case.expect[len(rights) :])
        if not step.traps:
            break
        rights += more
        process.conversation.give_results(["done"] * len(step.traps))
    return len(rights) == len(case.expect) and all(rights)


async def _run_dialogue(
    kernel: Kernel, process: Process, judge: Judge, case: Case, play: Play
) -> bool:
    """Play the turns; every step of the model is compared with its own expectation."""
    is_correct = len(case.turns) == len(case.expect)
    for turn, expected in zip(case.turns, case.expect, strict=False):
        if "user" in turn:
            kernel.tell(process, turn["user"])
        else:
            process.conversation.give_results([turn["result"]])
        step, rights = await _step(kernel, process, judge, play, [expected])
        if "answer_contains" in expected:
            text = step.text.lower()
            is_right = not step.traps and any(
                part.lower() in text for part in expected["answer_contains"]
            )
        else:
            is_right = rights == [True]
        is_correct = is_correct and is_right
    return is_correct


def _shown(trap: Any) -> dict[str, Any]:
    if isinstance(trap, Trap):
        return {"name": trap.name, "arguments": dict(trap.arguments)}
    return {"malformed": trap.reason, "raw": trap.raw}


def summarize(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the figures of a run, in the form that `--json` prints."""
    by_tag: dict[str, list[Verdict]] = defaultdict(list)
    by_tool: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        for tag in verdict.case.tags:
            by_tag[tag].append(verdict)
        names = [e["name"] for e in verdict.case.expect if "name" in e]
        by_tool[names[0] if names else "none"].append(verdict)
    times_ms = sorted(1000 * verdict.duration_s for verdict in verdicts)
    return {
        **_share(verdicts),
        "not_offered": [verdict.case.id for verdict in verdicts if not verdict.is_offered],
        "by_tag": {tag: _share(values) for tag, values in sorted(by_tag.items())},
        "by_tool": {tool: _share(values) for tool, values in sorted(by_tool.items())},
        "ms_per_case": {
            "p50": round(statistics.median(times_ms), 1),
            "p95": round(times_ms[min(len(times_ms) - 1, int(0.95 * len(times_ms)))], 1),
        },
        "ece": calibration_error([call for verdict in verdicts for call in verdict.judged]),
        "failures": [
            {
                "id": v.case.id,
                "expected": v.case.expect,
                "got": v.got,
                "confidence": [round(call.confidence.call, 4) for call in v.judged],
            }
            for v in verdicts
            if not v.is_correct
        ],
    }


def calibration_error(judged: Sequence[JudgedCall], *, num_bins: int = 10) -> float | None:
    """Return the expected calibration error of calls (Naeini et al., 2015); None without any.

    It is the distance of how sure the model was from how often it was right, in bins of equal
    width, weighted by their calls.
    """
    bins: dict[int, list[JudgedCall]] = defaultdict(list)
    for call in judged:
        bins[min(int(call.confidence.call * num_bins), num_bins - 1)].append(call)
    gaps = (sum(call.confidence.call - call.is_right for call in each) for each in bins.values())
    return round(sum(map(abs, gaps)) / len(judged), 4) if judged else None


def _share(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    correct = sum(verdict.is_correct for verdict in verdicts)
    return {
        "cases": len(verdicts),
        "correct": correct,
        "accuracy": round(correct / len(verdicts), 4),
        "right_tools": sum(verdict.has_right_tools for verdict in verdicts),
    }


def _print_figures(figures: dict[str, Any]) -> None:
    for failure in figures["failures"]:
        got = json.dumps(failure["got"], ensure_ascii=False)
        print(f"{failure['id']}: expected {json.dumps(failure['expected'])}, got {got}")
    for tool, share in figures["by_tool"].items():
        print(f"{tool:20} {share['correct']:4} of {share['cases']:4}  {share['accuracy']:.1%}")
    print(f"{'all':20} {figures['correct']:4} of {figures['cases']:4}  {figures['accuracy']:.1%}")
    if figures["not_offered"]:
        print(f"their tool was not among those offered: {', '.join(figures['not_offered'])}")
    if figures["ece"] is not None:
        print(f"expected calibration error of calls: {figures['ece']:.1%}")
    times = figures["ms_per_case"]
    print(f"ms a case: median {times['p50']}, 95th percentile {times['p95']}")
