"""Runs what is due, as processes of a kernel that nobody attends to.

Any number of kernels watch the same schedules; each run is one kernel's. Knows no times: the store
says what is due.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

from llmos.schedules.store import Run, ScheduleStore, schedules_path
from llmos_kernel.errors import LlmosError
from llmos_kernel.journal import Journal
from llmos_kernel.kernel import Kernel

LOOK_S = 1.0


class ScheduleRunner:
    """The schedules of one state folder over one kernel. `report` gets lines for people."""

    def __init__(
        self,
        home: Path,
        kernel: Kernel,
        *,
        report: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._kernel = kernel
        self._report = report
        self._clock = clock
        self._store: ScheduleStore | None = None
        self._followed: set[asyncio.Task[None]] = set()
        self._told = ""

    async def watch(self) -> None:
        """Run what is due, as it becomes due, until cancelled."""
        while True:
            try:
                self.fire()
            except LlmosError as error:  # such as a full disk: what is due stays due
                if str(error) != self._told:
                    self._report(f"schedules: {error}")
                self._told = str(error)
            await asyncio.sleep(LOOK_S)

    def fire(self) -> list[int]:
        """Begin what is due and return the pids.

        Raises:
            StateError: the schedules or the journal cannot be written; what is due stays due.
        """
        if self._store is None:
            if not schedules_path(self._home).exists():
                return []
            self._store = ScheduleStore(self._home)
        if not self._store.has_due(self._clock()):
            return []
        with self._store.claiming() as is_ours:
            return self._fire(self._store) if is_ours else []

    def _fire(self, store: ScheduleStore) -> list[int]:
        """Run claims that others left behind, then what is due."""
        now = self._clock()
        begun: list[int] = []
        for run in store.unfinished():
            pid = self._begun_before(run)
            if pid is not None:
                store.set_pid(run, pid)
            else:
                begun.append(self._begin(store, store.claim_again(run, now)))
        return begun + [self._begin(store, run) for run in store.claim(now)]

    def _begun_before(self, run: Run) -> int | None:
        """Return the process that a kernel made for its claim before it died."""
        with closing(Journal(self._kernel.journal_path, is_read_only=True)) as journal:
            for record in journal.processes():
                is_of_claim = record.kernel_pid == run.kernel_pid and record.time >= run.claimed
                if is_of_claim and record.task == run.task:
                    return record.pid
        return None

    def _begin(self, store: ScheduleStore, run: Run) -> int:
        pid = self._kernel.spawn(run.task, is_attended=False).pid
        store.set_pid(run, pid)
        self._report(f"schedule {run.schedule}: process {pid} begins: {run.task}")
        follower = asyncio.create_task(self._follow(run, pid))
        self._followed.add(follower)
        follower.add_done_callback(self._followed.discard)
        return pid

    async def _follow(self, run: Run, pid: int) -> None:
        """Report what a run comes to."""
        try:
            outcome = await self._kernel.wait(pid)
        except LlmosError as error:
            outcome = str(error)
        self._report(f"schedule {run.schedule}: process {pid}: {outcome}")

    def close(self) -> None:
        for follower in self._followed:
            follower.cancel()
        if self._store is not None:
            self._store.close()


@asynccontextmanager
async def watching(
    home: Path, kernel: Kernel, *, report: Callable[[str], None]
) -> AsyncGenerator[None]:
    """Run what is due for the length of the block."""
    runner = ScheduleRunner(home, kernel, report=report)
    watch = asyncio.create_task(runner.watch(), name="schedules")
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait([watch])
        runner.close()
