"""FROC curves of the page, and the table of single scans, from the records that cells store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render import svg
from anyadbench.boards.render.plots import MAX_CURVES, curve_styles
from anyadbench.boards.render.text import DASH, decimal
from anyadbench.boards.scans.lines import line_scans
from anyadbench.boards.scans.tables import Cell, Table

if TYPE_CHECKING:
    from anyadbench.metrics.scans.whole_scans import RowScans

MOST_ALARMS = 8.0
"""Right end of the curves, in false alarms per scan."""


def froc_curves(board: Board) -> list[dict[str, Any]]:
    """Return the FROC curves of the first methods on each test set, one curve for each subset."""
    styles = curve_styles(board.subsets)
    found = []
    for variant in board.variants[:MAX_CURVES]:
        for test in board.tests:
            drawn = []
            for subset, (colour, dash) in styles.items():
                line = board.line(variant.key, test, subset)
                row = None if line is None else line_scans(line)
                if row is not None and any(len(record.lesion_scores) for record in row.records):
                    drawn.append((colour, dash, subset, _points(row)))
            if drawn:
                spoken = f"FROC of {variant.label} on {test}, one curve for each of {len(drawn)} subsets"
                axes = ("false alarms per scan", "share of lesions found")
                plot = svg.curve_plot(drawn, spoken, axes, MOST_ALARMS)
                legend = [(name, svg.swatch(colour, dash)) for colour, dash, name, _ in drawn]
                found.append({"label": variant.label, "test": test, "plot": plot, "legend": legend})
    return found


def _points(row: RowScans) -> list[tuple[float, float]]:
    """Return the curve as steps: sensitivity at the lowest threshold with at most so many false alarms per scan."""
    import numpy as np

    from anyadbench.metrics.lesions.compact import found_levels

    levels = found_levels(row.records)
    lesions = np.sort(np.concatenate([one.lesion_scores[~np.isnan(one.lesion_scores)] for one in row.records]))
    alarms = np.sort(np.concatenate([one.alarm_scores for one in row.records]))
    total = sum(len(record.lesion_scores) for record in row.records)
    found = (len(lesions) - np.searchsorted(lesions, levels, side="left")) / total
    raised = (len(alarms) - np.searchsorted(alarms, levels, side="left")) / len(row.records)
    points = [(0.0, 0.0)]
    for x, y in zip(raised.tolist(), found.tolist(), strict=True):
        points += [(x, points[-1][1]), (x, y)]
    inside = [point for point in points if point[0] <= MOST_ALARMS]
    return [*inside, (MOST_ALARMS, inside[-1][1])]


def single_scans(board: Board) -> list[Table]:
    """Return for the first methods one row per scan, with all sequences: a mean can hide a scan that was missed."""
    tables = []
    for variant in board.variants[:MAX_CURVES]:
        for test in board.tests:
            line = board.line(variant.key, test, board.full)
            row = None if line is None else line_scans(line)
            if row is not None:
                heads = ("Scan", "Lesion (ml)", "Flagged (ml)", "3-D Dice", "Own best", "Found", "False alarms")
                tables.append(Table(test, f"{variant.label}, {board.full}", heads, _scan_rows(row)))
    return tables


def _scan_rows(row: RowScans) -> tuple[tuple[Cell, ...], ...]:
    from anyadbench.metrics.scans.whole_scans import scan_table

    def amount(value: Any) -> str:
        return DASH if value is None else f"{value:.3g}"

    rows: Sequence[tuple[Cell, ...]] = [
        (
            Cell(str(one["scan"])), Cell(amount(one["truth_ml"])), Cell(amount(one["flagged_ml"])),
            Cell(decimal(_share(one["dice"]))), Cell(decimal(_share(one["dice_best"]))),
            Cell(f"{DASH if one['found'] is None else one['found']} of {one['lesions']}"), Cell(amount(one["alarms"])),
        )
        for one in scan_table(row)
    ]  # fmt: skip
    return tuple(rows)


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, float) else None
