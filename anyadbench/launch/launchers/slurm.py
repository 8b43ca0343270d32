"""SLURM through submitit: an array job, one cell per task.

A task runs the command that the launcher ``shell`` prints. SLURM requeues preempted tasks and those of a lost node;
submitit requeues a task at its time limit. A task that still ends early, and was not cancelled, is resubmitted a few
times. All of them resume from the last checkpoint.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anyadbench.cells.job import Job, Outcome
from anyadbench.errors import UserError
from anyadbench.files import explain_os_error, make_folder
from anyadbench.launch.launchers import LaunchOptions, cell_command, known_settings, recorded_outcome

POLL = 5.0
"""Seconds between queries of the queue."""

ARRAY = 1000
"""Largest number of tasks in one array job; SLURM's own limit is 1001 unless the site raised it."""

REQUEUES = 20
"""How often a task may reach its time limit and be requeued."""

STOP_SECONDS = 60.0
"""Seconds that a running cell has for its checkpoint when its time is up; SLURM warns 90 seconds before."""

SETTINGS = {
    "account": str, "constraint": str, "cpus": int, "gpus": int, "mem_gb": float, "partition": str, "poll": float,
    "qos": str, "signal_delay_s": int, "time": int,
}  # fmt: skip
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
)  # fmt: skip
"""States in which SLURM is done with a task."""

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
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_SECONDS)
        return DelayedSubmission(CellTask(self.command))


def launch(jobs: Sequence[Job], options: LaunchOptions) -> list[Outcome]:
    """Submit every job and wait until none of them is left in the queue.

    The first Ctrl-C cancels the tasks: running cells write a checkpoint first.

    Raises:
        UserError: If submitit or SLURM is missing, or refuses the settings.
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
    make_folder(Path(jobs[0].runs))
    # submitit leaves pickles for its tasks: in a folder that only this user can write, for as long as they run.
    try:
        folder = Path(tempfile.mkdtemp(prefix=".slurm-", dir=jobs[0].runs))
    except OSError as error:
        raise explain_os_error(error, Path(jobs[0].runs)) from None
    try:
        names = _submit(jobs, folder, settings, options)
        states, stopped = _wait(names, poll, options)
        outcomes, lost = [], []
        for name, job in zip(names, jobs, strict=True):
            outcome = recorded_outcome(job, _log(folder, name))
            outcomes.append(outcome)
            if outcome.status == "interrupted" and not stopped and not states.get(name, "").startswith("CANCELLED"):
                lost.append(job)
        return outcomes, lost
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parse(given: dict[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for name, text in given.items():
        try:
            parsed[name] = SETTINGS[name](text)
        except ValueError:
            raise UserError(f"--launcher-option {name}={text}: give a number.") from None
    return parsed


def _submit(jobs: Sequence[Job], folder: Path, settings: dict[str, Any], options: LaunchOptions) -> list[str]:
    """Submit one array job and return the name of each task in SLURM's queue."""
    try:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError:
        raise UserError("The launcher slurm needs submitit; 'pip install \"anyadbench[slurm]\"' adds it.") from None
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("The launcher slurm needs SLURM's sbatch and srun; run this on a machine of the cluster.")
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=REQUEUES)
    parameters: dict[str, Any] = {
        "job_name": "anyadbench",
        "time": 24 * 60,
        "cpus_per_task": max(int(job.policy["threads"]) for job in jobs),
        **({"gpus_per_node": 1} if any(job.policy["device"] == "cuda" for job in jobs) else {}),
        **({"array_parallelism": options.slots} if options.slots else {}),
        **{_RENAMED.get(name, name): value for name, value in settings.items()},
    }
    if "mem_gb" in parameters:
        parameters["mem"] = f"{int(float(parameters.pop('mem_gb')) * 1024)}MB"
    submitted: list[Any] = []
    try:
        executor.update_parameters(**parameters)
        for start in range(0, len(jobs), ARRAY):
            with executor.batch():
                submitted += [executor.submit(CellTask(cell_command(job))) for job in jobs[start : start + ARRAY]]
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"SLURM refused the job: {' '.join(str(error).split())[:300]}") from None
    names = [str(job.job_id) for job in submitted]
    options.display.note(f"submitted {len(jobs)} cells to SLURM as job {', '.join(_numbers(names))}")
    return names


def _wait(names: Sequence[str], poll: float, options: LaunchOptions) -> tuple[dict[str, str], bool]:
    """Wait for the tasks to end; return the last state of each, and whether Ctrl-C cancelled them."""
    numbers, stopped = _numbers(names), False
    last: dict[str, str] = {}
    while True:
        try:
            states = _queue(numbers)
            last |= states
            waiting = [name for name in names if not _ended(states.get(name, ""))]
            options.display.progress(len(names) - len(waiting), len(names), "cells")
            if not waiting:
                return last, stopped
            time.sleep(poll)
        except KeyboardInterrupt:
            if stopped:
                raise
            stopped = True
            options.display.note("stopping: cancelling the tasks, which write checkpoints (Ctrl-C again: leave them)")
            subprocess.run(["scancel", *numbers], capture_output=True, check=False)


def _numbers(names: Sequence[str]) -> list[str]:
    """Return the numbers of the array jobs that tasks belong to."""
    return list(dict.fromkeys(name.partition("_")[0] for name in names))


def _queue(numbers: Sequence[str]) -> dict[str, str]:
    """Return the state of each task of some jobs that SLURM still knows."""
    for _ in range(10):
        listed = subprocess.run(
            ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(numbers)}", "--format=%i %T"],
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode == 0 or "Invalid job id" in listed.stderr:
            return dict(line.split(maxsplit=1) for line in listed.stdout.splitlines() if " " in line.strip())
        time.sleep(POLL)  # the controller may be restarting
    raise UserError(f"squeue fails ({listed.stderr.strip()}); run the same command again when SLURM is back.")


def _ended(state: str) -> bool:
    return not state or state.strip() in ENDED


def _log(folder: Path, name: str) -> str:
    return "\n".join(
        path.read_text(encoding="utf-8", errors="replace")[-4000:] for path in folder.glob(f"{name}_*_log.err")
    )
