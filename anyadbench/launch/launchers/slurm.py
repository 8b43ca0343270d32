"""SLURM through submitit: an array job, one cell per task.

A task runs the command that the launcher ``shell`` prints. SLURM requeues preempted tasks and those of a lost node;
submitit requeues a task at its time limit. A task that still ends early, and was not cancelled, is resubmitted a few
times. All of them resume from the last checkpoint.

SLURM limits the tasks of an array and those of a user. Cells are split into arrays that it takes; the rest waits until
there is room. Whatever ends the command, tasks that are left in the queue keep the files that they need.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyadbench.cells.job import Job, Outcome
from anyadbench.errors import UserError
from anyadbench.files import explain_os_error, make_folder
from anyadbench.launch.launchers import LaunchOptions, cell_command, known_settings, recorded_outcome
from anyadbench.launch.launchers import slurm_queue as queue
from anyadbench.launch.launchers.numbers import Minutes, Number
from anyadbench.processes import portable_command

POLL = 5.0
"""Seconds between queries of the queue."""

ARRAY = 1000
"""Largest number of tasks in one array job; SLURM's own limit is 1001 unless the site changed it."""

REQUEUES = 20
"""How often a task may reach its time limit and be requeued."""

STOP_SECONDS = 60.0
"""Seconds that a running cell has for its checkpoint when its time is up; SLURM warns 90 seconds before."""

ENDING = 60.0
"""Seconds that cancelled tasks have to end, after which their files are left to them."""

SETTINGS: dict[str, Number | None] = {
    "account": None, "constraint": None, "partition": None, "qos": None,
    "cpus": Number("CPUs", 1, 100_000),
    "gpus": Number("GPUs", 0, 10_000),
    "max_submit": Number("tasks", 1, 10_000_000),
    "mem_gb": Number("gigabytes", 0.1, 1_000_000, whole=False),
    "poll": Number("seconds", 0.01, 3600, whole=False),
    "signal_delay_s": Number("seconds", 1, 65_535),
    "time": Minutes("minutes", 1, 5_256_000),
}  # fmt: skip
"""Settings by name; those without a number are text."""

_RENAMED = {"cpus": "cpus_per_task", "gpus": "gpus_per_node"}


class CellTask:
    """What one task does; submitit pickles it."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command; an early end raises, so that SLURM records a failure."""
        self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
        code = self._process.wait()
        if code:
            raise SystemExit(code)
        return code

    def checkpoint(self) -> Any:
        """Stop the cell after its checkpoint and return what to requeue; submitit calls it."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and self._process.poll() is None:
            # SLURM may have sent it already, and a command takes only SIGINT as a second request, to end at once.
            self._process.send_signal(signal.SIGUSR2)
            self._process.wait(STOP_SECONDS)
        return DelayedSubmission(CellTask(self.command))


def launch(jobs: Sequence[Job], options: LaunchOptions) -> list[Outcome]:
    """Submit every job and wait until none of them is left in the queue.

    The first Ctrl-C cancels the tasks: running cells write a checkpoint first. The second one leaves them.

    Raises:
        UserError: If submitit or SLURM is missing, refuses a job, or does not answer; it says what became of the tasks.
    """
    settings = _parse(known_settings(options, "slurm", tuple(SETTINGS)))
    poll = float(settings.pop("poll", POLL))
    outcomes: dict[str, Outcome] = {}
    todo = list(jobs)
    for again in range(max(job.retries for job in jobs) + 1):
        found, retry = _round(todo, settings, poll, options)
        outcomes |= {outcome.job.cell_id: outcome for outcome in found}
        todo = [job for job in retry if again < job.retries]
        if not todo:
            break
        options.display.note(f"SLURM lost {len(todo)} cells, which are submitted again")
    return [outcomes[job.cell_id] for job in jobs]


def _round(
    jobs: Sequence[Job], settings: dict[str, Any], poll: float, options: LaunchOptions
) -> tuple[list[Outcome], list[Job]]:
    """Submit jobs once; return the outcomes, and the jobs that ended early without being cancelled."""
    runs = Path(jobs[0].runs)
    make_folder(runs)
    _remove_old(runs)
    # submitit leaves pickles for its tasks: in a folder that only this user can write, for as long as they run.
    try:
        folder = Path(tempfile.mkdtemp(prefix=".slurm-", dir=runs))
    except OSError as error:
        raise explain_os_error(error, runs) from None
    round_ = None
    try:
        round_ = _Round(jobs, settings, folder, options)
        return round_.run(poll)
    finally:
        if round_ is None or not round_.live:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_old(runs: Path) -> None:
    """Remove the files of tasks that an earlier command left in the queue and that have ended since."""
    for folder in runs.glob(".slurm-*"):
        numbers = queue.job_numbers(path.name for path in folder.glob("*_submitted.pkl"))
        if numbers and not queue.may_run(numbers):
            shutil.rmtree(folder, ignore_errors=True)


class _Round:
    """Cells on their way through the queue.

    Attributes:
        todo: Cells that are not submitted yet.
        tasks: Cells by the name of their task in the queue.
        states: Last known state of each task.
    """

    def __init__(self, jobs: Sequence[Job], settings: dict[str, Any], folder: Path, options: LaunchOptions) -> None:
        self.todo, self.tasks, self.states = list(jobs), dict[str, Job](), dict[str, str]()
        self._jobs, self._options, self._folder = jobs, options, folder
        self._executor, self._refusals = _executor(jobs, settings, folder, options)
        self._limits = queue.read_limits(settings)
        self._stopped = self._waits = False

    @property
    def live(self) -> list[str]:
        """Tasks that have not ended, as far as is known."""
        return [name for name in self.tasks if not queue.ended(self.states.get(name, "PENDING"))]

    def run(self, poll: float) -> tuple[list[Outcome], list[Job]]:
        """Submit every cell and wait until no task is left; return as ``_round`` does."""
        while True:
            try:
                self._submit()
                self._look()
                if not self.todo and not self.live:
                    return self._outcomes()
                time.sleep(poll)
            except KeyboardInterrupt:
                self._stop()

    def _submit(self) -> None:
        """Submit as many cells as SLURM takes now.

        Raises:
            UserError: If it takes none, however long they wait.
        """
        if self.todo and not self.live and self._limits.submitted == 0:
            raise UserError(queue.CLOSED)
        fits = True
        while self.todo and fits:
            size = min(len(self.todo), ARRAY, self._limits.array or ARRAY)
            size = min(size, queue.room(self._limits, size))
            fits = size > 0 and self._submit_array(size)
        if self.todo and not self._waits:
            self._waits = True
            self._options.display.note(f"{len(self.todo)} cells wait until SLURM takes more jobs of yours")

    def _submit_array(self, size: int) -> bool:
        """Submit one array of at most ``size`` tasks, fewer if SLURM refuses that; return whether it took it."""
        asked = size
        while True:
            try:
                with self._executor.batch():
                    made = [self._executor.submit(CellTask(cell_command(job))) for job in self.todo[:size]]
                break
            except self._refusals as error:
                reason = queue.why_refused(error)
                array = "array" in reason.lower()
                if size > 1 and (array or (queue.FULL.search(reason) and not self.live)):
                    size //= 2
                elif queue.FULL.search(reason) and self._limits.submitted is not None:
                    if not self.live and queue.never(reason):
                        raise UserError(queue.CLOSED) from None
                    return False  # other jobs took the place in the meantime
                else:
                    self._give_up(reason)
        self.tasks |= {str(task.job_id): job for task, job in zip(made, self.todo, strict=False)}
        self.todo = self.todo[size:]
        if size < asked:
            self._limits = replace(self._limits, array=size) if array else replace(self._limits, submitted=size)
        number = str(made[0].job_id).partition("_")[0]
        self._options.display.note(f"submitted {size} cells to SLURM as job {number}")
        return True

    def _look(self) -> None:
        if not self.tasks:
            return
        try:
            now = queue.task_states(queue.job_numbers(self.live or self.tasks))
        except queue.QueueError as error:
            raise UserError(
                f"squeue fails ({error}){self._left()}; run the same command again when SLURM answers."
            ) from None
        self.states |= {name: now.get(name, "") for name in self.live}
        done = len(self.tasks) - len(self.live)
        self._options.display.progress(done, len(self._jobs), "cells")

    def _stop(self) -> None:
        if self._stopped:
            raise KeyboardInterrupt(f"at once{self._left()}")
        self._stopped, self.todo = True, []
        note = "stopping: cancelling the tasks, which write checkpoints (Ctrl-C again: leave them)"
        self._options.display.note(note)
        if self.live and not queue.cancel(queue.job_numbers(self.live)):
            self._options.display.note("scancel fails, so the tasks go on (Ctrl-C again: leave them)")

    def _give_up(self, reason: str) -> None:
        """Cancel what SLURM took, since it refused the rest.

        Raises:
            UserError: Always; it says what became of the tasks.
        """
        fix = queue.fix_of(reason)
        if not self.live:
            raise UserError(f"SLURM refused the job: {reason}; {fix}.")
        numbers = queue.job_numbers(self.live)
        cancelled = queue.cancel(numbers)
        deadline = time.monotonic() + ENDING
        with suppress(KeyboardInterrupt, UserError):
            while cancelled and self.live and time.monotonic() < deadline:
                self._look()
                time.sleep(min(POLL, 1.0))
        left = self._left() if not cancelled else f", and cancelled job {', '.join(numbers)}, which it had taken"
        left += f" and whose files stay in {self._folder} until it has ended" if cancelled and self.live else ""
        raise UserError(
            f"SLURM refused {len(self.todo)} of {len(self._jobs)} cells ({reason}){left}; {fix}, and run the same "
            "command again."
        )

    def _left(self) -> str:
        """Return what becomes of the tasks in the queue, as a part of a sentence."""
        if not self.live:
            return ""
        return (
            f"; the tasks of job {', '.join(queue.job_numbers(self.live))} go on and keep their files in {self._folder}"
        )

    def _outcomes(self) -> tuple[list[Outcome], list[Job]]:
        names = {job.cell_id: name for name, job in self.tasks.items()}
        outcomes, lost = [], []
        for job in self._jobs:
            name = names.get(job.cell_id)
            if name is None:
                outcomes.append(Outcome(job, "interrupted", "Not started; the same command runs it."))
                continue
            outcome = recorded_outcome(job, _log(self._folder, name))
            outcomes.append(outcome)
            cancelled = self._stopped or self.states.get(name, "").startswith("CANCELLED")
            if outcome.status == "interrupted" and not cancelled:
                lost.append(job)
        return outcomes, lost


def _parse(given: dict[str, str]) -> dict[str, Any]:
    """Return the settings, checked before anything is submitted.

    Raises:
        UserError: If a number is out of range, or a text is empty or has several lines.
    """
    parsed: dict[str, Any] = {}
    for name, text in given.items():
        kind = SETTINGS[name]
        if kind is None and not (text and text.isprintable()):
            raise UserError(f"--launcher-option {name}={text!r} is no name; give one on one line, or leave it out.")
        parsed[name] = text if kind is None else kind.parse(name, text)
    return parsed


def _executor(
    jobs: Sequence[Job], settings: dict[str, Any], folder: Path, options: LaunchOptions
) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return submitit's executor, and what it raises if SLURM refuses a job.

    Its tasks search for modules where this process does, and not in the folder that they run in.

    Raises:
        UserError: If submitit or SLURM is missing.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError:
        raise UserError("The launcher slurm needs submitit; 'pip install \"anyadbench[slurm]\"' adds it.") from None
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("The launcher slurm needs SLURM's sbatch and srun; run this on a machine of the cluster.")
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=REQUEUES, python=shlex.join(portable_command()))
    parameters: dict[str, Any] = {
        "job_name": "anyadbench",
        "time": 24 * 60,
        "cpus_per_task": max(int(job.policy["threads"]) for job in jobs),
        **({"gpus_per_node": 1} if any(job.policy["device"] == "cuda" for job in jobs) else {}),
        **({"array_parallelism": options.slots} if options.slots else {}),
        **{_RENAMED.get(name, name): value for name, value in settings.items() if name != "max_submit"},
    }
    if "mem_gb" in parameters:
        parameters["mem"] = f"{int(float(parameters.pop('mem_gb')) * 1024)}MB"
    executor.update_parameters(**parameters)
    return executor, (FailedJobError, FailedSubmissionError)


def _log(folder: Path, name: str) -> str:
    return "\n".join(
        path.read_text(encoding="utf-8", errors="replace")[-4000:] for path in folder.glob(f"{name}_*_log.err")
    )
