"""``anyadbench plugin``: start a method's package, and check a method against the contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anyadbench.cli.blame import traceback_option
from anyadbench.cli.options import PATH, json_option
from anyadbench.cli.output import clean, print_json, print_table
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.testing import Report

_PATH = click.option(
    "--path",
    "paths",
    multiple=True,
    type=PATH,
    help="Folder to import from, for a package that is not installed; may be repeated.",
)


@click.group()
def plugin() -> None:
    """Start a new method, or check one."""


@plugin.command()
@click.argument("name")
@click.option("--out", type=PATH, help="Folder to create; ./anyadbench-NAME by default.")
def new(name: str, out: Path | None) -> None:
    """Write a package for a new method NAME; it works without changes."""
    from anyadbench.testing.scaffold import new_package

    folder = new_package(name, out)
    click.echo(f"Wrote {folder}. Next: pip install --editable {folder}, then anyadbench plugin check {name}.")


@plugin.command()
@click.argument("name")
@click.option("--expect", multiple=True, metavar="ID=REASON", help="Check that is known to fail; may be repeated.")
@_PATH
@json_option()
@traceback_option
@click.pass_context
def check(
    ctx: click.Context, name: str, expect: tuple[str, ...], paths: tuple[Path, ...], as_json: bool, traceback: bool
) -> None:
    """Check that the method NAME keeps the contract; exit code 1 if it does not.

    NAME is an installed method, or the package.module:OBJECT of a descriptor. The command fits and scores the method
    with its smallest budget on the smallest phantom, on the CPU and with random weights.
    """
    from anyadbench.testing import check_method

    expected = {}
    for item in expect:
        known, separator, reason = item.partition("=")
        if not separator:
            raise UserError(f"--expect {item!r} is not of the form ID=REASON, e.g. 'cost=Its memory bank is large.'.")
        expected[known] = reason
    for path in paths:
        if not path.is_dir():
            raise UserError(f"--path {path}: there is no such folder; give the one that holds the package.")
    report = check_method(name, expected=expected, paths=paths)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report, traceback)
    ctx.exit(0 if report.ok else 1)


def _print(report: Report, traceback: bool) -> None:
    print_table(
        ["check", "result", "reason"], [[item.check, item.status, clean(item.reason)] for item in report.findings]
    )
    for item in report.findings:
        if traceback and item.traceback:
            click.echo(f"{item.check}:")
            for line in item.traceback.splitlines():
                click.echo(f"  | {clean(line)}")
    cannot = [item.reason for item in report.findings if item.status == "unavailable"]
    if report.ok and cannot:
        click.echo(f"{report.method}: only its descriptor was checked. {clean(cannot[0])}")
        return
    kept = f"{report.method} keeps the contract." if report.ok else f"{report.method} does not keep the contract."
    click.echo(f"{kept} Checks: {report.counts}.")
    if not traceback and any(item.traceback for item in report.findings):
        click.echo("--traceback shows where its errors come from.")
