"""Makes an evaluation file of Seal-Tools' development half (Wu et al. 2024), never trained on.

    python -m llmos_kernel.training.seal_tools --data DATA --out runs/seal_tools.jsonl
    llmos eval runs/seal_tools.jsonl --json

Every function that the half calls is kept out of training too. Requests in which one call takes
another's result are left out: an evaluation gives each call the result `done`. Knows no model.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE_SIZES = (1, 2, 4, 8)
NESTED = "API_call_"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write Seal-Tools' requests as evaluation cases.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(case, ensure_ascii=False) for case in cases(arguments.data)]
    arguments.out.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases in {arguments.out}")


def cases(data: Path, *, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield a case for each request, in a table of its functions and others; the seed fixes it.

    A table of 1, 2, 4 or 8 tools, in turn, and of more where the request calls more.
    """
    rng = random.Random(seed)
    functions = {row["name"]: row for row in read_json_lines(data / "sealtools_tools.jsonl.gz")}
    for number, row in enumerate(_requests(data)):
        names = list(dict.fromkeys(call["name"] for call in row["calls"]))
        others = rng.sample([name for name in functions if name not in names], max(TABLE_SIZES))
        names += others[: max(0, TABLE_SIZES[number % len(TABLE_SIZES)] - len(names))]
        rng.shuffle(names)
        calls = "one call" if len(row["calls"]) == 1 else "several calls"
        yield {
            "id": row["id"],
            "user": row["user"],
            "tools": [functions[name] for name in names],
            "expect": row["calls"],
            "tags": [calls, f"{len(names)} tools, {calls}"],
        }


def called_functions(data: Path) -> frozenset[str]:
    """Return the names of all functions that the half calls."""
    rows = read_json_lines(data / "sealtools_dev.jsonl.gz")
    return frozenset(call["name"] for row in rows for call in row["calls"])


def _requests(data: Path) -> Iterator[dict[str, Any]]:
    for row in read_json_lines(data / "sealtools_dev.jsonl.gz"):
        if NESTED not in json.dumps(row["calls"]):
            yield row


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a gzipped JSON-lines file."""
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    main()
