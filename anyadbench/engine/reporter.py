"""A worker's messages to the process that started it: one JSON object per line on a dedicated pipe."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from anyadbench.errors import UserError
from anyadbench.files import write_text

MIN_INTERVAL = 0.1
RECORD_INTERVAL = 2.0
"""Seconds between writes of the file that other processes read the progress from."""

TRAINING = "training"
"""The phase of training steps, whose progress comes with losses."""

WAITING = "waiting for"
"""Prefix of the phases in which a worker only waits."""


class Interrupted(Exception):
    """The run was asked to stop; it can be resumed."""


class NewProcess(Exception):
    """The work must go on in a new process, since this one may be damaged; it can be resumed."""


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

    Attributes:
        losses: The losses of a late training step by name, shown with the progress of training.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._process = os.getpid()
        self._descriptor = descriptor
        self._last, self._done, self._label = 0.0, 0, ""
        self._stop = False
        self._record: Path | None = None
        self._phase: dict[str, Any] = {}
        self._recorded = 0.0
        self.losses: Mapping[str, float] = {}

    def record_in(self, path: Path) -> None:
        """Keep the progress in a file, for ``anyadbench runs``, and log each phase on standard output."""
        self._record = path

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
        """Report ``done`` of ``total`` of a phase: its beginning, its end, and at most ten times a second between.

        Where less is done than before, as by the next of several models, the estimate of the time left begins again.
        """
        now = time.monotonic()
        begins, again = label != self._label, done < self._done
        if not (begins or again) and (done < total or not total) and now - self._last < MIN_INTERVAL:
            return
        self._last, self._done, self._label = now, done, label
        finite = {name: value for name, value in self.losses.items() if math.isfinite(value)}
        losses = {"losses": finite} if label == TRAINING and finite else {}
        self.send(phase=label, done=done, total=total, **losses)
        if self._record is not None:
            self._keep(self._record, done, total, begins, again)

    def resumed(self, step: int, total: int) -> None:
        """Report that training resumes from a checkpoint."""
        said = f"resumed at step {step} of {total}"
        self.send(note=said)
        self.log(said)

    def log(self, text: str) -> None:
        """Write a line with the time to standard output, which is a worker's ``log.txt``; elsewhere do nothing."""
        if self._record is not None:
            with suppress(OSError, ValueError):  # a full disk, or a method that closed it
                print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", file=sys.stdout, flush=True)

    def _keep(self, record: Path, done: int, total: int, begins: bool, again: bool) -> None:
        now = time.time()
        if begins or again:
            self._phase = {"phase": self._label, "first": done, "began": now}
        if begins:
            self.log(f"{self._label}: {done} of {total}" if total else self._label)
        elif abs(now - self._recorded) < RECORD_INTERVAL:
            return
        self._recorded = now
        with suppress(UserError):  # showing the progress is not worth a cell
            write_text(record, json.dumps({**self._phase, "done": done, "total": total, "time": now}), fsync=False)

    def send(self, **event: Any) -> None:
        """Send one event; carry on if the reader is gone."""
        self._end_forks()
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, (json.dumps(event) + "\n").encode())
        except OSError:
            self._descriptor = None
