"""``anyadbench leaderboard``: boards from results."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def leaderboard() -> None:
    """Build boards from results."""


@leaderboard.command()
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder that 'anyadbench run' wrote.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder that receives one folder per protocol; RUNS/boards by default.",
)
@click.option("--protocol", help="Only the board of this protocol.")
@click.option("--json", "as_json", is_flag=True, help="Print the written paths as JSON.")
def build(runs: Path, out: Path | None, protocol: str | None, as_json: bool) -> None:
    """Write CSV, Markdown and a self-contained HTML page for every protocol with results, and print the tables."""
    from anyadbench.boards import build_boards, print_board

    built = build_boards(runs, out or runs / "boards", protocol)
    if as_json:
        from anyadbench.cli.output import print_json

        names = ("folder", "leaderboard", "summary", "markdown", "report")
        print_json([{"protocol": one.protocol} | {name: str(getattr(one, name)) for name in names} for one in built])
        return
    for one in built:
        print_board(one)
