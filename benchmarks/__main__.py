"""Runs the benchmarks, or the one that is named; the last line is one JSON object of figures."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from benchmarks.llama_cpp import IS_INSTALLED

PARTS = ("serving", "decode", "state", "grammar", "growth")


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
        figures |= importlib.import_module(f"benchmarks.{name}").measure()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
