"""The launcher that runs nothing: it prints one command per cell, for any queue."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from anyadbench.cells.job import Job, Outcome
from anyadbench.launch.launchers import LaunchOptions, cell_command, known_settings


def launch(jobs: Sequence[Job], options: LaunchOptions) -> list[Outcome]:
    """Print one quoted command per cell to standard output."""
    known_settings(options, "shell", ())
    for job in jobs:
        print(shlex.join(cell_command(job)), flush=True)
    return [Outcome(job, "planned") for job in jobs]
