"""``anyadbench run``: plan, train, score, and print the board."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anyadbench.cli.blame import traceback_option
from anyadbench.cli.options import (
    SEED,
    THREADS,
    controls_option,
    data_option,
    device_option,
    extra_files,
    json_option,
    keep_maps_option,
    launcher_options,
    parse_duration,
    parse_settings,
    protocol_option,
    runs_option,
)
from anyadbench.engine.numerics import PRECISIONS
from anyadbench.errors import UserError
from anyadbench.methods.descriptor import BUDGETS, MISSING, RETRAIN
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from anyadbench.cells.job import Job, Outcome

STATUSES = ("done", "cached", "failed", "interrupted")


@click.command()
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    help="Method, 'all', or a pattern such as 'anomalib:*'; may be repeated.",
)
@protocol_option
@data_option
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=SEED,
    default=(0,),
    show_default=True,
    help="Run seed; may be repeated.",
)
@click.option("--budget", type=click.Choice(BUDGETS), help="Named set of parameters; the protocol's by default.")
@click.option(
    "--weights",
    metavar="published|package|random|file:PATH",
    help="Pretrained weights, or the authors' whole published network; the protocol's profile by default.",
)
@click.option(
    "--missing",
    type=click.Choice([*MISSING, RETRAIN]),
    default="native",
    show_default=True,
    help="What replaces hidden sequences; retrain: one model per subset.",
)
@click.option("--set", "settings", multiple=True, metavar="METHOD.NAME=VALUE", help="Set a parameter; may be repeated.")
@device_option
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
)
@click.option("--deterministic", is_flag=True, help="Allow only deterministic algorithms.")
@click.option(
    "--compile/--no-compile",
    default=None,
    help="Compile whole steps, or nothing; by default, transformer blocks in long trainings on a GPU.",
)
@click.option("--no-graph", is_flag=True, help="Run training steps on a GPU kernel by kernel, not as a CUDA graph.")
@click.option("--threads", type=THREADS, help="CPU threads per cell; the protocol's by default.")
@keep_maps_option
@controls_option
@launcher_options
@click.option("--time-limit", default="0", metavar="DURATION", help="End a cell as failed after e.g. 90s, 30m or 2h.")
@click.option(
    "--checkpoint-every", default="60s", show_default=True, metavar="DURATION", help="Time between checkpoints."
)
@click.option(
    "--retries",
    type=click.IntRange(0, 10_000),
    default=2,
    show_default=True,
    help="How often to restart a cell that was killed from outside.",
)
@runs_option("Folder of fits, cells and boards.")
@json_option("the results")
@traceback_option
def run(protocol: str, runs: Path, as_json: bool, traceback: bool, **options: Any) -> None:
    """Train and score methods on a protocol and print the board.

    Finished cells are not run again; interrupted ones resume from their last checkpoint.
    """
    from anyadbench.cells.training_coverage import training_coverage
    from anyadbench.data.store.remarks import remark
    from anyadbench.launch.dispatch import execute
    from anyadbench.launch.launchers import LaunchOptions, find_launcher
    from anyadbench.launch.launchers.local import devices
    from anyadbench.launch.plan import Request, make_plan
    from anyadbench.launch.progress import Display
    from anyadbench.launch.resources import check_fits, estimate
    from anyadbench.plugins import find_method
    from anyadbench.processes import stop_on_signals
    from anyadbench.protocols import find_protocol

    stop_on_signals()
    launcher, slots = str(options.pop("launcher")), int(options.pop("slots"))
    settings = parse_settings(options.pop("launcher_option"))
    find_launcher(launcher)
    if launcher == "shell" and as_json:
        raise UserError("--launcher shell prints commands where --json prints results; give only one of them.")
    found = find_protocol(protocol, extra_files())
    options |= {"methods": tuple(options["methods"]), "seeds": tuple(dict.fromkeys(options["seeds"]))}
    options["time_limit"] = parse_duration("--time-limit", options["time_limit"])
    options["checkpoint_seconds"] = parse_duration("--checkpoint-every", options.pop("checkpoint_every"))
    options["elsewhere"] = launcher not in ("local", "shell")
    with Display() as display:
        request = Request(protocol=found, runs=runs, **options)
        plan = make_plan(request, display.progress)
        for name, said in {**plan.left_out, **plan.refused}.items():
            display.note(f"{name}: left out: {said}")
        jobs = plan.jobs
        needed = max((estimate(job, plan.data) for job in jobs), key=lambda one: one.memory)
        if not request.elsewhere and launcher != "shell":
            check_fits(jobs, needed, len(devices(jobs, slots)))
        extra = sum(find_method(job.method)[0].is_control for job in jobs)
        cells = f"{len(jobs)} cells, of which {extra} are controls" if extra else f"{len(jobs)} cells"
        display.note(f"plan: {cells}; {needed.sentence}")
        if said := chosen_here(launcher, options["device"], options["precision"], jobs[0]):
            display.note(said)
        for said in filter(None, map(remark, plan.data.stores.values())):
            display.note(said)
        for name in training_coverage(plan.data).never:
            display.note(f"{SHORT[name]} is never trained on: no training slice of {found.train} has it")
        outcomes = execute(jobs, launcher, LaunchOptions(display, slots, settings))
    report(outcomes, runs, found.name, as_json, traceback)
    end(outcomes, plan.left_out, plan.refused)


def chosen_here(launcher: str, device: str, precision: str, job: Job) -> str:
    """Return what was derived from this machine for commands that may run on others; empty if nothing was."""
    if launcher != "shell" or "auto" not in (device, precision):
        return ""
    return (
        f"the commands compute in {job.policy['dtype']} on {job.policy['device']}, chosen for this machine; give "
        "--device and --precision for another one"
    )


def end(outcomes: Sequence[Outcome], left_out: Collection[str] = (), refused: Collection[str] = ()) -> None:
    """Exit with the code that the outcomes require; summarise a grid with failed or interrupted cells.

    Args:
        outcomes: One per cell.
        left_out: Methods of a group that cannot run here; they do not change the exit code.
        refused: Methods of a group that do not run for another reason.
    """
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    interrupted = any(outcome.status == "interrupted" for outcome in outcomes)
    if (failed or interrupted) and len(outcomes) > 1:
        counts = {name: sum(outcome.status == name for outcome in outcomes) for name in STATUSES}
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        click.echo(f"{len(outcomes)} cells: {said}. Run the same command again to finish the rest.", err=True)
    if left_out or refused:
        click.echo(f"Left out for the reasons above: {', '.join(sorted({*left_out, *refused}))}.", err=True)
    if interrupted:
        say_how_to_go_on([outcome.job for outcome in outcomes if outcome.status == "interrupted"])
        raise SystemExit(130)
    if failed or refused:
        raise SystemExit(2 if all(outcome.mistake for outcome in failed) else 1)


MOST_SAVED = 10
"""Interrupted cells whose saved state is printed."""


def say_how_to_go_on(jobs: Sequence[Job]) -> None:
    """Print what was saved of interrupted cells, and the command that goes on."""
    from anyadbench.cli import command_line

    for job in jobs[:MOST_SAVED]:
        click.echo(f"{job.label}: saved: {job.saved}.", err=True)
    if len(jobs) > MOST_SAVED:
        click.echo(f"Likewise for {len(jobs) - MOST_SAVED} more cells.", err=True)
    click.echo(f"To go on: {command_line()}", err=True)


def last_words(outcome: Outcome, traceback: bool) -> list[str]:
    """Return the end of a failed cell's log, without the traceback of its error unless that is wanted as a whole."""
    from anyadbench.cells.work_folder import TRACEBACK

    path, tail = outcome.job.cell.work / TRACEBACK, list(outcome.log_tail)
    whole = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in reversed(whole):
        if tail and tail[-1] == line[:500]:  # a log's lines are cut
            tail.pop()
    if not whole:
        return tail
    return [*tail, *whole] if traceback else [*tail, "--traceback shows where the error comes from."]


def report(outcomes: Sequence[Outcome], runs: Path, protocol: str, as_json: bool, traceback: bool = False) -> None:
    """Print what failed, write the boards, and print the protocol's board."""
    from anyadbench.cli.output import clean, print_json

    for outcome in outcomes:
        if outcome.error:
            click.echo(f"{outcome.job.label}: {outcome.status}: {clean(outcome.error)}", err=True)
            for line in last_words(outcome, traceback) if outcome.status == "failed" else ():
                click.echo(f"  | {clean(line)}", err=True)
    if any(outcome.status == "planned" for outcome in outcomes):
        return
    finished = [outcome for outcome in outcomes if outcome.status in ("done", "cached")]
    if as_json:
        from anyadbench.files import read_json

        print_json([read_json(outcome.job.cell.final / "result.json") for outcome in finished])
    if finished:
        from anyadbench.boards import build_boards, print_board

        for board in build_boards(runs, runs / "boards", protocol, option="--runs"):
            if not as_json:
                print_board(board)
