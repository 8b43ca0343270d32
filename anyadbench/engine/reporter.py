"""A worker's messages to the process that started it: one JSON object per line on a dedicated pipe."""

from __future__ import annotations

import json
import os
import signal
import time
from types import FrameType
from typing import Any

MIN_INTERVAL = 0.1
WAITING = "waiting for"
"""Prefix of the phases in which a worker only waits."""


class Interrupted(Exception):
    """The run was asked to stop; it can be resumed."""


def wait_for(what: str, reporter: Reporter) -> None:
    """Report what the worker waits for; raise ``Interrupted`` if a stop was requested."""
    reporter.check()
    reporter.progress(0, 0, f"{WAITING} {what}")


class Reporter:
    """Sends progress and watches for a request to stop.

    A method may fork, and the forked process may return into the harness, where it would train and write alongside the
    real one. Any call from a process other than the one that created the reporter therefore ends that process.

    Args:
        descriptor: File descriptor to write to; ``None`` writes nothing.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._process = os.getpid()
        self._descriptor = descriptor
        self._last, self._label = 0.0, ""
        self._stop = False

    def watch_signals(self) -> None:
        """Treat SIGINT, SIGTERM and the signals with which clusters announce an end as requests for a clean stop."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        self._end_forks()
        return self._stop

    def check(self) -> None:
        """Raise ``Interrupted`` if a stop was requested."""
        if self.stopping:
            raise Interrupted

    def _end_forks(self) -> None:
        if os.getpid() != self._process:
            os.write(2, b"A process forked by the method returned into the harness and was ended.\n")
            os._exit(1)

    def progress(self, done: int, total: int, label: str) -> None:
        """Report ``done`` of ``total`` of a phase: its beginning, its end, and at most ten times a second between."""
        now = time.monotonic()
        if label == self._label and (done < total or not total) and now - self._last < MIN_INTERVAL:
            return
        self._last, self._label = now, label
        self.send(phase=label, done=done, total=total)

    def send(self, **event: Any) -> None:
        """Send one event; carry on if the reader is gone."""
        self._end_forks()
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, (json.dumps(event) + "\n").encode())
        except OSError:
            self._descriptor = None
