"""The default launcher: one process per cell, as many at once as there are slots.

The processes of two or more cells are forked from one that has imported what they all import, if the system allows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from pathlib import Path
from queue import Queue

from anyadbench.cells.job import Job, Outcome
from anyadbench.errors import UserError
from anyadbench.launch.launchers import LaunchOptions, known_settings
from anyadbench.launch.supervisor import Supervisor, worker_environment
from anyadbench.launch.warm.forked import WarmParents


class _Pool:
    """The cells that are running, so that Ctrl-C reaches all of them."""

    def __init__(self, total: int, options: LaunchOptions, warm: WarmParents) -> None:
        self.warm = warm
        self.lock = threading.Lock()
        self.running: set[Supervisor] = set()
        self.stopping = False
        self._ended, self._total, self._options = 0, total, options

    def interrupt(self, number: signal.Signals) -> None:
        with self.lock:
            self.stopping = True
            for supervisor in self.running:
                supervisor.stop(number)

    def begin(self, supervisor: Supervisor) -> bool:
        with self.lock:
            if not self.stopping:
                self.running.add(supervisor)
                self._options.display.cell_began(supervisor.job)
            return not self.stopping

    def end(self, supervisor: Supervisor, *, finished: bool) -> None:
        with self.lock:
            self.running.discard(supervisor)
            self._ended += 1
            with suppress(OSError):  # the terminal may be closed
                self._options.display.cell_ended(supervisor.job, self._ended, self._total, finished=finished)


def launch(jobs: Sequence[Job], options: LaunchOptions) -> list[Outcome]:
    """Run every job in its own process and return the outcomes in order.

    The first Ctrl-C lets running cells write a checkpoint and ends; the second kills them.

    Raises:
        UserError: If a setting of the launcher is unknown or wrong.
    """
    fork = known_settings(options, "local", ("fork",)).get("fork", "yes")
    if fork not in ("yes", "no"):
        raise UserError(f"--launcher-option fork={fork}: give yes or no.")
    shared = WarmParents(jobs if fork == "yes" else (), lambda job: worker_environment(job, None), options.display.note)
    with closing(shared):
        return _launch(jobs, options, shared)


def _launch(jobs: Sequence[Job], options: LaunchOptions, shared: WarmParents) -> list[Outcome]:
    slots: Queue[str | None] = Queue()
    for gpu in devices(jobs, options.slots):
        slots.put(gpu)
    pool = _Pool(len(jobs), options, shared)
    options.display.watch_cells([job.label for job in jobs], slots.qsize())
    executor = ThreadPoolExecutor(slots.qsize())
    futures = [executor.submit(_run_in_slot, job, slots, pool, options) for job in jobs]
    asked = passed_on = 0
    while True:
        try:  # all of it, so that a second Ctrl-C is never lost
            if passed_on < asked:
                passed_on = asked
                pool.interrupt(signal.SIGKILL if asked > 1 else signal.SIGINT)
                later = "stopping: writing checkpoints (Ctrl-C again: at once)"
                with suppress(OSError):  # the terminal may be closed, which is why the cells end
                    options.display.note("stopping at once" if asked > 1 else later)
            wait(futures)
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            asked += 1


def devices(jobs: Sequence[Job], slots: int) -> list[str | None]:
    """Return the GPU that each slot is pinned to (``None`` for the CPU); 0 slots means one per GPU, or one."""
    gpus = visible_gpus() if any(job.policy["device"] == "cuda" for job in jobs) else []
    return [gpus[i % len(gpus)] if gpus else None for i in range(slots or max(1, len(gpus)))]


def _run_in_slot(job: Job, slots: Queue[str | None], pool: _Pool, options: LaunchOptions) -> Outcome:
    gpu = slots.get()
    show = options.display
    supervisor = Supervisor(job, gpu=gpu, on_event=show.event, note=show.note, warm=pool.warm)
    outcome = Outcome(job, "interrupted", "Not started; the same command runs it.")
    try:
        if pool.begin(supervisor):
            outcome = supervisor.run()
        return outcome
    finally:
        pool.end(supervisor, finished=outcome.status == "done")
        slots.put(gpu)


def visible_gpus() -> list[str]:
    """Return the GPUs that cells may be pinned to, as ``CUDA_VISIBLE_DEVICES`` names them."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip()]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    printed = subprocess.run(
        [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return printed.stdout.split()
