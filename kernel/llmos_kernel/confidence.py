"""How sure a model is of a call that it wrote: of the tool, of each argument, of the whole.

Read from the probabilities that it gave its own tokens, calibrated so that of the calls of which it
is 80 % sure four in five are right. Covered: what the model itself doubts. Not covered: what it
never learned to doubt. Knows no engine and no token ids, only pieces of text.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmos_kernel.abi import JsonObject
from llmos_kernel.errors import ModelError

FILE = "calibration.json"
DECIMALS = 4  # of a log-probability in the journal
SUREST = -0.5 * 10**-DECIMALS  # what rounds to 0 is not beyond doubt


@dataclass(frozen=True, slots=True)
class Calibration:
    """The temperatures by which the log-odds of the tool and of the arguments are divided.

    Temperature scaling (Guo et al., 2017), of "this token" against "any other". Where the model is
    less sure than `opening` that a user's message wants a call at all, it answers in words.
    """

    tool: float = 1.0
    arguments: float = 1.0
    opening: float = 0.0

    @classmethod
    def beside(cls, checkpoint: Path) -> Calibration | None:
        """Read what was fitted to the checkpoint in a folder; None where nothing was.

        Raises:
            ModelError: the file is damaged.
        """
        path = checkpoint / FILE
        if not path.is_file():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            tool, arguments = float(found["tool"]), float(found["arguments"])
            calibration = cls(tool, arguments, float(found.get("opening", 0.0)))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path} is damaged ({error!r}); fit it again, or delete it"
            ) from error
        if not (calibration.tool > 0 and calibration.arguments > 0):
            raise ModelError(f"{path} holds a temperature that is not above 0; fit it again")
        if not 0 <= calibration.opening <= 1:
            raise ModelError(f"{path}: opening is not a probability, 0 to 1; fit it again")
        return calibration

    def save(self, checkpoint: Path) -> None:
        (checkpoint / FILE).write_text(json.dumps(asdict(self)) + "\n")


@dataclass(frozen=True, slots=True)
class Confidence:
    """Probabilities that the tool is right; that each argument is, if so; that the call is.

    `opening` is that of the token which opens the call, as the model gave it.
    """

    call: float
    tool: float
    arguments: Mapping[str, float]
    opening: float = 1.0

    def body(self) -> dict[str, Any]:
        """Return it as events hold it."""
        rounded = {key: round(value, DECIMALS) for key, value in self.arguments.items()}
        call, tool = round(self.call, DECIMALS), round(self.tool, DECIMALS)
        return {"call": call, "tool": tool, "arguments": rounded}


def scaled(log_probability: float, temperature: float) -> float:
    """Return a probability at a temperature: 1 leaves it, more draws it to one half."""
    doubt = min(log_probability, SUREST)
    log_odds = doubt - math.log(-math.expm1(doubt))
    return 1 / (1 + math.exp(-max(log_odds / temperature, -700.0)))


def confidence_of(
    name: str,
    arguments: JsonObject,
    pieces: Sequence[bytes],
    log_probabilities: Sequence[float],
    calibration: Calibration,
) -> Confidence | None:
    """Return how sure the model is of a call whose tokens, from its opening on, say `pieces`.

    The tool is right when all tokens to the end of its name are. A value may be said in many ways
    that are all right, so that of an argument, and of all that follows the name, the least
    probable token counts. None where the name is not said.
    """
    said = b"".join(pieces)
    start = said.find(name.encode())
    if start < 0:
        return None
    end = start + len(name.encode())
    starts = _argument_starts(arguments, said, end)
    bounds = list(starts.values())
    of_tool, weakest = 0.0, 0.0
    of_arguments = [0.0] * len(starts)
    position = 0
    for piece, log_probability in zip(pieces, log_probabilities, strict=True):
        if position < end:
            of_tool += log_probability
        else:
            weakest = min(weakest, log_probability)
            if place := bisect_right(bounds, position):
                of_arguments[place - 1] = min(of_arguments[place - 1], log_probability)
        position += len(piece)
    tool = scaled(of_tool, calibration.tool)
    by_key = {
        key: scaled(value, calibration.arguments)
        for key, value in zip(starts, of_arguments, strict=True)
    }
    call = tool * scaled(weakest, calibration.arguments)
    return Confidence(call, tool, by_key, math.exp(log_probabilities[0]))


def _argument_starts(arguments: JsonObject, said: bytes, start: int) -> dict[str, int]:
    """Return where each argument's key stands; an argument reaches to the next one's key."""
    starts: dict[str, int] = {}
    for key, value in arguments.items():
        found = said.find(key.encode(), start)
        if found < 0:
            continue
        starts[key] = found
        start = found + len(key.encode())
        if isinstance(value, str):  # the next key may stand in it, too
            text = json.dumps(value, ensure_ascii=False)[1:-1].encode(errors="replace")
            start = max(start, said.find(text, start) + len(text))
    return starts
