"""The process of one model as the host sees it: start it, ask it, end it.

Covered: whatever goes wrong in it is one line for who asked, and never more than its end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from llmos.line_process import LineProcess, LineTooLong, ProcessEnded
from llmos.model_host.values import HostedModel, Reply, Report
from llmos.model_host.wire import ANSWER, LINE_BYTES, Ask, Done, Failed, Load, Progress
from llmos_kernel.abi import JsonObject
from llmos_kernel.errors import RetryCall, ToolFailed

COMMAND = (sys.executable, "-P", "-m", "llmos.model_host.guest")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
OUT = "out"


class ModelProcess:
    """A process with a loaded model. One call at a time; one that is cancelled ends it."""

    def __init__(self, model: HostedModel, child: LineProcess) -> None:
        self._model = model
        self._child = child
        self.held_bytes = 0

    @classmethod
    async def start(cls, model: HostedModel, local: Path | None, report: Report) -> ModelProcess:
        """Start a process and return it once it has loaded the model, which may lie in `local`.

        Raises:
            ToolFailed: it cannot.
        """
        try:
            child = await LineProcess.start(
                COMMAND, env=_environment(local), limit=LINE_BYTES, keeps_tail=True
            )
        except OSError as error:
            raise ToolFailed(f"{model.name} does not start: {error.strerror}") from error
        process = cls(model, child)
        checkpoint = str(local or model.checkpoint)
        try:
            await process._done(Load(factory=model.factory, checkpoint=checkpoint), report)
        except BaseException:
            await child.end()
            raise
        return process

    @property
    def has_ended(self) -> bool:
        return self._child.has_ended

    async def ask(self, request: JsonObject, files: Mapping[str, bytes], report: Report) -> Reply:
        """Ask the model; see `ModelHost.ask`."""
        with TemporaryDirectory(prefix="llmos-", ignore_cleanup_errors=True) as name:
            try:
                await asyncio.to_thread(_put, Path(name), files)
                done = await self._done(Ask(request=dict(request), folder=name), report)
                return Reply(done.value, await asyncio.to_thread(_taken, Path(name)))
            except OSError as error:
                raise ToolFailed(
                    f"files of {self._model.name} cannot be handed over: {error.strerror}"
                ) from error

    async def end(self) -> None:
        """End the process, whatever it is doing."""
        await self._child.end()

    async def _done(self, request: BaseModel, report: Report) -> Done:
        """Send a request and return what is done; where that is nothing, the process may end."""
        try:
            said = await self._said(request, report)
        except ProcessEnded as error:
            raise ToolFailed(self._obituary(error.status)) from error
        except LineTooLong as error:
            await self.end()
            raise ToolFailed(f"{self._model.name} broke: {error}") from error
        except BaseException:
            await self.end()
            raise
        if isinstance(said, Failed):
            if said.why == "memory":
                await self.end()
            raise self._error(said, is_loading=isinstance(request, Load))
        self.held_bytes = said.held_bytes
        return said

    async def _said(self, request: BaseModel, report: Report) -> Done | Failed:
        await self._child.send(request.model_dump_json().encode())
        while True:
            said = ANSWER.validate_json(await self._child.receive())
            if not isinstance(said, Progress):
                return said
            report(said.text)

    def _error(self, failed: Failed, *, is_loading: bool) -> ToolFailed | RetryCall:
        name = self._model.name
        match failed.why:
            case "retry":
                return RetryCall(failed.text)
            case "failed":
                return ToolFailed(failed.text)
            case "memory":
                return ToolFailed(f"{name} ran out of memory: ask for less, or end what else runs")
            case "broke" if is_loading:
                return ToolFailed(
                    f"{name} cannot be loaded from {self._model.checkpoint!r}: {failed.text}; "
                    "check that checkpoint, or name another in the settings"
                )
            case "broke":
                return ToolFailed(f"{name} broke: {failed.text}")

    def _obituary(self, status: int) -> str:
        name = self._model.name
        if status == -signal.SIGKILL:
            return f"{name} was ended by the system, most likely for want of memory"
        words = self._child.tail.strip().splitlines()
        last = f": {words[-1].strip()}" if words else ""
        return f"{name} ended with exit status {status}{last}; the next call starts it anew"


def _environment(local: Path | None) -> dict[str, str]:
    """Return what the child needs; what lies on this machine is loaded without the network."""
    paths = os.pathsep.join(path for path in sys.path if path)
    offline = {"HF_HUB_OFFLINE": "1"} if local is not None else {}
    return {**os.environ, **ONE_THREAD, **offline, "PYTHONPATH": paths, "PYTHONUTF8": "1"}


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    (folder / OUT).mkdir()
    for name, data in files.items():
        if name != Path(name).name or name == OUT:
            raise ValueError(f"{name!r} is no plain name for a file of a request")
        (folder / name).write_bytes(data)


def _taken(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in (folder / OUT).iterdir() if path.is_file())
    return {path.name: path.read_bytes() for path in files}
