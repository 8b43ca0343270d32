"""``anyadbench score``: score another program's maps as a marked row."""

from __future__ import annotations

from pathlib import Path

import click

from anyadbench.cli.blame import plugin_errors, traceback_option
from anyadbench.cli.options import (
    PATH,
    SEED,
    controls_option,
    data_option,
    extra_files,
    json_option,
    keep_maps_option,
    protocol_option,
    runs_option,
)


@click.command()
@click.option(
    "--maps", type=PATH, required=True,
    help="Folder with one folder of maps for each subset, such as F+T1 (see docs/submitting.md).",
)  # fmt: skip
@protocol_option
@data_option
@click.option("--name", required=True, help="Name of the row on the board.")
@click.option("--source", default="", help="Program, version and publication behind the maps; shown on the board.")
@click.option("--seed", type=SEED, default=0, help="Seed that chose the subjects of a protocol with train.shots.")
@keep_maps_option
@controls_option
@runs_option("Folder for the cell and the boards.")
@json_option("the result")
@traceback_option
def score(
    protocol: str, runs: Path, name: str, controls: bool, as_json: bool, traceback: bool, **options: object
) -> None:
    """Score anomaly maps of another program with the metrics and slices of a protocol.

    The row is marked and never ranked with measured ones, because nothing is known about the program's training.
    """
    from typing import Any, cast

    from anyadbench.cells.job import Outcome
    from anyadbench.cli.output import clean
    from anyadbench.external.scored_maps import ScoreRequest, score_maps
    from anyadbench.launch.dispatch import execute
    from anyadbench.launch.launchers import LaunchOptions
    from anyadbench.launch.plan import Request, make_plan
    from anyadbench.launch.progress import Display
    from anyadbench.plugins.methods import CONTROLS
    from anyadbench.protocols import find_protocol

    found = find_protocol(protocol, extra_files())
    with plugin_errors(traceback), Display() as display:
        request = ScoreRequest(protocol=found, runs=runs, name=name, **cast(Any, options))
        notes: list[str] = []
        cell = score_maps(request, display.progress, notes.append)
        outcomes: list[Outcome] = []
        if controls:
            names = tuple(name for name, _ in CONTROLS)
            wanted = Request(names, found, runs, data=request.data, keep_maps=request.keep_maps)
            outcomes = execute(make_plan(wanted, display.progress).jobs, "local", LaunchOptions(display, 1, {}))
    for note in notes:
        click.echo(f"Note: {clean(note)}", err=True)
    from anyadbench.boards import build_boards, print_board

    if as_json:
        from anyadbench.cli.output import print_json
        from anyadbench.files import read_json

        print_json(read_json(cell.final / "result.json"))
    with plugin_errors(traceback):
        boards = build_boards(runs, runs / "boards", found.name, option="--runs")
    for board in boards:
        if not as_json:
            print_board(board)
    for outcome in outcomes:
        if outcome.error:
            click.echo(f"{outcome.job.label}: {outcome.status}: {clean(outcome.error)}", err=True)
    if any(outcome.error for outcome in outcomes):
        raise SystemExit(1)
