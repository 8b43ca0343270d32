"""Running the code of plugins: whatever it raises, prints or waits for affects only the plugin."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType
from typing import NoReturn, TypeVar

from anyadbench.processes import STOPS, stop

LIMIT = 30.0
"""Seconds that a plugin has to be imported, or to answer a hook."""

SECONDS = "ANYADBENCH_PLUGIN_SECONDS"
"""Environment variable with another limit, for slow file systems; 0 for none."""

T = TypeVar("T")


class PluginError(Exception):
    """A plugin's code failed; the text is the cause, without a fix."""


class _Overdue(BaseException):
    """The time of a plugin is up; its own ``except Exception`` shall not catch it."""


def guarded(work: Callable[[], T], what: str, limit: float | None = None) -> T:
    """Run a plugin's code and return its result.

    What it prints goes to standard error, since standard output may be JSON. It cannot end the process, and has
    ``LIMIT`` seconds, as long as it runs in the main thread.

    Args:
        work: Imports or calls the plugin.
        what: For the message after Ctrl-C, e.g. ``the import of plugin 'x'``.
        limit: Seconds instead of ``LIMIT``; 0 for none.

    Raises:
        PluginError: If it raises anything, exits, or does not end in time.
        KeyboardInterrupt: If the user stops it.
    """
    limit = _limit() if limit is None else limit
    with _printing_to_stderr(), _stops() as stopped, _alarm(limit), _no_exit():
        try:
            found = work()
        except _Overdue:
            fix = f"set {SECONDS} to allow more"
            raise PluginError(f"TimeoutError: it did not end within {limit:g} s ({fix})") from None
        except BaseException as error:  # a plugin may raise anything, SystemExit and KeyboardInterrupt included
            if stopped:
                raise KeyboardInterrupt(f"during {what}") from None
            cause = " ".join(str(error).split())[:300]
            raise PluginError(f"{type(error).__name__}: {cause}") from error
    if stopped:  # the plugin caught it
        raise KeyboardInterrupt(f"during {what}")
    return found


def _limit() -> float:
    with suppress(ValueError):
        return max(0.0, float(os.environ.get(SECONDS, LIMIT)))
    return LIMIT


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Send standard output, of C code too, to standard error."""
    before = sys.stdout, sys.stderr
    kept = -1
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with suppress(OSError):  # either may be closed
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout, sys.stderr = before
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def _stops() -> Iterator[list[int]]:
    """Yield a list of the signals that asked this process to stop: a plugin may raise ``KeyboardInterrupt`` itself."""
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    # A worker only takes note of signals, and stops later: its handlers stay.
    before = {int(number): signal.getsignal(number) for number in STOPS}
    ours = [number for number, handler in before.items() if handler in (stop, signal.default_int_handler)]

    def note(number: int, frame: FrameType | None) -> NoReturn:
        stopped.append(number)
        if before[number] is stop:
            stop(number, frame)
        raise KeyboardInterrupt

    for number in ours:
        signal.signal(number, note)
    try:
        yield stopped
    finally:
        ignored = any(before[number] is stop for number in stopped)
        for number in ours:
            if number == signal.SIGINT or not ignored:
                signal.signal(number, before[number])


@contextmanager
def _alarm(limit: float) -> Iterator[None]:
    """Raise ``_Overdue`` in the main thread when the time is up; an alarm that was set before is set again."""
    if not limit or threading.current_thread() is not threading.main_thread():
        yield
        return

    def overdue(number: int, frame: FrameType | None) -> NoReturn:
        raise _Overdue

    handler = signal.signal(signal.SIGALRM, overdue)
    # Again and again, since the plugin may catch it.
    left, interval = signal.setitimer(signal.ITIMER_REAL, limit, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.1), interval)


@contextmanager
def _no_exit() -> Iterator[None]:
    """Turn ``os._exit``, which would end this process without a word, into an exception."""
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:  # a process that the plugin forked
            leave(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave
