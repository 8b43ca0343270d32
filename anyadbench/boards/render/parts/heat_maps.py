"""Heat maps: methods against subsets, or one method's metrics against subsets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anyadbench.boards.aggregate.model import Board, Estimate, Line, Variant
from anyadbench.boards.render.heat_colours import level_class
from anyadbench.boards.render.page_tables import compared_with, kinds
from anyadbench.boards.render.parts.references import mark, verdict_text
from anyadbench.boards.render.text import DASH, decimal, metric_label


@dataclass(frozen=True)
class HeatCell:
    """A coloured number, with a mark if it is not better than the best control; no colour where there is no number."""

    text: str
    colour: str
    title: str
    mark: str = ""


@dataclass(frozen=True)
class HeatRow:
    """The cells of one method or metric; ``control`` marks the rows that the others are compared with."""

    name: str
    cells: tuple[HeatCell, ...]
    control: bool = False


@dataclass(frozen=True)
class HeatMap:
    """One heat map: rows of cells, and a caption with the values at both ends of its colours."""

    test: str
    metric: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[HeatRow, ...]

    @property
    def marks(self) -> set[str]:
        """The marks that occur."""
        return {cell.mark for row in self.rows for cell in row.cells if cell.mark}


def heat_maps(board: Board) -> list[HeatMap]:
    """Return methods against subsets for each metric, or metrics against subsets if there is only one method."""
    found = []
    for kind, group in kinds(board):
        for test in board.tests if kind != "control" else ():
            rows = [*group, *compared_with(board, kind)]
            if len(rows) == 1:
                found.append(_heat_of_one(board, rows[0], test))
            else:
                found += [_heat_of_many(board, kind, rows, test, metric) for metric in board.metrics]
    return found


def _heat_of_one(board: Board, variant: Variant, test: str) -> HeatMap:
    lines = [board.line(variant.key, test, subset) for subset in board.subsets]
    rows = []
    for metric in board.metrics:
        ends = _range(_estimate(line, metric) for line in lines)
        rows.append(HeatRow(metric_label(metric), _cells(board, lines, metric, ends, variant.label)))
    caption = f"{variant.label} on {test}; colours run from the lowest to the highest value of each row"
    return HeatMap(test, "", caption, board.subsets, tuple(rows))


def _heat_of_many(board: Board, kind: str, group: Sequence[Variant], test: str, metric: str) -> HeatMap:
    table = [(variant, [board.line(variant.key, test, subset) for subset in board.subsets]) for variant in group]
    low, high = _range(_estimate(line, metric) for _, row in table for line in row)
    rows = tuple(
        HeatRow(
            variant.label, _cells(board, row, metric, (low, high), variant.label), control=variant.kind == "control"
        )
        for variant, row in table
    )
    caption = f"{metric_label(metric)} on {test}, {kind}; colours run from {decimal(low)} to {decimal(high)}"
    return HeatMap(test, metric, caption, board.subsets, rows)


def _estimate(line: Line | None, metric: str) -> Estimate | None:
    return None if line is None else line.metrics.get(metric)


def _range(estimates: Iterable[Estimate | None]) -> tuple[float, float]:
    """Return the range of the values, at least .05 wide, so that noise does not show as contrast."""
    values = [estimate.value for estimate in estimates if estimate is not None and estimate.value is not None]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    middle, half = (low + high) / 2, max((high - low) / 2, 0.025)
    return middle - half, middle + half


def _cells(
    board: Board, lines: Sequence[Line | None], metric: str, ends: tuple[float, float], label: str
) -> tuple[HeatCell, ...]:
    cells = []
    for subset, line in zip(board.subsets, lines, strict=True):
        estimate = _estimate(line, metric)
        if line is None or estimate is None or estimate.value is None:
            reason = estimate.reason if estimate is not None else "There is no result for this subset."
            cells.append(HeatCell(DASH, "", f"{label}, {subset}: {reason}"))
            continue
        level = (estimate.value - ends[0]) / (ends[1] - ends[0])
        against = line.against.get(metric)
        title = f"{label}, {subset}: {estimate.value:.4f}"
        title += "" if against is None else f"; {verdict_text(board, against)}"
        cells.append(HeatCell(decimal(estimate.value), level_class(level), title, mark(against)))
    return tuple(cells)
