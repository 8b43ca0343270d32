"""A training's losses: the rows of ``training.csv``, and the short curves that ``result.json`` keeps of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyadbench.results.schema import TrainingCurve

FILE = "training.csv"
MOST_ROWS = 2000
"""Most rows of a finished training."""

MOST_POINTS = 60
"""Most points of a curve in a result."""

MOST_NUMBERS = 240
"""Most numbers of all curves of a result: with their indentation about 4 KB of JSON."""

FEWEST_POINTS = 8
"""A curve with fewer points for each loss keeps the sum of the losses alone."""

SUM = "sum of the losses"


@dataclass(frozen=True)
class Step:
    """One row: a step, or the mean of the steps since the row before.

    Attributes:
        step: Number of the (last) step, from 1.
        epoch: Passes over the training normals after it.
        seconds: Time spent on the training until then, interruptions not counted.
        rates: Learning rate in that step by optimiser, of its first parameter group.
        losses: Each named loss.
    """

    step: int
    epoch: float
    seconds: float
    rates: Mapping[str, float]
    losses: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """Return the row as plain values, for a checkpoint."""
        return {**vars(self), "rates": dict(self.rates), "losses": dict(self.losses)}


def rows_apart(total: int) -> int:
    """Return the steps between two rows of a training of ``total`` steps: the fewest that give ``MOST_ROWS`` rows."""
    return max(1, -(-total // MOST_ROWS))


def thinned(steps: Sequence[Step], total: int) -> list[Step]:
    """Return rows whose step is a multiple of ``rows_apart(total)``, or the last; others are averaged into the next.

    Rows after the last such step are kept as they are, so that rows of an unfinished training can be thinned again
    when more steps are known: the result is the same however often that is done.

    Args:
        steps: Rows, in order.
        total: Steps of the whole training.
    """
    apart, kept, waiting = rows_apart(total), list[Step](), list[Step]()
    for item in steps:
        waiting.append(item)
        if item.step % apart == 0 or item.step == total:
            kept.append(mean(waiting))
            waiting = []
    return kept + waiting


def mean(steps: Sequence[Step]) -> Step:
    """Return the last of some rows with the mean of each loss over the rows that have it."""
    last = steps[-1]
    if len(steps) == 1:
        return last
    names = dict.fromkeys(name for item in steps for name in item.losses)
    losses = {name: _mean([item.losses[name] for item in steps if name in item.losses]) for name in names}
    return Step(last.step, last.epoch, last.seconds, last.rates, losses)


def _mean(values: Sequence[float]) -> float:
    finite = all(math.isfinite(value) for value in values)
    return math.fsum(values) / len(values) if finite else sum(values) / len(values)


def csv_text(steps: Sequence[Step]) -> str:
    """Return the rows as CSV: ``step``, ``epoch``, ``seconds``, ``lr.OPTIMISER`` and ``loss.NAME``."""
    rates = list(dict.fromkeys(name for item in steps for name in item.rates))
    losses = list(dict.fromkeys(name for item in steps for name in item.losses))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "epoch", "seconds", *(f"lr.{name}" for name in rates), *(f"loss.{n}" for n in losses)])
    for item in steps:
        numbers = [item.rates.get(name) for name in rates] + [item.losses.get(name) for name in losses]
        shown = ["" if number is None else f"{number:.9g}" for number in numbers]
        writer.writerow([item.step, f"{item.epoch:.4f}", f"{item.seconds:.3f}", *shown])
    return text.getvalue()


def curves(trainings: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[TrainingCurve]:
    """Return the short curves of a cell's trainings.

    Each point is the mean over the rows since the point before; losses have four significant digits.

    Args:
        trainings: Rows as plain values (``step`` and ``losses``) by the subset that a model was trained for.
    """
    found = {label: rows for label, rows in trainings.items() if rows and any(row["losses"] for row in rows)}
    widest = max((len(_names(rows)) for rows in found.values()), default=0)
    points = MOST_NUMBERS // (len(found) * (1 + widest)) if found else 0
    summed = points < FEWEST_POINTS and widest > 1
    if summed:
        points = MOST_NUMBERS // (len(found) * 2)
    return [_curve(label, rows, max(2, min(points, MOST_POINTS)), summed) for label, rows in found.items()]


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["losses"]))


def _curve(label: str, rows: Sequence[Mapping[str, Any]], points: int, summed: bool) -> TrainingCurve:
    count = min(points, len(rows))
    ends = [round((i + 1) * len(rows) / count) for i in range(count)]
    parts = [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if summed:
        parts = [
            [{**row, "losses": {SUM: sum(map(_number, row["losses"].values()))}} for row in part] for part in parts
        ]
    names = [SUM] if summed else _names(rows)
    losses: dict[str, list[float | None]] = {name: [] for name in names}
    for part in parts:
        for name in names:
            values = [_number(row["losses"][name]) for row in part if name in row["losses"]]
            losses[name].append(_short(_mean(values)) if values else None)
    return TrainingCurve(subset=label, steps=[int(part[-1]["step"]) for part in parts], losses=losses)


def _summed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": row["step"], "losses": {SUM: sum(map(_number, row["losses"].values()))}}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int = 30) -> str:
    """Return values as a line of bars, from the lowest to the highest; a point that is undefined is a space.

    Args:
        values: The values.
        width: Most bars; of more values, evenly spread ones are drawn.
    """
    count = min(width, len(values))
    drawn = [values[round(i * (len(values) - 1) / max(1, count - 1))] for i in range(count)]
    known = [value for value in drawn if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if value is None else BARS[round((value - low) * scale)] for value in drawn)


def described(curves: Sequence[TrainingCurve]) -> list[str]:
    """Return one line per loss: its name, a drawing, its first and its last value."""
    lines = []
    for curve in curves:
        for name, values in curve.losses.items():
            known = [value for value in values if value is not None]
            if known:
                where = f" of {curve.subset}" if curve.subset else ""
                lines.append(f"{name}{where} {sparkline(values)} {known[0]:.4g} to {known[-1]:.4g}")
    return lines
