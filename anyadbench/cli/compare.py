"""``anyadbench compare``: compare two methods on the same subjects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anyadbench.cli.options import json_option, runs_option
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.boards.aggregate.compare import Comparison

_HEADER = ("subset", "subj.", "first", "second", "effect", "95 % interval", "p", "p (Holm)", "subj. needed")
_SOURCES = (*_HEADER[:2], "healthy", "patients", *_HEADER[4:])


@click.command()
@click.argument("first", metavar="METHOD")
@click.argument("second", metavar="[METHOD]", required=False)
@click.option("--normals", is_flag=True, help="Compare one method trained on healthy subjects and on patients.")
@runs_option()
@click.option("--protocol", help="Protocol to compare on, if both methods have results for several.")
@click.option("--metric", "metrics", multiple=True, help="Only this metric; may be repeated.")
@json_option("all comparisons")
def compare(
    first: str,
    second: str | None,
    normals: bool,
    runs: Path,
    protocol: str | None,
    metrics: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare two methods by a paired test over the test subjects.

    A METHOD is a method's name, its label on the board, or the beginning of its key. The effect is the first minus the
    second. "p (Holm)" is corrected by Holm's method over all subsets of a metric. "subj. needed" is about how many test
    subjects would separate the two with a power of 80 %, if the true difference equals the observed one.

    With --normals, one METHOD is compared with itself: trained on healthy subjects less trained on lesion-free slices
    of patients, on the rows of two protocols that have the same test slices.
    """
    if normals != (second is None):
        raise UserError("Give two methods to compare, or one method with --normals.")
    if second is None:
        _compare_normals(first, runs, protocol, metrics, as_json)
        return
    from dataclasses import asdict

    from anyadbench.boards.aggregate.compare import compare as run_comparison
    from anyadbench.boards.render.terminal import TABLE_METRICS
    from anyadbench.cli.output import clean, print_json

    board, (one, other), found = run_comparison(runs, (first, second), protocol, metrics)
    if as_json:
        first_facts, second_facts = (
            {"label": variant.label, "key": variant.key, "seeds": list(variant.seeds)} for variant in (one, other)
        )
        rows = [asdict(row) for row in found]
        print_json({"protocol": board.slug, "first": first_facts, "second": second_facts, "rows": rows})
        return
    shown = set(metrics or TABLE_METRICS) & set(board.metrics)
    click.echo(clean(f"{one.label} minus {other.label}, {board.slug}"))
    _print_tables(found, [name for name in board.metrics if name in shown], _HEADER)
    click.echo()
    for said in dict.fromkeys(_remarks(found)):
        click.echo(clean(said))


def _compare_normals(name: str, runs: Path, protocol: str | None, metrics: tuple[str, ...], as_json: bool) -> None:
    """Print what the source of normals changes for a method."""
    from dataclasses import asdict

    from anyadbench.boards.aggregate.paired.normals import compare_normals
    from anyadbench.boards.render.terminal import TABLE_METRICS
    from anyadbench.cli.output import clean, print_json

    gaps = compare_normals(runs, name, protocol, metrics)
    if as_json:
        print_json([asdict(gap) for gap in gaps])
        return
    for gap in gaps:
        click.echo(clean(f"{gap.method}: healthy subjects ({gap.healthy}) minus patients ({gap.lesion_free})"))
        _print_tables(gap.rows, [name for name in gap.metrics if metrics or name in TABLE_METRICS], _SOURCES)
        click.echo()
        for said in dict.fromkeys([*gap.remarks, *_remarks(gap.rows)]):
            click.echo(clean(said))


def _print_tables(rows: Sequence[Comparison], metrics: Sequence[str], header: tuple[str, ...]) -> None:
    """Print a table for each test set and metric."""
    from anyadbench.boards.render.text import metric_label
    from anyadbench.cli.output import clean, print_table

    for test in dict.fromkeys(row.test for row in rows):
        for metric in metrics:
            listed = [row for row in rows if (row.test, row.metric) == (test, metric)]
            if listed:
                click.echo()
                click.echo(clean(f"{metric_label(metric)} on {test}"))
                print_table(header, [_cells(row) for row in listed])


def _remarks(found: Sequence[Comparison]) -> Iterator[str]:
    if any(row.claim == "methods" for row in found):
        yield "Both methods have several seeds, and their noise is in the test."
    if any(row.claim == "models" and row.p_value is not None for row in found):
        yield "A method has one seed: the test is about these trained models, and another seed may reverse it."
    for row in found:
        if row.reason:
            yield f"-: {row.reason}"


def _cells(row: Comparison) -> list[str]:
    from anyadbench.boards.render.text import decimal, span

    values = [decimal(value) for value in (row.first, row.second, row.effect)]
    ends = span(row.low, row.high) or "-"
    needed = "-" if row.needed is None else str(row.needed)
    return [row.subset, str(row.n), *values, ends, _p_text(row.p_value), _p_text(row.p_holm), needed]


def _p_text(value: float | None) -> str:
    if value is None:
        return "-"
    return "<.001" if value < 0.0005 else f"{value:.3f}"
