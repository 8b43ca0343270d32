"""Jobs that run in the order in which they are added, in a thread beside the one that adds them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from anyadbench.engine.reporter import Interrupted

if TYPE_CHECKING:
    from types import TracebackType

AHEAD = 2
"""Jobs that wait or run. While one counts, the device computes what the next will count, and has its next call."""

THREAD = "anyadbench-counting"
"""Prefix of the thread's name."""


class InOrder:
    """Runs jobs one after the other: beside the caller, or at once where there is nothing to overlap with.

    Results are the same either way, since one thread runs all jobs in their order. The error of a job is raised as it
    is, with its own traceback, by a later ``add`` or at the end; no job runs after one that failed. At the end all jobs
    have run. If the caller fails, they run before its error goes on, so that the earliest error is raised, as without a
    thread; if the caller is interrupted, those that wait are dropped. Either way no thread is left.

    Args:
        beside: Whether jobs run in a thread of their own.
        check: Called before waiting; raises ``Interrupted`` if a stop was requested. It also ends a process that a
            method has forked, which has no such thread and would wait for ever.
        ahead: Most jobs that wait or run.
    """

    def __init__(self, beside: bool, check: Callable[[], None], ahead: int = AHEAD) -> None:
        self.beside, self._check, self._ahead = beside, check, ahead
        self._pool = ThreadPoolExecutor(1, THREAD) if beside else None
        self._added: deque[Future[None]] = deque()
        self._failed = False

    def add(self, job: Callable[[], object]) -> None:
        """Run a job after all those before; wait while too many do."""
        self._check()
        if self._pool is None:
            job()
            return
        while self._added and (self._added[0].done() or len(self._added) >= self._ahead):
            self._settle()
        self._added.append(self._pool.submit(self._run, job))

    def _run(self, job: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            job()
        except BaseException:
            self._failed = True
            raise

    def _settle(self) -> None:
        """Wait for the first job; it is taken from the list only once it has ended, as an interrupt may come first."""
        first = self._added[0]
        try:
            first.result()
        finally:
            if first.done():
                self._added.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        # An error of a job has come from `add`: what follows did not run.
        try:
            if kind is None or (issubclass(kind, Exception) and not issubclass(kind, Interrupted)):
                while self._added:
                    self._settle()
        finally:
            self._pool.shutdown(cancel_futures=True)
