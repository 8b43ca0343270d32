"""Boards on a terminal, readable at 100 columns; plain text when piped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.flags import EXPLANATIONS
from anyadbench.boards.aggregate.model import KINDS, Board, Line, Variant
from anyadbench.boards.render.page_tables import compared_with
from anyadbench.boards.render.parts.notices import grouped_notices
from anyadbench.boards.render.parts.prevalence import abnormal_share
from anyadbench.boards.render.text import (
    DASH,
    KIND_TITLES,
    clean,
    decimal,
    metric_label,
    metric_short,
    percent,
    plural,
    rank_text,
    seed_text,
)
from anyadbench.boards.render.verdicts import verdicts
from anyadbench.boards.scans.tables import alarm_sentences, short_table
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
"""Width in columns if the output is not a terminal."""

TABLE_METRICS = ("pixel_auroc", "pixel_ap", "aupro", "image_auroc")
"""Default metrics of the many-methods table."""

_MANY_SUBSETS = 8
_METHODS_PER_BLOCK = 4
_COLUMNS = 8
"""Metrics of the table of one method; page and CSV have all."""


def plain_console() -> Console:
    """Return a console that writes ANSI codes only to a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, width=WIDTH, no_color=True, force_terminal=False)


def print_board(
    board: Board, console: Console | None = None, method: str | None = None, metrics: Sequence[str] | None = None
) -> None:
    """Print a board: methods against subsets, or one method's subsets against all metrics.

    Args:
        board: The board.
        console: Where to print; standard output by default.
        method: Name of the only method to show. A board with one method is always shown in detail.
        metrics: Metrics of the many-methods table; by default ``TABLE_METRICS``.
    """
    out = console or plain_console()
    shown = [variant for variant in board.variants if method is None or variant.method.name == method]
    trained = [variant for variant in shown if variant.kind != "control"]
    _say(out, f"{board.protocol.title} ({board.slug}, protocol version {board.protocol.version})")
    reasons: dict[str, None] = {}
    if len(trained or shown) == 1:
        for test in board.tests:
            _print_one(board, (trained or shown)[0], test, out, reasons)
    else:
        names = [name for name in metrics or TABLE_METRICS if name in board.metrics] or list(board.metrics[:1])
        for test in board.tests:
            for kind in KINDS:
                group = [variant for variant in shown if variant.kind == kind]
                for metric in names if group and kind != "control" else []:
                    _print_many(board, [*group, *compared_with(board, kind)], test, metric, out, reasons)
    for test in board.tests:
        if (part := short_table(board, test, [variant.key for variant in shown])) is not None:
            _table(out, part.title, part.heads[0], part.heads[1:], [[cell.text for cell in row] for row in part.rows])
    for text in (*verdicts(board), *alarm_sentences(board)):
        _say(out, text)
    _print_notes(board, trained or shown, out, reasons)


def _say(out: Console, text: str) -> None:
    from rich.text import Text

    out.print(Text(clean(text, 2000)))


def _table(out: Console, title: str, first: str, heads: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print one table; its text cannot contain markup or control characters."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    dash = DASH if out.encoding.lower().startswith("utf") else "-"
    style = box.SIMPLE_HEAD if dash == DASH else box.ASCII2
    table: Table = Table(title=Text(clean(title)), title_justify="left", box=style, padding=(0, 1, 0, 0))
    table.add_column(Text(clean(first)), overflow="fold", max_width=30)
    for head in heads:
        table.add_column(Text(clean(head)), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(clean(cell).replace(DASH, dash)) for cell in row))
    out.print(table)


def _values(line: Line | None, metrics: Sequence[str], reasons: dict[str, None]) -> list[str]:
    """Return one line's numbers as text, and record why any is missing."""
    if line is None:
        return [DASH] * len(metrics)
    cells = []
    for metric in metrics:
        estimate = line.metrics.get(metric)
        cells.append(decimal(estimate.value if estimate else None))
        if estimate is None or estimate.value is None:
            reason = line.reason or (estimate.reason if estimate else "") or "The result does not contain this metric."
            reasons[f"{line.subset}: {reason}"] = None
    return cells


def _print_one(board: Board, variant: Variant, test: str, out: Console, reasons: dict[str, None]) -> None:
    rows = []
    metrics = _columns(board)
    for subset in board.subsets:
        line = board.line(variant.key, test, subset)
        counts = [str(line.n_subjects), str(line.n_slices), percent(abnormal_share(line))] if line else ["0", "0", DASH]
        rows.append([subset, *counts, *_values(line, metrics, reasons)])
    for name in ("mean", "worst"):
        cells = []
        for metric in metrics:
            item = board.summary(variant.key, test, metric)
            cells.append(decimal(getattr(item, name) if item else None))
        rows.append([f"{name} of the subsets", "", "", "", *cells])
    for control in compared_with(board, variant.kind):
        for name in ("mean", "worst"):
            items = [board.summary(control.key, test, metric) for metric in metrics]
            rows.append(
                [f"{control.label}, {name}", "", "", "", *(decimal(getattr(i, name) if i else None) for i in items)]
            )
    seeds = f"seed{'' if len(variant.seeds) == 1 else 's'} {seed_text(variant.seeds)}"
    heads = ["subj.", "slices", "lesion", *(metric_short(metric) for metric in metrics)]
    _table(out, f"{variant.label} on {test}, {seeds}", "subset", heads, rows)


def _columns(board: Board) -> list[str]:
    """Return the metrics that fit 100 columns: one inside the brain, and of image metrics those that rank."""
    normalised = [name for name in board.metrics if name in HEIGHT]
    plain = {name.removesuffix("_height") for name in normalised}
    kept = [
        name
        for name in board.metrics
        if name not in (*BALANCED, *HEIGHT, *plain) and (name not in BRAIN or name == "brain_ap")
    ]
    return [*normalised, *kept][:_COLUMNS]


def _print_many(
    board: Board, group: Sequence[Variant], test: str, metric: str, out: Console, reasons: dict[str, None]
) -> None:
    title = f"{metric_label(metric)} on {test}. {KIND_TITLES[group[0].kind]}"
    if len(board.subsets) > _MANY_SUBSETS:
        for start in range(0, len(group), _METHODS_PER_BLOCK):
            block = group[start : start + _METHODS_PER_BLOCK]
            rows = []
            for subset in board.subsets:
                cells = [_values(board.line(variant.key, test, subset), [metric], reasons)[0] for variant in block]
                rows.append([subset, *cells])
            for name in ("mean", "worst", "rank"):
                rows.append([name, *(_summary(board, variant, test, metric, name) for variant in block)])
            _table(out, title, "subset", [clean(variant.label, 18) for variant in block], rows)
        return
    rows = []
    for variant in group:
        cells = [_values(board.line(variant.key, test, subset), [metric], reasons)[0] for subset in board.subsets]
        ends = [_summary(board, variant, test, metric, name) for name in ("mean", "worst", "rank")]
        rows.append([variant.label + ("*" if variant.flags else ""), *cells, *ends])
    heads = ["all avail." if subset == "as available" else subset for subset in board.subsets]
    _table(out, title, "method", [*heads, "mean", "worst", "rank"], rows)


def _summary(board: Board, variant: Variant, test: str, metric: str, name: str) -> str:
    item = board.summary(variant.key, test, metric)
    value = getattr(item, name) if item is not None else None
    if name == "rank":
        return DASH if item is None else rank_text(item.rank, item.group)
    return decimal(value)


def _print_notes(board: Board, shown: Sequence[Variant], out: Console, reasons: Iterable[str]) -> None:
    for reason in reasons:
        _say(out, f"{DASH} {reason}")
    if len(shown) == 1:
        _print_flags(board, shown[0], out)
    else:
        for item in grouped_notices(board):
            if item.flag:
                _say(out, f"{item.flag[0].upper()}{item.flag[1:]} ({item.count}): {item.sentence}")
    _print_departures(shown, out)
    for item in grouped_notices(board):
        if not item.flag:
            _say(out, f"{item.sentence} ({item.count}, listed in the report)" if item.count else item.sentence)
    if board.failures:
        _say(out, f"{plural(len(board.failures), 'cell')} without a result; see cell.json and log.txt in its folder.")
    for record in board.unreadable:
        _say(out, f"Unreadable result: {record.problem}")


def _print_departures(shown: Sequence[Variant], out: Console) -> None:
    departing = [variant for variant in shown if variant.method.departures and variant.kind != "reported"]
    counts = [len(variant.method.departures) for variant in departing]
    if len(departing) == 1:
        text = f"{departing[0].label} departs from its publication in {plural(counts[0], 'point')}"
    elif departing:
        text = f"{len(departing)} methods depart from their publications in {plural(sum(counts), 'point')}"
    else:
        return
    _say(out, f"{text}; the report lists them.")


def _print_flags(board: Board, variant: Variant, out: Console) -> None:
    for flag in variant.flags:
        _say(out, f"{flag[0].upper()}{flag[1:]}: {EXPLANATIONS.get(flag, '')}")
    found: dict[str, list[str]] = {}
    for line in board.lines:
        for flag in line.flags if line.variant == variant.key else ():
            found.setdefault(flag, []).append(line.subset)
    for flag, subsets in found.items():
        where = "all subsets" if len(subsets) >= len(board.subsets) else ", ".join(dict.fromkeys(subsets))
        _say(out, f"{variant.label}, {where}: {flag}. {EXPLANATIONS[flag]}")
