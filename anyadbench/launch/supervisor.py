"""Running one cell in its own process and determining how it ended, whatever it does.

Every launcher ends here. The supervisor starts a worker, reads its events, enforces the time limit, keeps its log
short, removes what it leaves behind, and restarts it if something outside the cell ended it or it asks for that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from anyadbench.cells.job import Job, Outcome
from anyadbench.engine.reporter import WAITING
from anyadbench.errors import UserError
from anyadbench.files import explain_os_error
from anyadbench.launch.warm.forked import ForkedWorker, WarmParent, WarmParents
from anyadbench.launch.worker import AGAIN, FAILED, INTERRUPTED, MISTAKE, log_tail, smaller_batch
from anyadbench.paths import cache_dir
from anyadbench.processes import LIFELINE, python_command, python_path
from anyadbench.results.read import LOG_LINES

GRACE = 10.0
"""Seconds that a worker at its time limit has to write a checkpoint."""

LOG_CAP, LOG_HEAD, LOG_TAIL = 16 << 20, 1 << 18, 1 << 20
"""Size in bytes above which the middle of a log is dropped, and the bytes kept of its beginning and its end."""

POLL = 0.1
LOST = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
"""Signals by which something outside ends a worker: the kernel, a scheduler, an administrator."""

Note = Callable[[str], None]
OnEvent = Callable[[Job, dict[str, Any]], None]
Process = subprocess.Popen[bytes] | ForkedWorker


class Supervisor:
    """Runs one job.

    Args:
        job: The cell, saved in its folder.
        gpu: Device that it is pinned to; ``None`` leaves the choice to the environment.
        on_event: Called in a thread with every event of the worker.
        note: Called with messages to show once.
        warm: Processes that workers may be forked from; without, a worker is a new process.
    """

    def __init__(
        self,
        job: Job,
        *,
        gpu: str | None = None,
        on_event: OnEvent = lambda job, event: None,
        note: Note = lambda text: None,
        warm: WarmParents | None = None,
    ) -> None:
        self.job = job
        self._gpu, self._on_event, self._note = gpu, on_event, note
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._warm = warm
        self._parent: WarmParent | None = None
        self._stopping = False
        self._phase, self._said = "", ""
        self._watched = -1

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ask the worker to write a checkpoint and end, or end it with SIGKILL; it is not restarted."""
        with self._lock:
            self._stopping = True
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def run(self) -> Outcome:
        """Run the worker to its end and return how it ended; a failure of this cell never raises."""
        try:
            return self._run()
        except (OSError, UserError) as error:
            explained = explain_os_error(error, self.job.cell.work) if isinstance(error, OSError) else error
            return Outcome(self.job, "failed", self._said or str(explained), mistake=isinstance(explained, UserError))

    def _run(self) -> Outcome:
        job, attempt = self.job, 0
        while True:
            ended = self._attempt()
            if ended is None:
                return Outcome(job, "interrupted", "Not started; the same command runs it.")
            code, early, late = ended
            if late:
                return Outcome(job, "done") if job.cell.done else _failed(job, late)
            if code == AGAIN and not self._stopping and job.cell.state().get("state") == "interrupted":
                self._note(f"{job.label}: resumes in a new process")
                continue
            if self._stopping or -code not in LOST or attempt == job.retries:
                return worker_outcome(job, code, self._said or early, stopping=self._stopping, attempts=attempt + 1)
            attempt += 1
            self._note(f"{job.label}: ended by {signal.Signals(-code).name}; restarted ({attempt} of {job.retries})")

    def _attempt(self) -> tuple[int, str, str] | None:
        """Run one worker; return its exit code, early output, and a sentence if it exceeded its time limit."""
        if self._warm is not None:  # without the lock, so that a request to stop need not wait for imports
            self._parent = self._warm.parent_of(self.job, lambda: self._stopping)
        reading, writing = os.pipe()
        self._watched, held = os.pipe()
        with tempfile.TemporaryFile() as early, tempfile.TemporaryDirectory(prefix="anyadbench-") as scratch:
            with self._lock:
                if self._stopping:
                    for descriptor in (reading, writing, self._watched, held):
                        os.close(descriptor)
                    return None
                self._process = process = self._start(writing, early, scratch)
            os.close(writing)
            os.close(self._watched)
            reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
            reader.start()
            late = self._watch(process)
            _end_session(process.pid)
            os.close(held)  # until now, it would have shown the worker that this process is gone
            reader.join(1.0)
            early.seek(0)
            return process.wait(), early.read(1 << 16).decode("utf-8", "replace"), late

    def _start(self, events: int, early: BinaryIO, scratch: str) -> Process:
        job = self.job
        environment = worker_environment(job, self._gpu) | {"TMPDIR": scratch}
        if self._parent is not None:
            descriptors = {"errors": early.fileno(), "events": events, "lifeline": self._watched}
            forked = self._parent.start(str(job.cell.work), environment, **descriptors)
            if forked is not None:
                return forked
        options = ["--events", str(events), LIFELINE, str(self._watched)]
        command = python_command("-m", "anyadbench.launch.worker", str(job.cell.work), *options)
        # Its own session keeps the terminal's Ctrl-C from the worker (the supervisor passes it on once, as a request)
        # and allows everything that the method started to be ended with it.
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=early,
            pass_fds=(events, self._watched),
            start_new_session=True,
        )

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as events:
            for line in events:
                with suppress(ValueError):  # the method may write to any descriptor
                    event = json.loads(line)
                    if isinstance(event, dict):
                        self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        if "note" in event:
            self._note(f"{self.job.label}: {event['note']}")
            return
        self._phase, self._said = str(event.get("phase", "")), str(event.get("error", ""))
        self._on_event(self.job, event)

    def _watch(self, process: Process) -> str:
        """Wait for the worker to end; return a sentence if its time limit ended it."""
        limit, worked, last = self.job.time_limit, 0.0, time.monotonic()
        log = self.job.cell.work / "log.txt"
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
                return ""
            now = time.monotonic()
            if not self._phase.startswith(WAITING):
                worked += now - last
            last = now
            shorten_log(log)
            if limit and worked > limit:
                return self._end_late(process)

    def _end_late(self, process: Process) -> str:
        phase = f" while {self._phase!r}" if self._phase else ""
        process.terminate()
        try:
            process.wait(GRACE)
            how = "it was stopped"
        except subprocess.TimeoutExpired:
            how = f"it did not stop within {GRACE:g} s and was killed"
        return (
            f"The time limit of {self.job.time_limit:g} s passed{phase}; {how}. Raise --time-limit and run the same "
            "command again: it resumes from the last checkpoint."
        )


def _end_session(leader: int) -> None:
    """End every process that the worker started and left running."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _failed(job: Job, error: str) -> Outcome:
    tail = log_tail(job.cell.work / "log.txt")
    with suppress(OSError, UserError):  # the disk may still be full
        _record(job, state="failed", error=error, log_tail=tail)
    return Outcome(job, "failed", error, tuple(tail))


def _record(job: Job, **values: Any) -> None:
    """Write into a cell's record, unless another process works on the cell, for which this job's worker waited."""
    if job.cell.work.is_dir():
        with job.cell.lock(wait=False) as had:
            if had and not job.cell.done:
                job.cell.update(**values)


def worker_outcome(job: Job, code: int, early: str = "", *, stopping: bool = False, attempts: int = 1) -> Outcome:
    """Return what became of a job whose worker ended with ``code``.

    Args:
        job: The job.
        code: Exit code, negative for a signal.
        early: The worker's message in its last event, or its output before that went to the log.
        stopping: Whether it was asked to stop.
        attempts: How often it was started.
    """
    if job.cell.done:
        return Outcome(job, "done")
    state = job.cell.state()
    # Only the worker's own record counts: a method may end the process with any code.
    said = str(state.get("error") or "")
    tail = tuple(log_tail(job.cell.work / "log.txt") or early.splitlines()[-LOG_LINES:])
    recorded = code in (INTERRUPTED, AGAIN) and state.get("state") == "interrupted"
    if recorded or (code == INTERRUPTED and stopping):
        return Outcome(job, "interrupted", said or "Stopped before it began; the same command runs it.")
    if code == MISTAKE and (said or early):
        error = said or early.strip().splitlines()[-1]
        if not said:  # it could not write its record: the disk was full until its temporary files were removed
            _failed(job, error)
        return Outcome(job, "failed", error, mistake=True)
    if code == FAILED and said and state.get("state") == "failed":
        return Outcome(job, "failed", said, tail)
    if code == FAILED and early and not said:  # it could not write its record: the disk is full
        return _failed(job, early.strip().splitlines()[-1])
    if stopping and code < 0:
        error = "Ended at once on request; the same command resumes it from its last checkpoint."
        _record(job, state="interrupted", error=error)
        return Outcome(job, "interrupted", error)
    return _failed(job, _how_it_ended(job, code, attempts))


def _how_it_ended(job: Job, code: int, attempts: int) -> str:
    log = job.cell.work / "log.txt"
    if code >= 0:
        return f"The worker process ended with exit code {code} without saying why; see {log}."
    times = f" {attempts} times" if attempts > 1 else ""
    said = f"The worker process was ended by signal {signal.Signals(-code).name}{times}; see {log}."
    if code == -signal.SIGKILL:
        said += f" If nobody killed it, memory ran out: {smaller_batch(job)}"
    return said


def worker_environment(job: Job, gpu: str | None) -> dict[str, str]:
    """Return the environment of a worker: this process's modules, and thread counts that libraries read early."""
    threads = str(job.policy["threads"])
    environment = {**os.environ, **python_path(), "PYTHONHASHSEED": "0"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    with suppress(UserError):  # without a home folder, torch keeps what it compiles in the cell's temporary folder
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "torch"))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment


def shorten_log(path: Path) -> None:
    """Drop the middle of a log that grew too long; the worker keeps appending to it."""
    with suppress(OSError):
        if path.stat().st_size <= LOG_CAP:
            return
        with open(path, "r+b") as file:
            head = file.read(LOG_HEAD)
            file.seek(-LOG_TAIL, os.SEEK_END)
            tail = file.read()
            file.seek(0)
            file.write(head + b"\n[the middle of this log was dropped: it grew too long]\n" + tail)
            file.truncate()
