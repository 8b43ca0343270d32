"""All pairs of a board's methods at once: which method beats which, with the family-wise error of the whole board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.intervals.paired import no_test, step_down
from anyadbench.metrics.intervals.scales import ARCSINE, effective_subjects, freedom, influences, variance
from anyadbench.metrics.intervals.seeds import seed_variance
from anyadbench.metrics.intervals.student import two_sided

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from anyadbench.metrics.intervals.jackknife import Replicates

ALPHA = 0.05

BOARD_FACTOR = 1.0
"""On the degrees of freedom that all pairs of a board share."""

BOARD_FACTORS = dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1", "aupro"), 1.25)
"""Likewise, of metrics over pixels: simulated boards of equal methods err less often in them (docs/statistics.md)."""


@dataclass(frozen=True)
class Pairs:
    """Every pair of methods; entry [i, j] is about the i-th less the j-th.

    Attributes:
        point: Values, averaged over seeds.
        difference: Differences of them.
        se: Standard errors of the differences; NaN on the diagonal and where there is no test.
        p: p-values of single comparisons, at the degrees of freedom that all pairs share.
        adjusted: p-values adjusted for all pairs by Holm's method.
        reason: Why there is no test at all.
    """

    point: Float64[np.ndarray, " m"]
    difference: Float64[np.ndarray, "m m"]
    se: Float64[np.ndarray, "m m"]
    p: Float64[np.ndarray, "m m"]
    adjusted: Float64[np.ndarray, "m m"]
    reason: str = ""

    @property
    def beats(self) -> Bool[np.ndarray, "m m"]:
        """Whether the i-th is significantly better than the j-th."""
        return np.asarray((self.adjusted <= ALPHA) & (self.difference > 0))


def all_pairs(lines: Sequence[Replicates], metric: str) -> Pairs:
    """Test all pairs of methods on the arcsine scale, by subject, with Holm's correction for all of them.

    A board's leader is chosen after the numbers are known, so to test it against the others only would not hold the
    family-wise error: the largest of all differences has to be allowed for. The degrees of freedom come from the median
    effective number of subjects over all pairs, as the extreme pairs of thousands are those whose own is overrated.

    Args:
        lines: One line, or mean of lines, per method, on the same subjects. A method with an undefined value is in no
            test.
        metric: Name of the metric.

    Raises:
        UserError: If the methods have different subjects.
    """
    if any(line.subjects != lines[0].subjects for line in lines):
        raise UserError("The methods of a board were scored on different subjects; run all on the same data.")
    found = [line.metric(metric) for line in lines]
    point = np.array([values.mean() for values, _ in found])
    empty = np.full((len(lines), len(lines)), np.nan)
    difference = point[:, None] - point[None, :]
    reason = no_test(len(lines[0].subjects))
    if reason:
        return Pairs(point, difference, empty, empty, empty, reason)
    jack = np.stack([values.mean(axis=0) for _, values in found])
    usable = np.flatnonzero(np.isfinite(point) & np.isfinite(jack).all(axis=1))
    shares = influences(point[usable], jack[usable], ARCSINE)
    seeds = [(float(seed_variance(*found[i], ARCSINE)), len(found[i][0]) - 1) for i in usable]
    first, second = np.triu_indices(len(usable), 1)
    factor = BOARD_FACTORS.get(metric, BOARD_FACTOR)
    error, p = _tests(ARCSINE.forward(point[usable]), shares, seeds, (first, second), factor)
    tables = []
    rows, columns = usable[first], usable[second]
    gap = np.abs(ARCSINE.forward(point[rows]) - ARCSINE.forward(point[columns]))
    with np.errstate(invalid="ignore", divide="ignore"):
        chord = np.where(gap > 1e-9, np.abs(difference[rows, columns]) / gap, _slope(point[rows]))
    for values in (error * chord, p, step_down(p)):
        table = empty.copy()
        table[rows, columns] = table[columns, rows] = values
        tables.append(table)
    return Pairs(point, difference, tables[0], tables[1], tables[2])


def _slope(point: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    return np.asarray(2.0 * np.sqrt(point * (1.0 - point)))


def _tests(
    centre: Float64[np.ndarray, " m"],
    shares: Float64[np.ndarray, "m n"],
    seeds: Sequence[tuple[float, int]],
    sides: tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]],
    factor: float,
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return standard error and p-value of each pair; NaN where no subject changes the difference."""
    first, second = sides
    apart = shares[first] - shares[second]
    subject, effective = variance(apart), effective_subjects(apart)
    known = effective[np.isfinite(effective)]
    if not len(known):
        return np.full(len(first), np.nan), np.full(len(first), np.nan)
    own = freedom(np.full(len(first), np.median(known)), shares.shape[1], factor)
    added, degrees = (np.array([pair[place] for pair in seeds], dtype=np.float64) for place in (0, 1))
    total = subject + added[first] + added[second]
    noise = subject**2 / own
    for side in sides:
        noise = noise + np.where(degrees[side] > 0, added[side] ** 2 / np.maximum(degrees[side], 1.0), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.maximum(total**2 / noise, 1.0)
        error = np.where(total > 0, np.sqrt(total), np.nan)
        return error, two_sided((centre[first] - centre[second]) / error, df)
