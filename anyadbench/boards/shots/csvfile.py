"""``shots.csv``: the curves with one row per method, number of training subjects, test set and metric."""

from __future__ import annotations

import csv
import io

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.csvfile import safe_text
from anyadbench.boards.render.text import six
from anyadbench.boards.shots.plots import count_label

_COLUMNS = ("variant", "kind", "test", "metric", "subjects", "protocol", "mean", "mean_low", "mean_high", "seeds")


def shots_csv(board: Board) -> str:
    """Return the table; empty for a board without curves."""
    if not board.shots:
        return ""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for curve in board.shots:
        for point in curve.points:
            texts = [safe_text(value) for value in (curve.label, curve.kind, curve.test, curve.metric)]
            numbers = [six(point.mean), six(point.low), six(point.high)]
            seeds = " ".join(map(str, point.seeds))
            writer.writerow([*texts, count_label(point.shots), safe_text(point.protocol), *numbers, seeds])
    return stream.getvalue()
