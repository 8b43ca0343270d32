"""``anyadbench parity``: compare methods with the authors' own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anyadbench.cli.options import PATH, Finite, json_option
from anyadbench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from anyadbench.testing.parity import ParityReport


@click.command()
@click.argument("folder", type=PATH)
@click.option("--tolerance", type=Finite(min=0), default=1e-6, show_default=True, help="Largest absolute error.")
@json_option()
@click.pass_context
def parity(ctx: click.Context, folder: Path, tolerance: float, as_json: bool) -> None:
    """Compare methods with numbers from the authors' own code, stored in FOLDER.

    The exit code is 1 if a number differs by more than the tolerance.
    """
    from anyadbench.plugins import load_methods
    from anyadbench.testing.parity import run_parity

    report = run_parity(folder, load_methods().values(), tolerance)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    ctx.exit(0 if report.ok else 1)


def _print(report: ParityReport) -> None:
    rows = [
        [name, report.methods[name], entry.entry, f"{entry.error:.1e}", entry.note or _verdict(entry.error, report)]
        for name, entries in report.results.items()
        for entry in entries
    ]
    if rows:
        print_table(["fixture", "method", "entry", "worst error", "verdict"], rows)
    for name, method in report.unclaimed.items():
        click.echo(f"{name}: no installed method named {method!r} claims it")
    if rows:
        outcome = "all within" if report.ok else "NOT within"
        click.echo(
            f"{len(report.results)} fixtures, {len(rows)} entries, worst error {report.worst:.1e}: "
            f"{outcome} {report.tolerance:g}"
        )
    else:
        click.echo("Nothing was compared.")


def _verdict(error: float, report: ParityReport) -> str:
    return "ok" if error <= report.tolerance else "exceeds the tolerance"
