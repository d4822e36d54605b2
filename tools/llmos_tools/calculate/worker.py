"""The worker process: an expression in, an answer or an error out, one JSON line each.

Covered: memory by an rlimit, a silent end when the parent dies, an alarm that ends the process
should the parent no longer be there to kill it.
Not covered: the time limit proper, which the parent keeps.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from base64 import b64encode
from math import ceil

from llmos_tools.calculate.answers import answer_text, quantity_text
from llmos_tools.calculate.errors import reply_to_error
from llmos_tools.calculate.evaluation import work_out
from llmos_tools.calculate.limits import MEMORY_BYTES, MOST_DIGITS, limit_of
from llmos_tools.calculate.plots import Plot

# What these import and cache is paid for before the first question.
WARM_UP = ("solve(x**2 - 2, x)", "integrate(sin(x), (x, 0, 1))", "diff(x*sin(x), x)", "N(pi)")


def main() -> None:
    """Answer until the parent closes the pipe."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.set_int_max_str_digits(MOST_DIGITS)
    for expression in WARM_UP:
        reply_to(expression)
    _write({"ready": "yes"})
    for line in sys.stdin:
        expression = json.loads(line)["expression"]
        signal.alarm(ceil(limit_of(expression)) + 1)
        reply = reply_to(expression)
        signal.alarm(0)
        _write(reply)


def reply_to(expression: str) -> dict[str, str]:
    """Return `answer`, with a `picture` if one was drawn, or why not as `retry` or `failed`."""
    try:
        result = work_out(expression)
        if isinstance(result.value, Plot):
            picture = b64encode(result.value.png).decode()
            return {"answer": result.value.text, "picture": picture}
        if result.unit:
            return {"answer": quantity_text(result.value, result.unit)}
        return {"answer": answer_text(result.value, has_decimals=result.has_decimals)}
    except Exception as error:  # the process's boundary: the parent gets the error
        return reply_to_error(error, expression)


def _write(reply: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
