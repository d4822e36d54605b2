"""Small models for the tests of hosting: what they hold and do is what they are asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from llmos_kernel.abi import JsonObject
from llmos_kernel.errors import RetryCall, ToolFailed

MB = 1_000_000


class Obedient:
    """Holds as many megabytes as the file `mb` of its checkpoint says, and does what it is told."""

    def __init__(self, checkpoint: str, report: Callable[[str], None]) -> None:
        report("loading")
        print("what a library prints", flush=True)
        self._held = b"x" * (int(Path(checkpoint, "mb").read_text()) * MB)
        self._num_calls = 0

    def answer(
        self, request: JsonObject, folder: Path, report: Callable[[str], None]
    ) -> JsonObject:
        self._num_calls += 1
        match request["do"]:
            case "wait":  # until somebody writes into the pipe
                report("waiting")
                Path(str(request["until"])).read_text()
            case "copy":
                for file in folder.iterdir():
                    if file.is_file():
                        (folder / "out" / f"{file.stem}-2{file.suffix}").write_bytes(
                            file.read_bytes()
                        )
            case "grow":
                self._held += b"x" * (int(str(request["mb"])) * MB)
            case "die":
                print("the last words", flush=True)
                os._exit(3)
            case "be killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "allocate":
                bytearray(1 << 60)
            case "fail":
                raise ToolFailed("it cannot be done")
            case "refuse":
                raise RetryCall("ask otherwise")
            case "break":
                raise KeyError("it")
            case _:
                pass
        return {
            "pid": os.getpid(),
            "num_calls": self._num_calls,
            "nice": os.nice(0),
            "threads": os.environ["OMP_NUM_THREADS"],
            "offline": os.environ.get("HF_HUB_OFFLINE"),
        }


def unloadable(checkpoint: str, report: Callable[[str], None]) -> Obedient:
    raise ValueError(f"no weights in {checkpoint}\nand more lines")
