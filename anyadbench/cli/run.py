"""``anyadbench run``: plan, train, score, and print the board."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anyadbench.engine.numerics import PRECISIONS
from anyadbench.errors import UserError
from anyadbench.methods.descriptor import BUDGETS, MISSING, RETRAIN

if TYPE_CHECKING:
    from anyadbench.cells.job import Outcome

STATUSES = ("done", "cached", "failed", "interrupted")


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
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
)
@click.option("--deterministic", is_flag=True, help="Allow only deterministic algorithms.")
@click.option("--compile", is_flag=True, help="Use torch.compile; a failure is reported and recorded.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads per cell; the protocol's by default.")
@click.option("--keep-maps", type=click.Choice(["none", "sample", "all"]), default="sample", show_default=True)
@click.option("--launcher", default="local", show_default=True, help="local, shell, slurm, or a plugin's, such as ray.")
@click.option(
    "--launcher-option", "settings_", multiple=True, metavar="NAME=VALUE", help="Launcher option; may be repeated."
)
@click.option("--slots", type=click.IntRange(0), default=0, help="Cells run at once; by default one per GPU, or one.")
@click.option("--time-limit", default="0", metavar="DURATION", help="End a cell as failed after e.g. 90s, 30m or 2h.")
@click.option(
    "--checkpoint-every", default="60s", show_default=True, metavar="DURATION", help="Time between checkpoints."
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="How often to restart a cell that was killed from outside.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of fits, cells and boards.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def run(protocol: str, runs: Path, as_json: bool, **options: Any) -> None:
    """Train and score methods on a protocol and print the board.

    Finished cells are not run again; interrupted ones resume from their last checkpoint.
    """
    from anyadbench.cli.protocols import extra_files
    from anyadbench.launch.dispatch import execute
    from anyadbench.launch.launchers import LaunchOptions, find_launcher
    from anyadbench.launch.launchers.local import devices
    from anyadbench.launch.plan import Request, make_plan
    from anyadbench.launch.progress import Display
    from anyadbench.launch.resources import check_fits, estimate
    from anyadbench.protocols import find_protocol

    stop_on_signals()
    launcher, slots = str(options.pop("launcher")), int(options.pop("slots"))
    settings = parse_settings(options.pop("settings_"))
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
        display.note(f"plan: {len(jobs)} cells; {needed.sentence}")
        outcomes = execute(jobs, launcher, LaunchOptions(display, slots, settings))
    report(outcomes, runs, found.name, as_json)
    end(outcomes, plan.left_out, plan.refused)


def stop_on_signals() -> None:
    """Handle a termination signal like Ctrl-C; schedulers announce the end with SIGUSR1 or SIGUSR2."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.default_int_handler)


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
        raise SystemExit(130)
    if failed or refused:
        raise SystemExit(2 if all(outcome.mistake for outcome in failed) else 1)


def parse_settings(given: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` settings of a launcher.

    Raises:
        UserError: If a setting has another form.
    """
    parsed = {}
    for item in given:
        name, separator, value = item.partition("=")
        if not (separator and name.strip()):
            raise UserError(f"--launcher-option {item!r} is not of the form NAME=VALUE, e.g. partition=gpu.")
        parsed[name.strip()] = value.strip()
    return parsed


def parse_duration(option: str, text: str) -> float:
    """Return a duration such as ``90``, ``90s``, ``30m`` or ``2h`` in seconds.

    Raises:
        UserError: If the text is not a duration.
    """
    import re

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if match is None:
        raise UserError(f"{option} {text!r} is not a duration; give seconds, or e.g. 90s, 30m or 2h.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def report(outcomes: Sequence[Outcome], runs: Path, protocol: str, as_json: bool) -> None:
    """Print what failed, write the boards, and print the protocol's board."""
    from anyadbench.cli.output import clean, print_json

    for outcome in outcomes:
        if outcome.error:
            click.echo(f"{outcome.job.label}: {outcome.status}: {clean(outcome.error)}", err=True)
            for line in outcome.log_tail if outcome.status == "failed" else ():
                click.echo(f"  | {clean(line)}", err=True)
    if any(outcome.status == "planned" for outcome in outcomes):
        return
    finished = [outcome for outcome in outcomes if outcome.status in ("done", "cached")]
    if as_json:
        from anyadbench.files import read_json

        print_json([read_json(outcome.job.cell.final / "result.json") for outcome in finished])
    if finished:
        from anyadbench.boards import build_boards, print_board

        for board in build_boards(runs, runs / "boards", protocol):
            if not as_json:
                print_board(board)
