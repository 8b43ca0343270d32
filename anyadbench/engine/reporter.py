"""What a worker tells the process that started it: one JSON object per line on a pipe of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from types import FrameType
from typing import Any

MIN_INTERVAL = 0.1
WAITING = "waiting for"
"""How the phases begin in which a worker does nothing itself."""


class Interrupted(Exception):
    """The run was asked to stop; what is there can be resumed."""


def wait_for(what: str, reporter: Reporter) -> None:
    """Say what is waited for, unless a stop was asked for."""
    reporter.check()
    reporter.progress(0, 0, f"{WAITING} {what}")


class Reporter:
    """Sends progress and looks out for a request to stop.

    A method may fork, and the forked process may come back here: it would train and write beside the real one. Every
    call from another process than the one that made the reporter ends that process.

    Args:
        descriptor: File descriptor to write to; ``None`` keeps silent.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._process = os.getpid()
        self._descriptor = descriptor
        self._last, self._label = 0.0, ""
        self._stop = False

    def watch_signals(self) -> None:
        """Let SIGINT, SIGTERM and the signals that clusters announce an end with ask for a clean stop."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        self._end_forks()
        return self._stop

    def check(self) -> None:
        """Raise ``Interrupted`` if a stop was asked for."""
        if self.stopping:
            raise Interrupted

    def _end_forks(self) -> None:
        if os.getpid() != self._process:
            os.write(2, b"A process that the method forked came back into the harness and was ended.\n")
            os._exit(1)

    def progress(self, done: int, total: int, label: str) -> None:
        """Report ``done`` of ``total`` of a phase; at most ten times a second, and always its beginning and end."""
        now = time.monotonic()
        if label == self._label and (done < total or not total) and now - self._last < MIN_INTERVAL:
            return
        self._last, self._label = now, label
        self.send(phase=label, done=done, total=total)

    def send(self, **event: Any) -> None:
        """Send one event; a reader that is gone is no reason to stop."""
        self._end_forks()
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, (json.dumps(event) + "\n").encode())
        except OSError:
            self._descriptor = None
