"""What can go wrong with an expression, and the words that the model reads about it."""

from __future__ import annotations

from llmos.sdk import RetryCall, ToolFailed
from llmos_tools.calculate.limits import TOO_LARGE

DIVISION_BY_ZERO = "division by zero"


def unreadable(expression: str, why: str) -> RetryCall:
    """Return the error of an expression that is not in the notation."""
    shown = expression if len(expression) <= 80 else expression[:77] + "..."
    return RetryCall(f"cannot read the expression {shown!r}: {why}")


def too_large(why: str) -> ToolFailed:
    """Return the error of a value that would not fit or not be done in time."""
    return ToolFailed(f"{TOO_LARGE}: {why}")


def reply_to_error(error: Exception, expression: str) -> dict[str, str]:
    """Say who acts next: `retry` for the expression's fault, `failed` for the mathematics."""
    match error:
        case RetryCall():
            return {"retry": str(error)}
        case ToolFailed():
            return {"failed": str(error)}
        case ZeroDivisionError():
            return {"failed": DIVISION_BY_ZERO}
        case RecursionError():
            return {"failed": f"{TOO_LARGE}: it is too long or nested too deeply"}
        case MemoryError():
            return {"failed": f"{TOO_LARGE}: it takes too much memory"}
        case OverflowError():
            return {"failed": f"{TOO_LARGE}: a number in it is too large"}
        case ValueError() if "integer string conversion" in str(error):
            return {"failed": f"{TOO_LARGE}: the answer has too many digits"}
        case TypeError() | AttributeError():
            why = "a function in it is given the wrong kind or number of arguments"
            return {"retry": str(unreadable(expression, why))}
        case _:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            return {"failed": f"this cannot be worked out: {reason}"}
