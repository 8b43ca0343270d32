"""``anyadbench score``: score another program's maps as a marked row."""

from __future__ import annotations

from pathlib import Path

import click

from anyadbench.cli.options import (
    PATH,
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
@keep_maps_option
@runs_option("Folder for the cell and the boards.")
@json_option("the result")
def score(protocol: str, runs: Path, name: str, as_json: bool, **options: object) -> None:
    """Score anomaly maps of another program with the metrics and slices of a protocol.

    The row is marked and never ranked with measured ones, because nothing is known about the program's training.
    """
    from typing import Any, cast

    from anyadbench.cli.output import clean
    from anyadbench.external.scored_maps import ScoreRequest, score_maps
    from anyadbench.launch.progress import Display
    from anyadbench.protocols import find_protocol

    found = find_protocol(protocol, extra_files())
    with Display() as display:
        request = ScoreRequest(protocol=found, runs=runs, name=name, **cast(Any, options))
        notes: list[str] = []
        cell = score_maps(request, display.progress, notes.append)
    for note in notes:
        click.echo(f"Note: {clean(note)}", err=True)
    from anyadbench.boards import build_boards, print_board

    if as_json:
        from anyadbench.cli.output import print_json
        from anyadbench.files import read_json

        print_json(read_json(cell.final / "result.json"))
    for board in build_boards(runs, runs / "boards", found.name):
        if not as_json:
            print_board(board)
