"""``anyadbench run``: plan, train, score, and print the board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anyadbench.methods.descriptor import BUDGETS, MISSING, RETRAIN

if TYPE_CHECKING:
    from anyadbench.run.jobs import Job, Outcome


@click.command()
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    help="Method, 'all', or a pattern such as 'anomalib:*'; may be repeated.",
)
@click.option("--protocol", required=True, help="Name of a protocol, or a path that ends in .toml.")
@click.option(
    "--data", multiple=True, metavar="[NAME=]DIR", help="Folder of the data set, or NAME=DIR for each of several."
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(0),
    default=(0,),
    show_default=True,
    help="Run seed; may be repeated.",
)
@click.option("--budget", type=click.Choice(BUDGETS), help="Set of parameters; the protocol's by default.")
@click.option(
    "--weights",
    metavar="published|package|random|file:PATH",
    help="Pretrained weights; the protocol's profile by default.",
)
@click.option(
    "--missing",
    type=click.Choice([*MISSING, RETRAIN]),
    default="native",
    show_default=True,
    help="What hidden sequences become; retrain: one model for each set of sequences.",
)
@click.option("--set", "settings", multiple=True, metavar="METHOD.NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "tf32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
)
@click.option("--deterministic", is_flag=True, help="Allow deterministic algorithms only.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads per cell; the protocol's by default.")
@click.option("--keep-maps", type=click.Choice(["none", "sample", "all"]), default="sample", show_default=True)
@click.option("--launcher", default="local", show_default=True, help="How cells become processes.")
@click.option("--slots", type=click.IntRange(0), default=0, help="Cells at once; one per GPU, or one, by default.")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of fits, cells and boards.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def run(protocol: str, launcher: str, slots: int, runs: Path, as_json: bool, **options: Any) -> None:
    """Train and score methods on a protocol and print the board.

    Finished cells are not run again; interrupted ones go on where they stopped.
    """
    import signal

    from anyadbench.cli.protocols import extra_files
    from anyadbench.protocols import find_protocol, protocol_files
    from anyadbench.run.display import Display
    from anyadbench.run.plan import Request, make_plan

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # being ended is a request to stop, like Ctrl-C
    found = find_protocol(protocol, extra_files())
    file = Path(protocol) if protocol.endswith(".toml") else protocol_files(extra_files())[protocol]
    options |= {"methods": tuple(options["methods"]), "seeds": tuple(dict.fromkeys(options["seeds"]))}
    with Display() as display:
        jobs = make_plan(Request(protocol=found, protocol_file=file, runs=runs, **options), display.progress)
        outcomes = execute(jobs, launcher, slots, display)
    report(outcomes, runs, found.name, as_json)
    if any(outcome.status == "interrupted" for outcome in outcomes):
        raise SystemExit(130)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise SystemExit(2 if all(outcome.mistake for outcome in failed) else 1)


def execute(jobs: list[Job], launcher: str, slots: int, display: Any) -> list[Outcome]:
    """Run the jobs that are not finished; return every job's outcome in order."""
    from anyadbench.run.cells import write_text
    from anyadbench.run.jobs import Outcome
    from anyadbench.run.launchers import LaunchOptions, find_launcher

    launch = find_launcher(launcher)
    todo = []
    for job in jobs:
        with job.cell.lock(wait=False):
            if job.cell.done:
                display.note(f"{job.label}: finished before, not run again")
                continue
            todo.append(job)
            write_text(job.save() / "protocol.toml", Path(job.protocol_file).read_text(encoding="utf-8"))
    done = {outcome.job.cell_id: outcome for outcome in (launch(todo, LaunchOptions(display, slots)) if todo else [])}
    return [done.get(job.cell_id, Outcome(job, "cached")) for job in jobs]


def report(outcomes: list[Outcome], runs: Path, protocol: str, as_json: bool) -> None:
    """Say what failed, write the boards, and print the protocol's board."""
    from anyadbench.cli.output import clean, print_json

    for outcome in outcomes:
        if outcome.error:
            click.echo(f"{outcome.job.label}: {outcome.status}: {clean(outcome.error)}", err=True)
            for line in outcome.log_tail if outcome.status == "failed" else ():
                click.echo(f"  | {clean(line)}", err=True)
    finished = [outcome for outcome in outcomes if outcome.status in ("done", "cached")]
    if as_json:
        from anyadbench.run.cells import read_json

        print_json([read_json(outcome.job.cell.final / "result.json") for outcome in finished])
    if finished:
        from anyadbench.boards import build_boards, print_board

        for board in build_boards(runs, runs / "boards", protocol):
            if not as_json:
                print_board(board)
