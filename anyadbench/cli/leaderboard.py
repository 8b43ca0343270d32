"""``anyadbench leaderboard``: build, publish and check boards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anyadbench.cli.options import PATH, UserPath, json_option, runs_option

if TYPE_CHECKING:
    from anyadbench.boards.verify.submission import CheckReport


@click.group()
def leaderboard() -> None:
    """Build boards from results, and check submissions."""


@leaderboard.command()
@runs_option()
@click.option(
    "--out",
    type=PATH,
    help="Folder for the boards, one subfolder per protocol; RUNS/boards by default.",
)
@click.option("--protocol", help="Only the board of this protocol.")
@click.option(
    "--reported",
    type=UserPath(exists=True, file_okay=False),
    help="Folder with tables from publications to add to the boards; 'reported' beside 'results' by default.",
)
@json_option("the written paths")
def build(runs: Path, out: Path | None, protocol: str | None, reported: Path | None, as_json: bool) -> None:
    """Write CSV, Markdown and a self-contained HTML page for every protocol with results, and print the tables."""
    from anyadbench.boards import build_boards, print_board
    from anyadbench.boards.aggregate.load import reported_of

    built = build_boards(runs, out or runs / "boards", protocol, reported or reported_of(runs))
    if as_json:
        from anyadbench.cli.output import print_json

        names = ("folder", "leaderboard", "summary", "markdown", "report")
        print_json([{"protocol": one.protocol} | {name: str(getattr(one, name)) for name in names} for one in built])
        return
    for one in built:
        print_board(one)


@leaderboard.command()
@click.option("--runs", type=PATH, required=True, help="Folder that 'anyadbench run' wrote.")
@click.option("--out", type=PATH, required=True, help="Folder of published boards.")
@click.option("--protocol", "protocols", multiple=True, help="Only cells of this protocol; may be repeated.")
@click.option("--method", "methods", multiple=True, help="Only cells of this method; may be repeated.")
@click.option("--maps", is_flag=True, help="Also publish the kept maps.")
def publish(runs: Path, out: Path, protocols: tuple[str, ...], methods: tuple[str, ...], maps: bool) -> None:
    """Check cells, copy what is needed to recompute their numbers to OUT/results, and rebuild OUT/boards."""
    from anyadbench.boards import build_boards
    from anyadbench.boards.aggregate.load import reported_of
    from anyadbench.boards.verify.publish import publish_cells

    copied = publish_cells(runs, out / "results", protocols, methods, maps=maps)
    for folder in copied:
        click.echo(f"Published: {folder}")
    for one in build_boards(out / "results", out / "boards", reported=reported_of(out / "results")):
        click.echo(f"Board: {one.folder}")


@leaderboard.command("check")
@click.argument("path", type=PATH)
@click.option("--runs", type=PATH, help="Results of a board, if they are not beside it.")
@click.option(
    "--data",
    multiple=True,
    metavar="[NAME=]DIR",
    help="Also select the slices again from these data; the name of an embedded data set generates it.",
)
@click.option("--rerun", is_flag=True, help="Also run every cell again, and compare.")
@json_option("the findings")
def check_command(path: Path, runs: Path | None, data: tuple[str, ...], rerun: bool, as_json: bool) -> None:
    """Recompute every number of a cell, a runs folder or a board from what it stores, and report differences.

    The exit code is 1 if there is a problem.
    """
    from anyadbench.boards.verify.submission import check
    from anyadbench.cli.output import clean, print_json

    report = check(path, runs)
    if data or rerun:
        _against_data(report, data, rerun)
    absent = sorted({name for cell in report.cells for name in cell.absent})
    if as_json:
        found = {"cells": len(report.cells), "boards": list(map(str, report.boards)), "numbers": report.numbers}
        remarks = sorted({text for cell in report.cells for text in cell.remarks})
        width = max((cell.width for cell in report.cells), default=0.0)
        print_json(found | {"absent": absent, "width": width, "unchecked": remarks, "problems": report.problems})
    else:
        for problem in report.problems:
            click.echo(clean(problem))
        if absent:
            click.echo(f"Absent and not needed: {', '.join(absent)}")
        for text, count in Counter(text for cell in report.cells for text in cell.remarks).items():
            click.echo(f"Not checked in {count} cell{'' if count == 1 else 's'}: {text}.")
        if width := max((cell.width for cell in report.cells), default=0.0):
            click.echo(f"Pixel metrics of published rows are confirmed to within {width:.1e}.")
        count = len(report.problems)
        verdict = f"{count} problem{'' if count == 1 else 's'}" if count else "no problems"
        click.echo(
            f"{len(report.cells)} cells, {report.numbers} numbers recomputed, "
            f"{len(report.boards)} board files compared: {verdict}."
        )
    if report.problems:
        raise SystemExit(1)


def _against_data(report: CheckReport, data: tuple[str, ...], rerun: bool) -> None:
    """Add what only the data can show, for the cells whose files can be read.

    A cell whose data, method or weights are missing is a problem of its own, so that the findings of others remain.
    """
    from anyadbench.errors import UserError
    from anyadbench.launch.progress import Display
    from anyadbench.launch.recheck import Recheck

    with Display() as display:
        recheck = Recheck(data, display)
        for cell in report.cells:
            if cell.result is None:
                continue
            try:
                recheck.derive(cell)
                if rerun:
                    recheck.rerun(cell)
            except UserError as error:
                cell.problems.append(f"{cell.folder.name} could not be checked against the data: {error}")
