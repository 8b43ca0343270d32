"""The default launcher: one subprocess per cell, as many at once as there are slots."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from queue import Queue

from anyadbench.run.jobs import Job, Outcome, Status
from anyadbench.run.launchers import LaunchOptions
from anyadbench.run.worker import DONE, INTERRUPTED, MISTAKE, log_tail


class _Pool:
    """Running workers, so that Ctrl-C reaches all of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopping = False

    def interrupt(self, number: signal.Signals) -> None:
        with self.lock:
            self.stopping = True
            for process in self.running:
                process.send_signal(number)


def launch(jobs: Sequence[Job], options: LaunchOptions) -> list[Outcome]:
    """Run every job in a process of its own and return the outcomes in order.

    The first Ctrl-C lets running cells write a checkpoint and ends; the second kills them.
    """
    gpus = _visible_gpus() if any(job.policy["device"] == "cuda" for job in jobs) else []
    slots: Queue[str | None] = Queue()
    for i in range(options.slots or max(1, len(gpus))):
        slots.put(gpus[i % len(gpus)] if gpus else None)
    pool = _Pool()
    executor = ThreadPoolExecutor(slots.qsize())
    futures = [executor.submit(_run_in_slot, job, slots, pool, options) for job in jobs]
    while True:
        try:
            wait(futures)
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            again = pool.stopping
            later = "stopping: writing checkpoints (Ctrl-C again: at once)"
            options.display.note("stopping at once" if again else later)
            pool.interrupt(signal.SIGKILL if again else signal.SIGINT)


def _run_in_slot(job: Job, slots: Queue[str | None], pool: _Pool, options: LaunchOptions) -> Outcome:
    gpu = slots.get()
    try:
        return _run(job, gpu, pool, options)
    finally:
        slots.put(gpu)


def _run(job: Job, gpu: str | None, pool: _Pool, options: LaunchOptions) -> Outcome:
    if pool.stopping:
        return Outcome(job, "interrupted", "Not started; the same command runs it.")
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "anyadbench.run.worker", str(job.cell.work), "--events", str(writing)]
    with pool.lock:
        # A session of its own keeps the terminal's Ctrl-C away from the worker: it is passed on once, as a request.
        process = subprocess.Popen(
            command,
            env=worker_environment(job, gpu),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(writing,),
            start_new_session=True,
        )
        pool.running.add(process)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as events:
        for line in events:
            options.display.event(job, json.loads(line))
    early = process.stderr.read().decode("utf-8", "replace") if process.stderr else ""
    code = process.wait()
    with pool.lock:
        pool.running.discard(process)
    return outcome(job, code, early)


def outcome(job: Job, code: int, early: str = "") -> Outcome:
    """Return what became of a job whose worker ended with ``code``.

    Args:
        job: The job.
        code: Exit code, negative for a signal.
        early: What the worker printed before its output went to the log.
    """
    if code == DONE and job.cell.done:
        return Outcome(job, "done")
    status: Status = (
        "interrupted" if code in (INTERRUPTED, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT) else "failed"
    )
    state = job.cell.state()
    tail = log_tail(job.cell.work / "log.txt") or early.splitlines()[-40:]
    error = state.get("error")
    if not error:
        cause = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        hint = "; if nobody killed it, memory ran out: lower batch_size" if code == -signal.SIGKILL else ""
        error = f"The worker process ended {cause} without saying why; see {job.cell.work / 'log.txt'}{hint}."
        if job.cell.work.is_dir():
            job.cell.update(state=status, error=error, log_tail=list(tail))
    if code == MISTAKE:
        return Outcome(job, status, str(error), mistake=True)
    return Outcome(job, status, str(error), tuple(tail))


def worker_environment(job: Job, gpu: str | None) -> dict[str, str]:
    """Return the environment of a worker: thread counts fixed before any library reads them."""
    threads = str(job.policy["threads"])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    environment["PYTHONHASHSEED"] = "0"
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment


def _visible_gpus() -> list[str]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    printed = subprocess.run(
        [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return printed.stdout.split()
