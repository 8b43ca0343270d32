"""Running planned jobs through a launcher."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from anyadbench.cells.job import PLAN, Job, Outcome
from anyadbench.errors import UserError
from anyadbench.files import LOCK_INTERVAL, read_json, write_text
from anyadbench.launch.launchers import LaunchOptions, find_launcher
from anyadbench.tables import read_text

_KEPT = ("none", "sample", "all")


def execute(jobs: Sequence[Job], launcher: str, options: LaunchOptions) -> list[Outcome]:
    """Run the jobs that are not finished; return every job's outcome in order.

    Raises:
        UserError: If there is no such launcher, it cannot be used or lacks a setting, or a folder cannot be written.
    """
    launch = find_launcher(launcher)
    todo: list[Job] = []
    others: list[Job] = []
    for job in jobs:
        planned = _plan_here(job)
        if planned is None:
            options.display.note(f"{job.label}: finished before, not run again{_lacking_maps(job)}")
            continue
        todo.append(job)
        if not planned:
            others.append(job)
    done = {outcome.job.cell_id: outcome for outcome in (launch(todo, options) if todo else [])}
    for job in others:
        if job.cell.done and (lacking := _lacking_maps(job)):
            options.display.note(f"{job.label}: run as another process planned it{lacking}")
    return [done.get(job.cell_id, Outcome(job, "cached")) for job in jobs]


def _plan_here(job: Job) -> bool | None:
    """Write a job into its cell unless another process holds the cell; return whether, or ``None`` if it is finished.

    The process that holds the cell reads and writes its files, so they are left alone: the job's worker uses the plan
    in the folder, and waits.
    """
    protocol = "protocol.toml"
    while True:
        with job.cell.lock(wait=False) as had:
            if job.cell.done:
                if had:  # left by a process that planned the cell while another finished it
                    shutil.rmtree(job.cell.work, ignore_errors=True)
                return None
            if had:
                text = read_text(Path(job.protocol_file))
                write_text(job.save() / protocol, text)
                return True
            if all((job.cell.work / name).is_file() for name in (PLAN, protocol)):
                return False
        time.sleep(LOCK_INTERVAL)  # it is being planned or removed


def _lacking_maps(job: Job) -> str:
    """Return advice if a finished cell kept fewer maps than now requested; empty otherwise."""
    try:
        kept = str(read_json(job.cell.final / PLAN).get("keep_maps"))
    except UserError:
        return ""
    if kept not in _KEPT or _KEPT.index(kept) >= _KEPT.index(job.keep_maps):
        return ""
    return (
        f"; its maps were kept with --keep-maps {kept}, not {job.keep_maps}. To score it again with its trained "
        f"model: anyadbench runs prune {job.cell.final.name} --runs {job.runs} --yes, then this command"
    )
