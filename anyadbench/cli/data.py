"""``anyadbench data``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anyadbench.cli.output import clean, print_json

if TYPE_CHECKING:
    from anyadbench.data.layouts import Layout
    from anyadbench.data.problems import Problem

_SOURCE = click.option("--source", required=True, type=click.Path(path_type=Path), help="Folder with the data set.")
_WORKERS = click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Scans read at a time.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def data() -> None:
    """Verify a data set and prepare its slice store."""


@data.command()
@click.argument("dataset")
@_SOURCE
@_WORKERS
@_JSON
@click.pass_context
def verify(ctx: click.Context, dataset: str, source: Path, workers: int, as_json: bool) -> None:
    """Read every file of a data set and list all that is wrong; exit code 1 if anything would be left out."""
    layout = _layout(dataset)
    from anyadbench.data.discover import discover
    from anyadbench.data.verify import verify as verify_tree
    from anyadbench.run.display import Display

    with Display(quiet=as_json) as display:
        problems = verify_tree(source, layout, workers, display.progress)
    left_out = {problem.scan for problem in problems if problem.severity == "error"}
    usable = [scan.scan for scan in discover(source, layout) if scan.scan not in left_out]
    if as_json:
        listed = [problem.as_json() for problem in problems]
        print_json({"dataset": dataset, "usable": len(usable), "left_out": sorted(left_out), "problems": listed})
    else:
        _list(problems)
        warnings = sum(problem.severity == "warning" for problem in problems)
        click.echo(
            f"{dataset}: {_count(len(usable), 'scan')} can be used, {len(left_out)} would be left out "
            f"({_count(len(problems) - warnings, 'error')}, {_count(warnings, 'warning')})."
        )
    ctx.exit(1 if left_out else 0)


@data.command()
@click.argument("dataset")
@_SOURCE
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the store; by default one in the cache.")
@_WORKERS
@_JSON
def prepare(dataset: str, source: Path, out: Path | None, workers: int, as_json: bool) -> None:
    """Build the slice store of a data set; scans with errors are left out and listed."""
    layout = _layout(dataset)
    import json

    from anyadbench.data.prepare import default_target
    from anyadbench.data.prepare import prepare as build
    from anyadbench.data.problems import Problem
    from anyadbench.run.display import Display

    target = out or default_target(source, layout)
    with Display(quiet=as_json) as display:
        store = build(source, layout, target, workers=workers, quarantine=True, progress=display.progress)
    listed = json.loads((store.path / "quarantine.json").read_text(encoding="utf-8"))
    counts = {"scans": len(store.scans), "slices": len(store), "subjects": int(store.scans["subject"].nunique())}
    if as_json:
        print_json({"store": str(store.path), "content_hash": store.content_hash, **counts, "quarantine": listed})
        return
    _list([Problem(**item) for item in listed])
    left_out = len({item["scan"] for item in listed})
    click.echo(
        f"{store.path}: {_count(counts['slices'], 'slice')} of {_count(counts['scans'], 'scan')} and "
        f"{_count(counts['subjects'], 'subject')}; {_count(left_out, 'scan')} left out."
    )


def _layout(name: str) -> Layout:
    from anyadbench.plugins import find_layout

    return find_layout(name)


def _list(problems: list[Problem]) -> None:
    for problem in problems:
        click.echo(f"{problem.severity}: {clean(problem.sentence)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
