"""One IPython kernel in a sandbox: start it, run code in it, interrupt it, end it.

Knows neither the tool nor the workspace. Covered: a kernel that dies, hangs, floods its sockets or
does not let itself be interrupted. Not covered: what the code does within its sandbox.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmos.sandbox.bubblewrap import (
    ETC,
    NOBODY,
    SOCKETS,
    Sandbox,
    python_program,
    sandbox_problem,
    seccomp_file,
)
from llmos.sandbox.limits import Limits
from llmos_kernel.errors import SandboxUnavailable
from llmos_tools.python import desk, inside
from llmos_tools.python.limits import (
    DISPLAYED_VALUES,
    MESSAGE_BYTES,
    MOST_FILES,
    OUTPUT_CHARS,
    WAITING_MESSAGES,
)
from llmos_tools.python.output import Collector

START_LIMIT_S = 30.0
INTERRUPT_LIMIT_S = 3.0
# After the reply to a run, its output is still on the way on another socket.
LAST_OUTPUT_LIMIT_S = 3.0
DESK_LIMIT_S = 5.0
_POLL_S = 0.01
_LONGEST_SOCKET_PATH = 100
_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
_EXTRA = "pip install 'llmos[python]'"

T = TypeVar("T")


class KernelGone(Exception):
    """The kernel ended or cannot be used any more. Its message says how, as the end of a phrase."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: `was_interrupted` says that its time was up and the kernel lives."""

    output: Collector
    was_interrupted: bool = False


class Session:
    """A kernel, its sockets and its folder; every method but `end` needs a live kernel."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        client: Any,
        most_processes: int,
        resources: ExitStack,
    ) -> None:
        self._process = process
        self._client = client
        self._most_processes = most_processes
        self._resources = resources
        self._death = asyncio.create_task(process.wait(), name="python kernel")

    @classmethod
    async def start(cls, limits: Limits) -> Session:
        """Start a kernel and return it once it answers. Cancelling ends it.

        Raises:
            SandboxUnavailable: code cannot be isolated here, or a package is missing.
            KernelGone: it ended, or was not ready in time.
        """
        _require_packages()
        with ExitStack() as resources:
            folder = resources.enter_context(_socket_folder())
            connection = _write_connection(folder)
            process = await _spawn(Sandbox(folder, limits))
            resources.callback(_kill, process)
            client = resources.enter_context(_client(connection))
            session = cls(process, client, limits.processes, resources.pop_all())
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await session._get_ready(folder)
        except BaseException as error:
            await session.end()
            if isinstance(error, KernelGone):
                await asyncio.to_thread(_blame_sandbox, error)
            if isinstance(error, TimeoutError):
                raise KernelGone(f"was not ready after {START_LIMIT_S:g} s") from error
            raise
        return session

    @property
    def pid(self) -> int:
        """The outermost process of the sandbox, as the host counts."""
        return self._process.pid

    @property
    def is_gone(self) -> bool:
        """Whether the kernel has ended."""
        return self._death.done()

    async def run(self, code: str, limit_s: float) -> Outcome:
        """Run code and return what it said. Cancelling interrupts the code.

        Raises:
            KernelGone: the kernel did not survive; this session must be ended.
        """
        output = Collector(names_lines="\n" in code.strip())
        request = self._client.execute(code, allow_stdin=False)
        finished = asyncio.create_task(self._finish(request, output), name="python run")
        is_usable = False
        try:
            was_interrupted = await self._wait_or_interrupt(finished, limit_s)
            self._check_crowd()
            is_usable = True
        except asyncio.CancelledError:
            is_usable = await self._interrupt(finished)
            raise
        finally:
            finished.cancel()
            if not is_usable:
                _kill(self._process)
        return Outcome(output, was_interrupted)

    async def ask_desk(self, call: str) -> str | None:
        """Have the desk inside do something, and return what it says, None if it could not.

        Raises:
            KernelGone: the kernel did not survive; this session must be ended.
        """
        answer = {"answer": f"get_ipython().desk.{call}"}
        request = self._client.execute(
            "", silent=True, store_history=False, user_expressions=answer, allow_stdin=False
        )
        try:
            async with asyncio.timeout(DESK_LIMIT_S):
                reply = await self._finish(request, Collector())
        except TimeoutError:
            return None
        match reply:
            case {"user_expressions": {"answer": {"status": "ok", "data": dict(data)}}}:
                said = data.get("application/x-llmos", "")
                return said if isinstance(said, str) else None
            case _:
                return None

    async def _wait_or_interrupt(
        self, finished: asyncio.Task[dict[str, Any]], limit_s: float
    ) -> bool:
        """Wait for a run, and tell whether it had to be interrupted."""
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.shield(finished)
        except TimeoutError:
            if await self._interrupt(finished):
                return True
            raise KernelGone(
                f"ran for more than {limit_s:g} s and did not let itself be interrupted"
            ) from None
        return False

    def _check_crowd(self) -> None:
        """Refuse to go on among so many processes that hardly another can be started."""
        num_processes = _num_descendants(self._process.pid)
        if num_processes > self._most_processes // 2:
            raise KernelGone(f"left {num_processes} processes running")

    async def end(self) -> None:
        """Kill the kernel with all its processes and give back what it held. May be repeated."""
        _kill(self._process)
        try:
            await asyncio.shield(self._death)
        finally:
            self._resources.close()

    async def _get_ready(self, folder: Path) -> None:
        for port in _PORTS.values():
            await self._or_death(_until_open(folder / f"ipc-{port}"))
        self._client.start_channels(stdin=False, hb=False)
        await self._or_death(self._hear_welcome())
        # Each in a namespace of its own, so that the code finds its own one empty.
        program = "\n".join(
            f"exec({inspect.getsource(module) + install!r}, {{'__name__': 'inside'}})"
            for module, install in (
                (inside, f"\nBounds({OUTPUT_CHARS}, {DISPLAYED_VALUES}).install()"),
                (desk, f"\nDesk({MOST_FILES}).install()"),
            )
        )
        request = self._client.execute(program, silent=True, store_history=False)
        output = Collector()
        await self._finish(request, output)
        if output.error is not None:
            raise KernelGone(f"did not start: {output.error}")
        if os.geteuid() == 0:
            # Not sooner, since IPython looks for its connection file while it starts.
            os.chown(folder, 0, 0)  # from here on the sandbox can put nothing into it

    async def _hear_welcome(self) -> None:
        """Wait until output is heard: what is published before one listens is lost."""
        while not await self._client.iopub_channel.socket.poll(200):
            self._client.kernel_info()

    async def _finish(self, request: str, output: Collector) -> dict[str, Any]:
        """Collect output until the kernel is done with a request, and return its reply."""
        collecting = asyncio.create_task(self._collect_until_idle(request, output))
        try:
            reply = await self._or_death(self._hear_reply(request))
            done, _ = await asyncio.wait(
                {collecting, self._death},
                timeout=LAST_OUTPUT_LIMIT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            collecting.cancel()
        if collecting in done:
            collecting.result()
        else:
            await self._find_output_again(output)
        if reply.get("status") != "ok" and output.error is None:
            output.take("error", reply)
        return reply

    async def _find_output_again(self, output: Collector) -> None:
        """Go on after the end of a run's output got lost.

        Messages that come faster than they are read are dropped; one too large ends the connection.
        """
        output.is_partial = True
        try:
            async with asyncio.timeout(LAST_OUTPUT_LIMIT_S):
                probe = self._client.kernel_info()
                await self._or_death(self._collect_until_idle(probe, Collector()))
        except TimeoutError:
            raise KernelGone("sent more than can be read") from None

    async def _collect_until_idle(self, request: str, output: Collector) -> None:
        while True:
            message = await _hear(self._client.get_iopub_msg())
            if message.request != request:
                continue
            if message.kind == "status" and message.content.get("execution_state") == "idle":
                return
            output.take(message.kind, message.content)

    async def _hear_reply(self, request: str) -> dict[str, Any]:
        while True:
            message = await _hear(self._client.get_shell_msg())
            if message.request == request:
                return message.content

    async def _or_death(self, work: Awaitable[T]) -> T:
        """Await something that a dead kernel would never bring about."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._death}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise KernelGone(_how_it_ended(self._death.result()))
        finally:
            task.cancel()

    async def _interrupt(self, finished: asyncio.Task[dict[str, Any]]) -> bool:
        """Interrupt the run and tell whether the kernel came back from it."""
        request = self._client.session.msg("interrupt_request", {})
        self._client.control_channel.send(request)
        done, _ = await asyncio.wait({finished}, timeout=INTERRUPT_LIMIT_S)
        return bool(done) and not finished.cancelled() and finished.exception() is None


@dataclass(frozen=True, slots=True)
class _Message:
    """A message that answers `request`. Its content has a dict's form, and no other assured."""

    request: str
    kind: str
    content: dict[str, Any]


async def _hear(message: Awaitable[Any]) -> _Message:
    """Read a message, whose writer may be hostile code.

    Raises:
        KernelGone: it is not a message; its sender cannot be relied upon any more.
    """
    try:
        match await message:
            case {
                "parent_header": {"msg_id": str(request)},
                "msg_type": str(kind),
                "content": dict(content),
            }:
                return _Message(request, kind, content)
            case _:
                return _Message("", "", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise KernelGone("sent a message that cannot be read") from None


def _require_packages() -> None:
    for package in ("ipykernel", "jupyter_client", "matplotlib_inline"):
        if importlib.util.find_spec(package) is None:
            raise SandboxUnavailable(f"Python needs the package {package!r}: run `{_EXTRA}`")


def _blame_sandbox(error: KernelGone) -> None:
    """Say that the sandbox cannot work here, if that is why the kernel did not start."""
    problem = sandbox_problem()
    if problem is not None:
        raise SandboxUnavailable(problem) from error


@contextmanager
def _socket_folder() -> Generator[Path]:
    """Lend a private folder that the sandbox's user owns, under a path short enough for sockets."""
    parents = [tempfile.gettempdir(), "/tmp"]
    parent = next(parent for parent in parents if len(parent) < _LONGEST_SOCKET_PATH - 30)
    folder = Path(tempfile.mkdtemp(prefix="llmos-", dir=parent))
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        for name, text in ETC.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_connection(folder: Path) -> dict[str, Any]:
    """Write what the kernel reads, and return the same as seen from outside the sandbox."""
    info = {"transport": "ipc", "key": secrets.token_hex(32), "signature_scheme": "hmac-sha256"}
    file = folder / "connection.json"
    file.write_text(json.dumps({**info, **_PORTS, "ip": f"{SOCKETS}/ipc"}))
    if os.geteuid() == 0:
        os.chown(file, NOBODY, NOBODY)
    return {**info, **_PORTS, "ip": str(folder / "ipc")}


async def _spawn(sandbox: Sandbox) -> asyncio.subprocess.Process:
    program = [
        *(
            str(python_program()),
            "-I",
            "-m",
            "ipykernel_launcher",
            "-f",
            f"{SOCKETS}/connection.json",
        ),
        *("--HistoryManager.enabled=False", "--InteractiveShell.colors=nocolor", "--quiet"),
    ]
    with seccomp_file() as descriptor:
        return await asyncio.create_subprocess_exec(
            *sandbox.command(program, descriptor),
            env={},
            pass_fds=(descriptor,),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )


@contextmanager
def _client(connection: Any) -> Generator[Any]:
    """Lend a client that never connects again: what listens there later is not the kernel."""
    import zmq
    import zmq.asyncio
    from jupyter_client.asynchronous.client import AsyncKernelClient

    context = zmq.asyncio.Context()
    context.setsockopt(zmq.RECONNECT_IVL, -1)
    context.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
    context.setsockopt(zmq.RCVHWM, WAITING_MESSAGES)
    client = AsyncKernelClient(context=context)
    client.load_connection_info(connection)
    try:
        yield client
    finally:
        client.stop_channels()
        context.destroy(linger=0)


async def _until_open(path: Path) -> None:
    """Wait until somebody listens on a socket; nothing tells of it, so it is tried."""
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.sleep(_POLL_S)
        else:
            writer.close()
            return


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        # Not `process.kill()`, which may reap the child before asyncio and so lose its status.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _num_descendants(pid: int) -> int:
    """Count the processes below one."""
    children: list[str] = []
    for file in Path("/proc", str(pid), "task").glob("*/children"):
        with suppress(OSError):
            children += file.read_text().split()
    return sum(1 + _num_descendants(int(child)) for child in children)


def _how_it_ended(status: int) -> str:
    number = status - 128 if status > 128 else -status
    match number:
        case signal.SIGKILL:
            return "was killed, most likely because memory ran out"
        case signal.SIGXCPU:
            return "used up its processor time"
        case _ if number > 0:
            return f"crashed with signal {number}"
        case _:
            return f"ended with exit status {status}"
