"""Running planned jobs through a launcher."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.run.cells import read_json, write_text
from anyadbench.run.jobs import PLAN, Job, Outcome
from anyadbench.run.launchers import LaunchOptions, find_launcher

_KEPT = ("none", "sample", "all")


def execute(jobs: Sequence[Job], launcher: str, options: LaunchOptions) -> list[Outcome]:
    """Run the jobs that are not finished; return every job's outcome in order.

    Raises:
        UserError: If there is no such launcher, it cannot be used, or a folder cannot be written.
    """
    launch = find_launcher(launcher)
    todo = []
    for job in jobs:
        with job.cell.lock(wait=False) as had:
            if job.cell.done:
                options.display.note(f"{job.label}: finished before, not run again{_lacking_maps(job)}")
                if had:  # of a process that planned the cell while another finished it
                    shutil.rmtree(job.cell.work, ignore_errors=True)
                continue
            todo.append(job)
            write_text(job.save(begin=had) / "protocol.toml", Path(job.protocol_file).read_text(encoding="utf-8"))
    done = {outcome.job.cell_id: outcome for outcome in (launch(todo, options) if todo else [])}
    return [done.get(job.cell_id, Outcome(job, "cached")) for job in jobs]


def _lacking_maps(job: Job) -> str:
    """Return what to do where a finished cell kept fewer maps than are asked for now; empty if it has them."""
    try:
        kept = str(read_json(job.cell.final / PLAN).get("keep_maps"))
    except UserError:
        return ""
    if kept not in _KEPT or _KEPT.index(kept) >= _KEPT.index(job.keep_maps):
        return ""
    return (
        f"; it kept its maps as --keep-maps {kept} says, not {job.keep_maps}. To score it again with its trained "
        f"model: anyadbench runs prune {job.cell.final.name} --runs {job.runs} --yes, then this command"
    )
