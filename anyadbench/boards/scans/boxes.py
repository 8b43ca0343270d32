"""The table of boxes: hit rate, FROC and AP where lesions are marked by boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anyadbench.boards.aggregate.model import Board, BoxLine, Line
from anyadbench.boards.render.text import DASH, decimal, six, span
from anyadbench.boards.scans.tables import Cell, Table

BOXES_TITLE = "Boxes"

LABELS: Mapping[str, str] = {
    "hit_rate": "Peak in a box",
    "ap30": "AP .3",
    "ap50": "AP .5",
    "ap": "AP .5 to .95",
    "acc50": "Pictures at .5",
    "froc": "FROC",
    "sensitivity": "Boxes found",
    "alarms_per_image": "Alarms / picture",
}
"""Columns of the table."""

RULE = (
    "Lesions are marked by boxes, so that no pixel metric is defined. A detection is the bounding box of pixels above "
    "the threshold from validation normals that touch each other; FROC and the two last columns take an overlap "
    "(intersection over union) of .3. Brackets contain 95 % intervals over subjects."
)


def box_tables(board: Board) -> Iterator[Table]:
    """Yield for each variant and test set the numbers of boxes by subset."""
    heads = ("Subset", "Pictures / boxes", *LABELS.values())
    for variant in board.variants:
        for test in board.tests:
            found = [board.line(variant.key, test, subset) for subset in board.subsets]
            rows = tuple(_cells(line, line.boxes) for line in found if line is not None and line.boxes is not None)
            if rows:
                yield Table(test, variant.label, heads, rows)


def _cells(line: Line, boxes: BoxLine) -> tuple[Cell, ...]:
    cells = [Cell(line.subset), Cell(f"{boxes.n_images} / {boxes.n_boxes}", f"{boxes.n_subjects} subjects")]
    for name in LABELS:
        one = boxes.metrics.get(name)
        if one is None or one.value is None:
            cells.append(Cell(DASH, title="" if one is None else one.reason))
            continue
        count = name == "alarms_per_image"
        below = f"[{one.low:.2f}, {one.high:.2f}]" if count and one.low is not None and one.high is not None else ""
        shown = f"{one.value:.2f}" if count else decimal(one.value)
        cells.append(Cell(shown, below if count else span(one.low, one.high), one.no_interval))
    return tuple(cells)


def box_columns(line: Line) -> dict[str, str]:
    """Return the cells of a line in ``leaderboard.csv`` by column; none without boxes."""
    if line.boxes is None:
        return {}
    cells = {"boxes_subjects": str(line.boxes.n_subjects), "boxes_images": str(line.boxes.n_images)}
    cells |= {"boxes_n": str(line.boxes.n_boxes)}
    for name, one in line.boxes.metrics.items():
        cells |= {
            f"boxes_{name}": six(one.value), f"boxes_{name}_low": six(one.low), f"boxes_{name}_high": six(one.high)
        }  # fmt: skip
    return cells
