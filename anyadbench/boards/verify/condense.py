"""Pixel statistics in their published form: groups of steps, chosen so that the ends of every metric are close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.cohort import LEFT_OUT, Cohort
from anyadbench.metrics.core.curves import FPR_LIMIT, Curve
from anyadbench.metrics.intervals.jackknife import JACKKNIFED, jackknife_values
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
from anyadbench.results.cellfiles import RowKey, SliceRecord

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


def condense(rows: Sequence[RowPixels], slices: Mapping[RowKey, Sequence[SliceRecord]]) -> list[RowPixels]:
    """Return the rows of a cell with grouped steps and fewer groups of subjects' counts; grouped rows stay as they are.

    Every value is that of the given rows: `GroupedSteps.compute` returns it, and its ends contain it. So are the values
    without each subject, which the subjects' counts give to within `NEAR`.
    """
    counts = sum(len(row.subjects) for row in rows)
    groups = int(np.clip(COUNTS // max(counts, 1), LEAST_GROUPS, MOST_GROUPS))
    return [
        row if isinstance(row.steps, GroupedSteps) else _condensed(row, groups, slices.get((row.test, row.subset), []))
        for row in rows
    ]


def left_out(row: RowPixels, cohort: Cohort, records: Sequence[SliceRecord]) -> Float64[np.ndarray, "s m"]:
    """Return the pixel metrics of a row without each subject, as the counts of ``cohort`` give them."""
    scores = {name: [one for one in records if one["subject"] == name] for name in row.subjects}
    images = [
        (np.array([float(one["image_score"]) for one in own]), np.array([bool(one["label"]) for one in own]))
        for own in scores.values()
    ]
    points = dict.fromkeys(JACKKNIFED, float("nan")) | row.steps.compute()
    _, found = jackknife_values(replace(cohort, left_out=None), images, points)
    return found[:, [JACKKNIFED.index(name) for name in LEFT_OUT]]


def _condensed(row: RowPixels, groups: int, records: Sequence[SliceRecord]) -> RowPixels:
    wanted = left_out(row, row.cohort, records)
    while True:
        cohort = _joined(row.cohort, groups)
        apart = np.abs(left_out(row, cohort, records) - wanted)
        if not (apart > NEAR / 2).any() or groups >= row.cohort.tied.shape[1]:
            break
        groups *= 2
    cohort = replace(cohort, left_out=wanted)
    if not row.steps.lesion_pixels:
        return replace(row, steps=_Prefix.of(row.steps).grouped(np.empty(0, dtype=np.int64)), cohort=cohort)
    prefix = _Prefix.of(row.steps)
    needed = [len(row.steps.lesions) - 1, *prefix.marks()]
    if row.decision is not None and row.decision.tp:
        needed.append(int(np.searchsorted(prefix.curve.found, row.decision.tp)))
    # Groups of the subjects' counts consist of whole groups of the pooled ranking, so that their sums can be compared.
    held = np.searchsorted(prefix.curve.found, np.cumsum(cohort.lesions.sum(axis=0)))
    ends = np.unique(np.concatenate([held, np.array(needed, dtype=np.int64)]))
    return replace(row, steps=prefix.refined(ends, MOST_STEPS), cohort=cohort, owners=np.empty(0, dtype=np.int64))


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
        """Return steps that must end a group: the best F1, and the two around the limit of AUPRO."""
        curve = self.curve
        best = int(np.argmax(2.0 * curve.found / (curve.found + curve.reached + curve.lesions)))
        across = int(np.searchsorted(curve.reached, FPR_LIMIT * float(curve.normals), side="right"))
        last = len(curve.found) - 1
        return sorted({best, *(place for place in (across - 1, across) if 0 <= place <= last)})

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
            ahead=taken["ahead"] - lesions * above,
            ties=taken["ties"],
            ranks=taken["ranks"] - lesions * (found - lesions),
            positions=np.rint(np.clip(place, 0.0, 1.0) * POSITION_UNIT).astype(np.int64),
            values=steps.compute(),
            bins=None if steps.exact else steps.error_bound(),
        )

    def refined(self, ends: Int64[np.ndarray, " g"], most: int) -> GroupedSteps:
        """Return groups that are split where the ends of the metrics are widest, at most ``most`` of them."""
        while True:
            found = self.grouped(ends)
            first = np.append(0, ends[:-1] + 1)
            widths, totals = _widths(found)
            if (totals <= WIDTH).all() or len(ends) >= most or not (ends > first).any():
                return found
            score = (widths / WIDTH * (totals > WIDTH)[:, None]).max(axis=0)
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


def _widths(steps: GroupedSteps) -> tuple[Float64[np.ndarray, "3 k"], Float64[np.ndarray, " 3"]]:
    """Return the groups' parts of the distance between the ends of AP, best F1 and AUPRO, and these distances."""
    precision, f1, coverage = precision_ends(steps), f1_ends(steps), coverage_ends(steps)
    over = np.maximum(f1[1] - f1[0].max(), 0.0)
    parts = np.stack([precision[1] - precision[0], over, coverage[1] - coverage[0]])
    return parts, np.array([parts[0].sum(), over.max(), parts[2].sum()])


def _joined(cohort: Cohort, most: int) -> Cohort:
    """Join neighbouring groups of subjects' counts where it changes the pooled metrics least."""
    count = cohort.tied.shape[1]
    ends = np.arange(count)
    if count > most:
        ends = _kept(cohort, most)
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


def _kept(cohort: Cohort, most: int) -> Int64[np.ndarray, " g"]:
    """Return the groups that stay ends: those whose joining would blur AUROC, AP or AUPRO most."""
    gaps, tied = cohort.gaps.sum(axis=0), cohort.tied.sum(axis=0)
    reached = np.cumsum(gaps[:-1]) + np.cumsum(tied)
    above = reached - tied
    found, covered = np.cumsum(cohort.lesions.sum(axis=0)), np.cumsum(cohort.weights.sum(axis=0))
    lesions, normals, weight = float(found[-1]), float(gaps.sum() + tied.sum()), float(max(covered[-1], 1))
    limit = max(FPR_LIMIT * normals, 1.0)
    measure = found / lesions + covered / weight + np.minimum(reached / limit, 1.0)
    ends = np.array([len(found) - 1])
    while len(ends) < most:
        first = np.append(0, ends[:-1] + 1)
        gained, seen = np.diff(found[ends], prepend=0), np.diff(covered[ends], prepend=0)
        high, low = found[ends] / (found[ends] + above[first]), found[ends] / (found[ends] + reached[ends])
        blur = np.stack(
            [
                gained * (reached[ends] - above[first]), gained * (high - low),
                seen * (np.minimum(reached[ends], limit) - np.minimum(above[first], limit)),
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
