"""Pixel statistics in their published form: groups of steps, chosen so that the ends of every metric are close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.cohort import Cohort
from anyadbench.metrics.core.curves import Curve, Region
from anyadbench.metrics.intervals.jackknife import pixels_left_out
from anyadbench.metrics.rows.brain_pixels import Ranked
from anyadbench.metrics.rows.grouped import (
    COVERAGE_UNIT,
    POSITION_UNIT,
    GroupedSteps,
    coverage_ends,
    f1_ends,
    precision_ends,
)
from anyadbench.metrics.rows.grouped_storage import WEIGHT_BITS
from anyadbench.metrics.rows.row_pixels import RowPixels

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from anyadbench.metrics.core.ranking import Steps

COUNTS = 24 << 10
"""Subjects x groups of all rows together: with 8 subjects, 384 groups for 8 rows and 192 for 16."""

LEAST_GROUPS, MOST_GROUPS = 64, 1024

NEAR = 2e-3
"""How far metrics without a subject, by the published counts, may be from those of the run."""

WIDTH = 2e-5
"""Groups are split until the ends of every metric are this close, or until a row has `MOST_STEPS`."""

MOST_STEPS = 1 << 11
"""Groups of one row in the pooled ranking; few rows need as many."""


BRAIN_WIDTH, BRAIN_STEPS = 2e-4, 1 << 8
"""The same for the pixels inside the brain."""


def condense(rows: Sequence[RowPixels], scale: float = 1.0) -> list[RowPixels]:
    """Return the rows of a cell with grouped steps and fewer groups of subjects' counts; grouped rows stay as they are.

    Every value is that of the given rows: `GroupedSteps.compute` returns it, and its ends contain it. So are the values
    without each subject, which the subjects' counts give to within `NEAR`.

    Args:
        rows: The rows.
        scale: Factor on the numbers of groups, for cells with so many rows that they would take too much space.
    """
    counts = sum(len(row.subjects) for row in rows)
    groups = int(np.clip(scale * COUNTS // max(counts, 1), LEAST_GROUPS, MOST_GROUPS))
    return [row if isinstance(row.steps, GroupedSteps) else _condensed(row, groups, scale) for row in rows]


def left_out(ranked: Ranked, cohort: Cohort) -> Float64[np.ndarray, "s m"]:
    """Return the pixel metrics of a ranking without each subject, as the counts of ``cohort`` give them."""
    return pixels_left_out(cohort, ranked.steps.compute(), ranked.steps.region)


def _condensed(row: RowPixels, groups: int, scale: float) -> RowPixels:
    found = None if row.decision is None else row.decision.tp
    field = _grouped(row.field, groups, WIDTH, int(scale * MOST_STEPS), found if row.brain is None else None)
    brain = row.brain
    if brain is not None:
        brain = _grouped(brain, LEAST_GROUPS, BRAIN_WIDTH, int(scale * BRAIN_STEPS), found)
    return replace(row, steps=field.steps, owners=field.owners, cohort=field.cohort, brain=brain)


def _grouped(ranked: Ranked, groups: int, width: float, most: int, flagged: int | None) -> Ranked:
    """Return a ranking by groups.

    Args:
        ranked: Single steps.
        groups: Groups of the subjects' counts to begin with.
        width: How close the ends of every metric are to be.
        most: Largest number of groups of the pooled ranking.
        flagged: Lesion pixels above the threshold, after which a group must end.
    """
    steps, wanted, nobody = ranked.steps, left_out(ranked, ranked.cohort), np.empty(0, dtype=np.int64)
    while True:
        cohort = _joined(ranked.cohort, groups, steps.region)
        apart = np.abs(left_out(ranked, cohort) - wanted)
        if not (apart > NEAR / 2).any() or groups >= ranked.cohort.tied.shape[1]:
            break
        groups *= 2
    cohort = replace(cohort, left_out=wanted)
    if not steps.lesion_pixels:
        return Ranked(_Prefix.of(steps).grouped(nobody), nobody, cohort)
    prefix = _Prefix.of(steps)
    needed = [len(steps.lesions) - 1, *prefix.marks()]
    if flagged:
        needed.append(int(np.searchsorted(prefix.curve.found, flagged)))
    # Groups of the subjects' counts consist of whole groups of the pooled ranking, so that their sums can be compared.
    held = np.searchsorted(prefix.curve.found, np.cumsum(cohort.lesions.sum(axis=0)))
    ends = np.unique(np.concatenate([held, np.array(needed, dtype=np.int64)]))
    return Ranked(prefix.refined(ends, most, width), nobody, cohort)


@dataclass(frozen=True)
class _Prefix:
    """Sums over the steps from the top, so that those of any group are differences."""

    steps: Steps
    curve: Curve
    sums: dict[str, Float64[np.ndarray, " k"] | Int64[np.ndarray, " k"]]

    @staticmethod
    def of(steps: Steps) -> _Prefix:
        """Return the sums of a row's steps."""
        curve = steps.curve()
        gains = np.diff(curve.covered, prepend=0.0)
        sums: dict[str, Any] = {
            "ahead": np.cumsum(steps.lesions * curve.reached), "ties": np.cumsum(steps.lesions * steps.tied),
            "ranks": np.cumsum(steps.lesions * curve.found),
            "positions": np.cumsum(gains * (curve.reached + curve.above) / 2.0),
        }  # fmt: skip
        return _Prefix(steps, curve, sums)

    def marks(self) -> list[int]:
        """Return steps that must end a group: the best F1, and the two around each limit of AUPRO."""
        curve = self.curve
        best = int(np.argmax(2.0 * curve.found / (curve.found + curve.reached + curve.lesions)))
        rates = [rate * float(curve.normals) for _, rate in self.steps.region.limits]
        across = [int(place) for place in np.searchsorted(curve.reached, rates, side="right")]
        last = len(curve.found) - 1
        return sorted({best, *(place for one in across for place in (one - 1, one) if 0 <= place <= last)})

    def grouped(self, ends: Int64[np.ndarray, " g"]) -> GroupedSteps:
        """Return the groups that end at the given steps."""
        curve, steps = self.curve, self.steps
        first = np.append(0, ends[:-1] + 1)[: len(ends)]
        above, reached, found = curve.above[first], curve.reached[ends], curve.found[ends]
        lesions = np.diff(found, prepend=0)
        taken = {name: np.diff(values[ends], prepend=0) for name, values in self.sums.items()}
        covered = curve.covered[ends]
        gain = np.diff(covered, prepend=0.0)
        tied = reached - above
        place = (taken["positions"] - gain * above) / np.where(gain * tied > 0, gain * tied, 1.0)
        return GroupedSteps(
            gaps=np.append(above, steps.normal_pixels) - np.append(0, reached),
            tied=tied,
            lesions=lesions,
            areas=np.empty(0, dtype=np.int64),
            weights=np.diff(np.rint(covered * COVERAGE_UNIT).astype(np.int64), prepend=0),
            components=steps.components,
            region=steps.region,
            ahead=taken["ahead"] - lesions * above,
            ties=taken["ties"],
            ranks=taken["ranks"] - lesions * (found - lesions),
            positions=np.rint(np.clip(place, 0.0, 1.0) * POSITION_UNIT).astype(np.int64),
            values=steps.compute(),
            bins=None if steps.exact else steps.error_bound(),
        )

    def refined(self, ends: Int64[np.ndarray, " g"], most: int, width: float) -> GroupedSteps:
        """Return groups that are split where the ends of the metrics are widest, at most ``most`` of them."""
        while True:
            found = self.grouped(ends)
            first = np.append(0, ends[:-1] + 1)
            widths, totals = _widths(found)
            if (totals <= width).all() or len(ends) >= most or not (ends > first).any():
                return found
            score = (widths / width * (totals > width)[:, None]).max(axis=0)
            score[ends == first] = 0.0
            most_new = min(max(len(ends) // 4, 16), most - len(ends))
            chosen = np.argsort(score, kind="stable")[::-1][:most_new]
            chosen = chosen[score[chosen] > 0]
            if not len(chosen):
                return found
            split = [self._middle(int(first[place]), int(ends[place])) for place in chosen]
            ends = np.unique(np.concatenate([ends, split]))

    def _middle(self, first: int, last: int) -> int:
        """Return the step at which half of a group's pixels, lesions and normals alike, are counted."""
        part = slice(first, last + 1)
        found, reached = self.curve.found[part] - self.curve.found[first], self.curve.reached[part]
        ahead = reached - reached[0]
        share = found / max(int(found[-1]), 1) + ahead / max(int(ahead[-1]), 1)
        return min(first + int(np.searchsorted(share, share[-1] / 2)), last - 1)


def _widths(steps: GroupedSteps) -> tuple[Float64[np.ndarray, "m k"], Float64[np.ndarray, " m"]]:
    """Return the groups' parts of the distance between the ends of AP, best F1 and AUPRO, and these distances."""
    precision, f1 = precision_ends(steps), f1_ends(steps)
    over = np.maximum(f1[1] - f1[0].max(), 0.0)
    covered = [high - low for low, high in (coverage_ends(steps, rate) for _, rate in steps.region.limits)]
    parts = np.stack([precision[1] - precision[0], *covered, over])
    return parts, np.append(parts[:-1].sum(axis=1), over.max())


def _joined(cohort: Cohort, most: int, region: Region) -> Cohort:
    """Join neighbouring groups of subjects' counts where it changes the pooled metrics least."""
    count = cohort.tied.shape[1]
    ends = np.arange(count)
    if count > most:
        ends = _kept(cohort, most, region)
    first = np.append(0, ends[:-1] + 1)[: len(ends)]
    if not count:
        return cohort
    inner = cohort.gaps[:, :-1].copy()
    inner[:, first] = 0
    # Rounded from the top, so that errors do not add up.
    half = 1 << (WEIGHT_BITS - 1)
    total = (np.cumsum(cohort.weights, axis=1)[:, ends] + half) >> WEIGHT_BITS
    return Cohort(
        gaps=np.concatenate([cohort.gaps[:, first], cohort.gaps[:, -1:]], axis=1),
        tied=np.add.reduceat(cohort.tied + inner, first, axis=1),
        lesions=np.add.reduceat(cohort.lesions, first, axis=1),
        weights=np.diff(total, axis=1, prepend=0) << WEIGHT_BITS,
    )


def _kept(cohort: Cohort, most: int, region: Region) -> Int64[np.ndarray, " g"]:
    """Return the groups that stay ends: those whose joining would blur AUROC, AP or AUPRO most."""
    gaps, tied = cohort.gaps.sum(axis=0), cohort.tied.sum(axis=0)
    reached = np.cumsum(gaps[:-1]) + np.cumsum(tied)
    above = reached - tied
    found, covered = np.cumsum(cohort.lesions.sum(axis=0)), np.cumsum(cohort.weights.sum(axis=0))
    lesions, normals, weight = float(found[-1]), float(gaps.sum() + tied.sum()), float(max(covered[-1], 1))
    limits = [max(rate * normals, 1.0) for _, rate in region.limits]
    measure = found / lesions + covered / weight + sum(np.minimum(reached / limit, 1.0) for limit in limits)
    ends = np.array([len(found) - 1])
    while len(ends) < most:
        first = np.append(0, ends[:-1] + 1)
        gained, seen = np.diff(found[ends], prepend=0), np.diff(covered[ends], prepend=0)
        high, low = found[ends] / (found[ends] + above[first]), found[ends] / (found[ends] + reached[ends])
        blur = np.stack(
            [
                gained * (reached[ends] - above[first]), gained * (high - low),
                *(seen * (np.minimum(reached[ends], limit) - np.minimum(above[first], limit)) for limit in limits),
            ]
        )  # fmt: skip
        score = (blur / np.maximum(blur.sum(axis=1, keepdims=True), 1e-300)).max(axis=0)
        score[ends == first] = -1.0
        chosen = np.argsort(score, kind="stable")[::-1][: min(max(len(ends) // 4, 1), most - len(ends))]
        chosen = chosen[score[chosen] > 0]
        if not len(chosen):
            break
        start = np.where(first[chosen] > 0, measure[first[chosen] - 1], 0.0)
        middle = np.searchsorted(measure, (start + measure[ends[chosen]]) / 2)
        ends = np.unique(np.concatenate([ends, np.clip(middle, first[chosen], ends[chosen] - 1)]))
    return ends
