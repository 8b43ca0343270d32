"""The values that intervals, tests and ranks of a board start from must follow from the statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.boards.aggregate.recompute import Statistics, read_replicates
from anyadbench.boards.verify.condense import GROUPED
from anyadbench.boards.verify.findings import RESAMPLED, CellReport
from anyadbench.errors import UserError
from anyadbench.metrics.core.curves import FIELD, INSIDE
from anyadbench.metrics.rows.grouped import GroupedSteps
from anyadbench.results.cellfiles import RowKey
from anyadbench.results.read import inside
from anyadbench.results.schema import CellResult

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from anyadbench.metrics.intervals.jackknife import Replicates
    from anyadbench.metrics.rows.replicates import RowReplicates

_NAME = "scores/jackknife.npz"

_ROUNDED = 1e-7
"""How far those of image metrics may: published cells store them as float32."""


def check_replicates(
    report: CellReport, result: CellResult, statistics: Statistics, again: Mapping[RowKey, RowReplicates | None]
) -> None:
    """Check that the values of each row and those without a subject, if they are stored, are the statistics'.

    Args:
        report: Where problems are noted.
        result: The cell's result.
        statistics: What the cell stores of its scores.
        again: The same values, recomputed; ``None`` for a row without slices.
    """
    if inside(report.folder, _NAME) is None:
        return
    try:
        stored = read_replicates(report.folder, result)
    except UserError as error:
        report.problems.append(str(error))
        return
    for place in sorted(set(stored) - set(again)):
        report.note(_NAME, f"{', '.join(place)} is no row of the result.")
    for place, ours in again.items():
        kept = stored.get(place)
        if ours is None or kept is None:
            if ours is not kept:
                report.note(_NAME, f"{', '.join(place)} is only in one of it and the slice table.")
            continue
        grouped = isinstance(statistics.pixels[place].steps, GroupedSteps)
        wrong = _difference(report, "", ours.own, kept.own, _limits(ours.own, grouped=False))
        wrong = wrong or _difference(
            report, " on the subjects with every sequence", ours.common, kept.common, _limits(ours.common, grouped)
        )
        if wrong:
            report.note(_NAME, f"{', '.join(place)}: {wrong}")


def _limits(line: Replicates, grouped: bool) -> Float64[np.ndarray, " m"]:
    """Return how far each metric may differ; only pixel metrics of published rows depend on groups of steps."""
    pixels = np.isin(line.metrics, (*FIELD.names, *INSIDE.names))
    return np.where(pixels, GROUPED, _ROUNDED) if grouped else np.full(len(line.metrics), RESAMPLED)


def _difference(
    report: CellReport, where: str, ours: Replicates, kept: Replicates, limits: Float64[np.ndarray, " m"]
) -> str:
    """Describe the first difference of a row's values from those that its statistics give; empty if there is none."""
    if (ours.subjects, ours.metrics) != (kept.subjects, kept.metrics):
        return f"the values{where} have other subjects than the statistics."
    report.numbers += ours.point.size + ours.jack.size
    for number, place in np.argwhere(_apart(ours.point, kept.point, limits))[:1]:
        found, wanted = kept.point[number, place], ours.point[number, place]
        return f"{ours.metrics[place]}{where} is {found:.6f}, but the statistics give {wanted:.6f}."
    if _apart(ours.jack, kept.jack, limits).any():
        return f"the values without a subject{where} differ from the statistics'."
    return ""


def _apart(
    ours: Float64[np.ndarray, "*n m"], kept: Float64[np.ndarray, "*n m"], limits: Float64[np.ndarray, " m"]
) -> Bool[np.ndarray, "*n m"]:
    """Return which values differ by more than a limit, or are NaN on one side alone."""
    return np.asarray((np.isnan(ours) != np.isnan(kept)) | (np.abs(ours - kept) > limits))
