"""Runs the benchmarks, or the one that is named; the last line is one JSON object of figures."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks.llama_cpp import IS_INSTALLED

PARTS = (
    "serving", "decode", "state", "grammar", "growth", "traps", "memory", "tools", "media", "calls",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, help="default: all of them")
    part: str | None = parser.parse_args().part
    if not IS_INSTALLED:
        print(
            "llama.cpp is left out: pip install llama-cpp-python gguf (it needs a C++ compiler)",
            file=sys.stderr,
        )
    figures: dict[str, float] = {}
    for name in [part] if part else PARTS:
        print(f"measuring {name} ...", file=sys.stderr)
        figures |= run(name)
    print(json.dumps(figures))


def run(part: str) -> dict[str, float]:
    """Run a part in a process of its own, which leaves no memory behind; show its table.

    Raises:
        CalledProcessError: the part has failed, and has said why.
    """
    command = [sys.executable, "-m", f"benchmarks.{part}"]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    shown, _, figures = output.rstrip().rpartition("\n")
    print(shown, flush=True)
    return json.loads(figures)


if __name__ == "__main__":
    main()
