"""Launchers: how jobs become processes. Each takes jobs and options and returns one outcome per job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyadbench.cells.job import Job, Outcome
from anyadbench.errors import UserError, suggest
from anyadbench.results.read import LOG_LINES

if TYPE_CHECKING:
    from anyadbench.launch.progress import Display

BUILTIN = {
    "local": "anyadbench.launch.launchers.local:launch",
    "shell": "anyadbench.launch.launchers.shell:launch",
    "slurm": "anyadbench.launch.launchers.slurm:launch",
}


@dataclass(frozen=True)
class LaunchOptions:
    """Options for a launcher.

    Attributes:
        display: Where progress goes.
        slots: Cells that may run at once; 0 for the launcher's own choice (local: one per GPU, or one on the CPU).
        settings: The launcher's own settings by name.
    """

    display: Display
    slots: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


Launcher = Callable[[Sequence[Job], LaunchOptions], list[Outcome]]


def find_launcher(name: str) -> Launcher:
    """Return a launcher by name, built in or from a plugin.

    Raises:
        UserError: If no launcher has that name.
    """
    from importlib import import_module

    from anyadbench.plugins import collect
    from anyadbench.plugins.guard import PluginError, guarded

    known = dict(BUILTIN)
    for added in collect("anyadbench_launchers")[0]:
        known = {**added, **known}
    if name not in known:
        fix = " 'pip install anyadbench-ray' adds it." if name == "ray" else suggest(name, list(known))
        raise UserError(f"Unknown launcher {name!r}.{fix}")
    module, _, attribute = str(known[name]).partition(":")
    if name in BUILTIN:
        builtin: Launcher = getattr(import_module(module), attribute)
        return builtin
    try:
        launcher: Launcher = guarded(lambda: getattr(import_module(module), attribute), f"the import of {module}")
    except PluginError as error:
        raise UserError(f"The launcher {name!r} ({known[name]}) cannot be used: {error}; fix or update it.") from None
    return launcher


def cell_command(job: Job) -> list[str]:
    """Return the command that runs one planned cell, on any machine that sees the same files.

    Such commands may be run in any order, more than once, and in parallel: a finished cell is not run again, and the
    second of two processes on one cell waits. They import what this process imports, whatever folder they run in.
    """
    from anyadbench.processes import portable_command

    return portable_command("-m", "anyadbench", "runs", "work", job.cell.final.name, "--runs", job.runs)


def known_settings(options: LaunchOptions, launcher: str, known: Sequence[str]) -> dict[str, str]:
    """Return a launcher's settings.

    Raises:
        UserError: If one is unknown.
    """
    for name in options.settings:
        if name not in known:
            fix = suggest(name, list(known)) if known else " It takes none."
            raise UserError(f"--launcher-option {name}: the launcher {launcher} has no such setting.{fix}")
    return dict(options.settings)


def recorded_outcome(job: Job, log: str = "") -> Outcome:
    """Return how a job ended that was not run by this process, from its folder.

    Args:
        job: The job.
        log: The scheduler's log of it, for a cell that never started.
    """
    if job.cell.done:
        return Outcome(job, "done")
    state = job.cell.state()
    error = str(state.get("error") or "")
    if state.get("state") == "failed":
        tail = tuple(str(line) for line in state.get("log_tail") or ())
        return Outcome(job, "failed", error, tail, mistake=bool(state.get("mistake")))
    if state.get("state") == "pending" and log:
        return Outcome(
            job, "failed", "The cell did not start; the scheduler's log follows.", tuple(log.splitlines()[-LOG_LINES:])
        )
    if state.get("state") == "pending":
        return Outcome(job, "interrupted", "Not started; the same command runs it.")
    return Outcome(job, "interrupted", error or "It was ended from outside; the same command resumes it.")
