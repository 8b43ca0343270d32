"""Pixel statistics by groups of steps: small enough to publish, with guaranteed ends for every metric.

A group holds neighbouring steps of the ranking. Besides its counts it holds sums over its steps, from which AUROC
follows exactly and the other metrics to within a width that falls with the square of the groups' size: inside a group,
precision is nearly a plane over lesions and normals, whose mean depends on the sums alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.ranking import Steps

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from anyadbench.metrics.core.cohort import Cohort

COVERAGE_UNIT = 1 << 20
"""Coverage of all components; the coverage up to each group is rounded to these units."""

POSITION_UNIT = 1 << 8
"""Positions of the covered components among a group's normal pixels are rounded to this part of the group."""

_ROUNDING = 1e-12
_IMPOSSIBLE = "Pixel statistics hold impossible groups or sums; publish the cell again."

Ends = tuple[float, float]


@dataclass(frozen=True)
class GroupedSteps(Steps):
    """Groups of neighbouring steps in order of falling score; a group counts as one step in `curve`.

    ``weights`` are gains of coverage in units of 1 / `COVERAGE_UNIT`, ``areas`` are empty. The sums run over the
    group's steps, each counted once for each of its lesion pixels.

    Attributes:
        ahead: Sum of the group's normal pixels at or above a step.
        ties: Sum of the normal pixels at a step.
        ranks: Sum of the group's lesion pixels at or above a step.
        positions: Mean number of the group's normal pixels above a covered component, by weight, those at its own step
            counted half, in units of the group's normal pixels / `POSITION_UNIT`.
        values: Value of each metric, computed from the single steps; NaN where undefined.
        bins: For steps that were bins of scores: the largest error of each value; ``None`` for exact steps.
    """

    ahead: Int64[np.ndarray, " k"]
    ties: Int64[np.ndarray, " k"]
    ranks: Int64[np.ndarray, " k"]
    positions: Int64[np.ndarray, " k"]
    values: Mapping[str, float]
    bins: Mapping[str, float] | None = field(default=None)

    @property
    def exact(self) -> bool:
        """Whether the values compared scores exactly, not by bins."""
        return self.bins is None

    def compute(self) -> dict[str, float]:
        """Return the values; `check` compares them with `ends`."""
        return dict(self.values)

    def error_bound(self) -> dict[str, float]:
        """Return the largest error that bins of scores caused in each value; 0 for exact steps."""
        return dict(self.bins) if self.bins is not None else dict.fromkeys(self.region.names, 0.0)

    def _covered(self) -> Float64[np.ndarray, " k"]:
        return np.asarray(np.cumsum(self.weights) / COVERAGE_UNIT)

    def check(self) -> None:
        """Check that steps can have these sums, and that the values lie between their ends.

        Raises:
            UserError: If not; the sentence gives the value and its ends.
        """
        parts = (self.tied, self.lesions, self.weights, self.ahead, self.ties, self.ranks, self.positions)
        lengths = {len(part) for part in parts} | {len(self.gaps) - 1}
        if len(lengths) != 1 or set(self.values) != set(self.region.names):
            raise UserError(_IMPOSSIBLE)
        if any((part < 0).any() for part in (self.gaps, *parts)) or (self.lesions < 1).any():
            raise UserError(_IMPOSSIBLE)
        lesions = self.lesions
        possible = (
            (self.ties <= self.ahead) & (self.ahead <= lesions * self.tied) & (self.positions <= POSITION_UNIT)
            & (lesions * (lesions + 1) <= 2 * self.ranks) & (self.ranks <= lesions**2)
        )  # fmt: skip
        if not possible.all() or (len(lesions) and int(self.weights.sum()) != COVERAGE_UNIT):
            raise UserError(_IMPOSSIBLE)
        for name, (low, high) in self.ends().items():
            value = self.values[name]
            if math.isnan(value) != math.isnan(low) or not (math.isnan(low) or low <= value <= high):
                raise UserError(
                    f"{name} is {value:.6f}, but the pixel statistics allow {low:.6f} to {high:.6f}; run it again."
                )

    def check_cohort(self, cohort: Cohort) -> None:
        """Check that the subjects' counts add up to those of the groups that they join.

        Raises:
            UserError: If they do not.
        """
        cohort.check()
        found, theirs = np.cumsum(self.lesions), np.cumsum(cohort.lesions.sum(axis=0))
        place = np.searchsorted(found, theirs).clip(max=max(len(found) - 1, 0))
        curve = self.curve()
        gaps, tied = cohort.gaps.sum(axis=0), cohort.tied.sum(axis=0)
        above = np.cumsum(gaps[:-1]) + np.cumsum(tied) - tied
        first = np.append(0, place[:-1] + 1)[: len(place)]
        if not len(found) and not len(theirs):
            return
        fits = len(theirs) and np.array_equal(found[place], theirs) and len(found) == place[-1] + 1
        same = fits and np.array_equal(curve.reached[place], above + tied) and np.array_equal(curve.above[first], above)
        if not same:
            raise UserError("The counts of the subjects' pixels do not add up to those of the row; run it again.")

    def ends(self) -> dict[str, Ends]:
        """Return the lowest and highest value of each metric that steps with these sums can have; NaN if undefined."""
        if not (self.normal_pixels and self.lesion_pixels):
            return dict.fromkeys(self.region.names, (math.nan, math.nan))
        found: dict[str, Ends] = {self.region.auroc: self._auroc()}
        low, high = precision_ends(self)
        found[self.region.ap] = (math.fsum(low.tolist()) - _ROUNDING, math.fsum(high.tolist()) + _ROUNDING)
        low, high = f1_ends(self)
        found[self.region.f1] = (float(low.max()) - _ROUNDING, float(high.max()) + _ROUNDING)
        rounding = _ROUNDING + 0.5 / COVERAGE_UNIT
        for name, limit in self.region.limits:
            low, high = coverage_ends(self, limit)
            found[name] = (math.fsum(low.tolist()) - rounding, math.fsum(high.tolist()) + rounding)
        return found

    def _auroc(self) -> Ends:
        above = np.cumsum(self.gaps[:-1]) + np.cumsum(self.tied) - self.tied
        normals = self.normal_pixels
        # Python's integers, because the sum may exceed 64 bits.
        won = sum((2 * (self.lesions * (normals - above) - self.ahead) + self.ties).tolist())
        value = won / (2.0 * normals * self.lesion_pixels)
        return value - _ROUNDING, value + _ROUNDING


Array = np.ndarray


def precision_ends(steps: GroupedSteps) -> tuple[Float64[Array, " k"], Float64[Array, " k"]]:
    """Return the ends of each group's part of average precision.

    A step with F lesions and B normals at or above it has the precision p = F / (F + B). By Taylor's theorem at the
    means of F and B, whose first-order term sums to 0, the mean of p differs from p of the means by at most half the
    largest second derivatives times the variances, which are at most (high - mean)(mean - low) (Bhatia and Davis 2000).
    """
    lesions, normals = steps.lesions.astype(np.float64), steps.tied.astype(np.float64)
    before = np.cumsum(steps.lesions) - steps.lesions
    above = (np.cumsum(steps.gaps[:-1]) + np.cumsum(steps.tied) - steps.tied).astype(np.float64)
    rank, ahead = steps.ranks / lesions, steps.ahead / lesions
    middle = (before + rank) / (before + rank + above + ahead)
    untied = 2 * steps.ranks == steps.lesions * (steps.lesions + 1)  # the ranks are 1 to l, whose variance is known
    ranked = np.where(untied, (lesions**2 - 1) / 12, np.maximum((lesions - rank) * (rank - 1), 0.0))
    spread = ranked, np.maximum((normals - ahead) * ahead, 0.0)
    least = (before + 1 + above) ** 3
    most_found, most_above = before + lesions, above + normals
    error = (
        most_above * spread[0] + most_found * spread[1]
        + np.maximum(most_found, most_above) * np.sqrt(spread[0] * spread[1])
    ) / least  # fmt: skip
    low = np.maximum(middle - error, (before + 1) / (before + 1 + most_above))
    high = np.minimum(middle + error, most_found / (most_found + above))
    share = lesions / steps.lesion_pixels
    return low * share, high * share


def f1_ends(steps: GroupedSteps) -> tuple[Float64[Array, " k"], Float64[Array, " k"]]:
    """Return F1 at the end of each group, which is a step, and the highest F1 that a step of the group can have.

    After x of a group's l lesion pixels, at least n - (l n - `ahead`) / x of its n normal ones are flagged, because the
    other lesion pixels have at most n each. F1 under this bound is highest at one of its ends: where no normal pixel
    is flagged, or at x = l.
    """
    found = np.cumsum(steps.lesions).astype(np.float64)
    lesions, normals = steps.lesions.astype(np.float64), steps.tied.astype(np.float64)
    above = np.cumsum(steps.gaps[:-1]) + np.cumsum(steps.tied) - steps.tied
    others = above + steps.lesion_pixels
    low = 2 * found / (found + normals + others)
    last = 2 * found / (found + steps.ahead / lesions + others)
    free = found - lesions + np.where(normals > 0, lesions - steps.ahead / np.maximum(normals, 1), lesions)
    # All lesions of a group at one rank: it is a single step.
    single = steps.ranks == steps.lesions**2
    return low, np.where(single, low, np.maximum(last, 2 * free / (free + others)))


def coverage_ends(steps: GroupedSteps, rate: float) -> tuple[Float64[Array, " k"], Float64[Array, " k"]]:
    """Return the ends of each group's part of AUPRO up to a false-positive rate, except for the rounding of coverage.

    A component covered after m normal pixels adds its weight times the share of FPR between m and the limit.
    """
    limit = rate * steps.normal_pixels
    above = (np.cumsum(steps.gaps[:-1]) + np.cumsum(steps.tied) - steps.tied).astype(np.float64)
    normals = steps.tied.astype(np.float64)
    gain = steps.weights / COVERAGE_UNIT
    rest = limit - above - normals * steps.positions / POSITION_UNIT
    error = (gain + 1 / COVERAGE_UNIT) * normals * 0.5 / POSITION_UNIT
    inside = above + normals <= limit
    low, high = np.where(inside, gain * rest - error, 0.0), np.where(inside, gain * rest + error, 0.0)
    across = ~inside & (above < limit)
    high = np.where(across, gain * (limit - above), high)
    # A single step's coverage rises evenly over its normal pixels.
    single = across & (steps.ranks == steps.lesions**2) & (steps.ahead == steps.ties) & (steps.tied > 0)
    ramp = gain * (limit - above) ** 2 / (2 * np.maximum(normals, 1))
    return np.where(single, ramp, low) / limit, np.where(single, ramp, high) / limit
