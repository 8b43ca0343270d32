"""``anyadbench runs``: the cells of a runs folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anyadbench.cli.blame import traceback_option
from anyadbench.cli.options import RUNS, json_option, launcher_options, parse_settings, runs_option
from anyadbench.cli.output import clean, print_json, print_table
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.cells.job import Job

RUNS_OPTION = runs_option(default=None)


@click.group(invoke_without_command=True)
@RUNS_OPTION
@json_option()
@click.pass_context
def runs(ctx: click.Context, runs: Path | None, as_json: bool) -> None:
    """List cells with state, age and size; show, rerun or prune them."""
    ctx.obj = runs
    if ctx.invoked_subcommand is not None:
        return
    from anyadbench.cells.inventory import human_age, human_size, list_cells

    entries = list_cells(runs or RUNS)
    if as_json:
        print_json([entry.to_dict() for entry in entries])
        return
    if not entries:
        click.echo(f"{runs or RUNS} holds no cells yet.")
        return
    rows = []
    for entry in entries:
        said = (entry.record.error or entry.record.problem or "")[:200]
        now = "" if entry.progress is None else entry.progress.text
        rows.append([entry.name, entry.state, human_age(entry.age), human_size(entry.size), now, said])
    print_table(["cell", "state", "age", "size", "progress", "problem"], rows)


@runs.command()
@click.argument("cell")
@RUNS_OPTION
@json_option()
@click.pass_obj
def show(above: Path | None, /, cell: str, runs: Path | None, as_json: bool) -> None:
    """Show one cell; CELL is its name or id, or the beginning of either."""
    from anyadbench.cells.inventory import find_cell, human_age, human_size
    from anyadbench.results.training import described

    entry = find_cell(runs or above or RUNS, cell)
    record, result = entry.record, entry.record.result
    if as_json:
        print_json(
            entry.to_dict()
            | {"log_tail": list(record.log_tail), "result": None if result is None else result.model_dump(mode="json")}
        )
        return
    progress = None if entry.progress is None else entry.progress.text
    pairs: list[tuple[str, Any]] = [
        ("cell", entry.name), ("state", entry.state), ("method", record.method), ("protocol", record.protocol),
        ("seed", record.seed), ("progress", progress), ("age", human_age(entry.age)), ("size", human_size(entry.size)),
        ("folder", record.folder), ("error", record.error), ("problem", record.problem),
    ]  # fmt: skip
    if result is not None:
        numerics = ", ".join(f"{name} {value}" for name, value in result.numerics.model_dump().items())
        pairs += [
            ("fit", result.fit_id[:16]),
            ("budget", result.method.budget),
            ("parameters", ", ".join(f"{name}={value}" for name, value in sorted(result.method.params.items()))),
            ("numerics", numerics),
            ("resumed", result.train.get("environments")),
            ("rows", len(result.rows)),
            ("timings", ", ".join(f"{name} {value:.1f}" for name, value in sorted(result.timings.items()))),
            ("memory", ", ".join(f"{name} {value:.0f}" for name, value in sorted(result.memory.items()))),
        ]
        pairs += [("losses", line) for line in described(result.training)[:20]]
    for name, value in pairs:
        if value is not None:
            click.echo(f"{name + ':':<12}{clean(str(value))}")
    for line in record.log_tail:
        click.echo(f"  | {clean(line)}")


@runs.command()
@click.argument("cells", nargs=-1)
@click.option("--failed", is_flag=True, help="Every failed cell.")
@click.option("--unfinished", is_flag=True, help="Every cell that was interrupted, is waiting, or failed.")
@launcher_options
@RUNS_OPTION
@traceback_option
@click.pass_obj
def rerun(
    above: Path | None,
    /,
    cells: tuple[str, ...],
    failed: bool,
    unfinished: bool,
    runs: Path | None,
    traceback: bool,
    **options: Any,
) -> None:
    """Run cells again as planned, with the method's files and the data as they are now."""
    from anyadbench.cells.inventory import find_cell, list_cells
    from anyadbench.cli.run import end, report
    from anyadbench.launch.dispatch import execute
    from anyadbench.launch.launchers import LaunchOptions, find_launcher
    from anyadbench.launch.progress import Display
    from anyadbench.launch.replan import replan
    from anyadbench.processes import stop_on_signals

    folder = runs or above or RUNS
    if not (cells or failed or unfinished):
        raise UserError("Say which cells to run again: --failed, --unfinished, or their names.")
    states = {"failed"} | ({"interrupted", "pending"} if unfinished else set())
    entries = [find_cell(folder, name) for name in cells]
    if failed or unfinished:
        entries += [entry for entry in list_cells(folder) if entry.state in states]
    entries = list({entry.name: entry for entry in entries if entry.state != "done"}.values())
    if not entries:
        click.echo(f"{folder} holds no such cell.", err=True)
        return
    stop_on_signals()
    find_launcher(options["launcher"])
    with Display() as display:
        launch = LaunchOptions(display, options["slots"], parse_settings(options["launcher_option"]))
        jobs: dict[str, Job] = {}
        refused: list[str] = []
        for entry in entries:
            try:
                job = replan(entry, display)
                jobs[job.cell_id] = job
            except UserError as error:  # the cells before it may be others by now, and must be run
                refused.append(entry.name)
                display.note(f"{entry.name}: left out: {error}")
        outcomes = execute(list(jobs.values()), options["launcher"], launch)
    for protocol in sorted({outcome.job.protocol for outcome in outcomes}):
        report(
            [outcome for outcome in outcomes if outcome.job.protocol == protocol], folder, protocol, False, traceback
        )
    end(outcomes, refused=refused)


@runs.command()
@click.argument("cells", nargs=-1)
@click.option("--unfinished", is_flag=True, help="Also remove cells that could be resumed.")
@click.option("--yes", is_flag=True, help="Remove them; without it, only list what would be removed.")
@RUNS_OPTION
@json_option()
@click.pass_obj
def prune(
    above: Path | None, /, cells: tuple[str, ...], unfinished: bool, yes: bool, runs: Path | None, as_json: bool
) -> None:
    """Remove failed cells, trained models that no cell uses, and leftovers; or the named cells."""
    from anyadbench.cells.inventory import human_size, removable, remove, sizes

    removals = removable(runs or above or RUNS, cells, unfinished=unfinished)
    freed = sizes([removal.path for removal in removals])[1]
    if as_json:
        listed = [{"path": str(r.path), "reason": r.reason, "bytes": sizes([r.path])[0]} for r in removals]
        print_json({"removed": yes, "freed_bytes": freed, "folders": listed})
    else:
        if removals:
            rows = [[r.path.name, human_size(sizes([r.path])[0]), r.reason] for r in removals]
            print_table(["folder", "size", "why"], rows)
        done = "freed" if yes else "would be freed; --yes removes them"
        click.echo(f"{len(removals)} folders, {human_size(freed)} {done}.")
    if yes:
        remove(removals)


@runs.command()
@click.argument("cell")
@RUNS_OPTION
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option(
    "--lifeline",
    type=click.IntRange(0),
    metavar="FD",
    help="End when this pipe closes: its other end is the launcher's.",
)
@click.pass_obj
def work(above: Path | None, /, cell: str, runs: Path | None, quiet: bool, lifeline: int | None) -> None:
    """Run one planned cell on this machine; launchers print and submit this command."""
    from anyadbench.cells.job import Job, Outcome
    from anyadbench.cli.output import clean
    from anyadbench.cli.run import end
    from anyadbench.launch.launchers import LaunchOptions
    from anyadbench.launch.launchers.local import launch
    from anyadbench.launch.progress import Display
    from anyadbench.launch.supervisor import GRACE
    from anyadbench.processes import ORPHAN_GRACE, end_with_parent, stop_on_signals

    stop_on_signals()
    if lifeline is not None:
        end_with_parent(lifeline, grace=ORPHAN_GRACE + GRACE)
    folder = planned_folder(runs or above or RUNS, cell)
    with Display(quiet=quiet) as display:
        job = Job.load(folder)
        outcome = Outcome(job, "cached") if job.cell.done else launch([job], LaunchOptions(display, 1))[0]
        if outcome.status == "cached":
            display.note(f"{job.label}: finished before, not run again")
    if outcome.error:
        click.echo(f"{job.label}: {outcome.status}: {clean(outcome.error)}", err=True)
        for line in outcome.log_tail if outcome.status == "failed" else ():
            click.echo(f"  | {clean(line)}", err=True)
    end([outcome])


def planned_folder(runs: Path, name: str) -> Path:
    """Return the folder of a cell by its full name.

    Raises:
        UserError: If there is none.
    """
    from anyadbench.cells.work_folder import PARTIAL

    if name not in (".", "..") and "/" not in name:
        for folder in (runs / "cells" / name, runs / "cells" / f"{name}{PARTIAL}"):
            if (folder / "plan.json").is_file():
                return folder
    raise UserError(f"{runs} holds no planned cell {name!r}; plan it with 'anyadbench run --launcher shell'.")
