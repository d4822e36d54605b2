"""`llmos kill`, `nice`, `fork` and `resume`: what other terminals do to processes.

A running kernel is asked; of a dead kernel's process a new one is made here, in the foreground.
"""

from __future__ import annotations

import asyncio

from llmos.cli import DONE
from llmos.config import home_path, load_settings
from llmos.control.client import absent, fork, live_processes, record_of, tell
from llmos.control.protocol import Renice, SendSignal
from llmos.shell.foreground import ForegroundOptions, Make, run_in_foreground
from llmos.shell.screen import one_line
from llmos.shell.starting import report
from llmos_kernel.errors import ConfigError, StateError
from llmos_kernel.process import ProcessState, Signal, check_nice


def send_signal(pid: int, signal: str) -> None:
    """Signal a process of a running kernel.

    Raises:
        LlmosError: it has ended, its kernel is gone, or there never was one.
    """
    try:
        chosen = Signal(signal)
    except ValueError:
        known = ", ".join(Signal)
        raise ConfigError(f"there is no signal {signal!r}; there are {known}") from None
    tell(home_path(), SendSignal(pid=pid, signal=chosen), pid)


def renice(pid: int, nice: int) -> None:
    """Change a process's share of the model; raises what `send_signal` raises."""
    check_nice(nice)
    tell(home_path(), Renice(pid=pid, nice=nice), pid)


def fork_process(pid: int, at: int | None, options: ForegroundOptions) -> int:
    """Fork a process, in its kernel or else here, and return the exit status.

    Raises:
        LlmosError: there is no such process or event, or it failed here.
    """
    options.check()
    home = home_path()
    if pid in live_processes(home):
        print(fork(home, pid, at))
        return DONE
    return _go_on(pid, lambda kernel: kernel.fork(pid, at=at), options)


def resume_process(pid: int, options: ForegroundOptions) -> int:
    """Let a stopped process, or one whose kernel is gone, go on, and return the exit status.

    Raises:
        LlmosError: it has ended, is at work, or cannot be rebuilt.
    """
    options.check()
    home = home_path()
    if process := live_processes(home).get(pid):
        if process.state is not ProcessState.STOPPED:
            raise StateError(
                f"process {pid} is at work already ({process.state}); "
                f"`llmos strace {pid} --follow` shows what it does"
            )
        tell(home, SendSignal(pid=pid, signal=Signal.CONTINUE), pid)
        return DONE
    record = record_of(home, pid)
    if record.exit_status is not None or record.is_kernel_alive:
        raise absent(home, pid)
    return _go_on(pid, lambda kernel: kernel.resume(pid), options)


def _go_on(pid: int, make: Make, options: ForegroundOptions) -> int:
    """Run a process with another's past here, on the model that the other ran on."""
    record = record_of(home_path(), pid)
    report(f"process {pid} goes on: {one_line(record.task)}")
    settings = load_settings(model={"path": record.model})
    return asyncio.run(run_in_foreground(make, settings, options))
