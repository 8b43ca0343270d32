"""Pixel statistics in their published form: groups of steps, chosen so that the ends of every metric are close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.cohort import Cohort
from anyadbench.metrics.core.curves import FIELD, Curve
from anyadbench.metrics.intervals.jackknife import pixels_drawn, pixels_left_out
from anyadbench.metrics.rows.brain_pixels import Ranked, same_lesions
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
    from jaxtyping import Bool, Float64, Int64

    from anyadbench.metrics.core.ranking import Steps

COUNTS = 24 << 10
"""Subjects x groups of all rows together: with 8 subjects, 384 groups for 8 rows and 192 for 16."""

LEAST_GROUPS, MOST_GROUPS = 64, 1024

NEAR = 2e-3
"""How far metrics without a subject, by the published counts, may be from those of the run."""

GROUPED = 5e-3
"""How far metrics on the subjects with every sequence may be."""

WIDTH = 2e-5
"""Groups are split until the ends of every metric are this close, or until a row has `MOST_STEPS`."""

MOST_STEPS = 1 << 11
"""Groups of one row in the pooled ranking; few rows need as many."""


BRAIN_WIDTH = 2e-4
"""The same for metrics inside the brain."""


def condense(
    rows: Sequence[RowPixels], scale: float = 1.0, common: Sequence[Sequence[str]] | None = None
) -> list[RowPixels]:
    """Return the rows of a cell with grouped steps and fewer groups of subjects' counts; grouped rows stay as they are.

    Every value is that of the given rows: `GroupedSteps.compute` returns it, and its ends contain it. So are the values
    without each subject, which the subjects' counts give to within `NEAR`, and those on the common subjects to within
    `GROUPED`.

    Args:
        rows: The rows.
        scale: Factor on the numbers of groups, for cells with so many rows that they would take too much space. Ends
            that grow with the square of the groups' size may then be wider.
        common: For each row, the subjects that have every sequence; by default all of the row's.
    """
    counts = sum(len(row.subjects) for row in rows)
    groups = int(np.clip(scale * COUNTS // max(counts, 1), LEAST_GROUPS, MOST_GROUPS))
    shared = [row.subjects for row in rows] if common is None else common
    return [
        row if isinstance(row.steps, GroupedSteps) else _condensed(row, groups, scale, names)
        for row, names in zip(rows, shared, strict=True)
    ]


def left_out(ranked: Ranked, cohort: Cohort) -> Float64[np.ndarray, "s m"]:
    """Return the pixel metrics of a ranking without each subject, as the counts of ``cohort`` give them."""
    return pixels_left_out(cohort, ranked.steps.compute(), ranked.steps.region)


def _condensed(row: RowPixels, groups: int, scale: float, common: Sequence[str]) -> RowPixels:
    among = np.isin(row.subjects, common)
    flagged = 0 if row.decision is None else row.decision.tp
    if row.brain is None:
        (field,), brain = _grouped([row.field], groups, scale, flagged, among), None
    elif same_lesions(row.field, row.brain):
        # The same groups serve both, and only the normal pixels outside the brain have to be stored.
        field, brain = _grouped([row.field, row.brain], groups, scale, flagged, among)
    else:
        (field,) = _grouped([row.field], groups, scale, 0, among)
        (brain,) = _grouped([row.brain], groups, scale, flagged, among)
    return replace(row, steps=field.steps, owners=field.owners, cohort=field.cohort, brain=brain)


def _grouped(
    ranked: Sequence[Ranked], groups: int, scale: float, flagged: int, among: Bool[np.ndarray, " s"]
) -> list[Ranked]:
    """Return rankings of the same lesion pixels by the same groups.

    Args:
        ranked: Single steps.
        groups: Groups of the subjects' counts to begin with.
        scale: Factor on the number of groups of the pooled ranking.
        flagged: Lesion pixels above the threshold, after which a group must end.
        among: Which subjects have every sequence.
    """
    wanted, count = [left_out(one, one.cohort) for one in ranked], ranked[0].cohort.tied.shape[1]
    shared = [_on_common(one, one.cohort, among) for one in ranked]
    while True:
        ends = _kept(ranked, groups) if count > groups else np.arange(count)
        cohorts = [_joined(one.cohort, ends) for one in ranked]
        found = [left_out(one, cohort) for one, cohort in zip(ranked, cohorts, strict=True)]
        fewer = [_on_common(one, cohort, among) for one, cohort in zip(ranked, cohorts, strict=True)]
        if groups >= count or (_close(found, wanted, NEAR) and _close(fewer, shared, GROUPED)):
            break
        groups *= 2
    cohorts = [replace(cohort, left_out=exact) for cohort, exact in zip(cohorts, wanted, strict=True)]
    prefixes, ends = [_Prefix.of(one.steps) for one in ranked], np.empty(0, dtype=np.int64)
    if ranked[0].steps.lesion_pixels:
        lesions = prefixes[0].curve.found
        needed = [len(lesions) - 1, *(place for prefix in prefixes for place in prefix.marks())]
        if flagged:
            needed.append(int(np.searchsorted(lesions, flagged)))
        # Groups of the subjects' counts consist of whole groups of the pooled ranking, so that their sums can be
        # compared.
        held = np.searchsorted(lesions, np.cumsum(cohorts[0].lesions.sum(axis=0)))
        ends = _refined(prefixes, np.unique(np.concatenate([held, np.array(needed, dtype=np.int64)])), scale)
    nobody = np.empty(0, dtype=np.int64)
    return [Ranked(prefix.grouped(ends), nobody, cohort) for prefix, cohort in zip(prefixes, cohorts, strict=True)]


def _on_common(ranked: Ranked, cohort: Cohort, among: Bool[np.ndarray, " s"]) -> Float64[np.ndarray, "k m"]:
    """Return the pixel metrics on the common subjects, and without each of them; nothing where all are common."""
    chosen = np.flatnonzero(among)
    draws = among - np.concatenate([np.zeros((1, len(among))), np.eye(len(among))[chosen]])
    draws = draws[:0] if among.all() else draws
    return pixels_drawn(cohort, ranked.steps.compute(), ranked.steps.region, draws)


def _close(
    ours: Sequence[Float64[np.ndarray, "k m"]], exact: Sequence[Float64[np.ndarray, "k m"]], limit: float
) -> bool:
    """Return whether no value differs by more than nine tenths of a limit; NaN differs from nothing."""
    return not any((np.abs(one - other) > 0.9 * limit).any() for one, other in zip(ours, exact, strict=True))


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

    def middle(self, first: int, last: int) -> int:
        """Return the step at which half of a group's pixels, lesions and normals alike, are counted."""
        part = slice(first, last + 1)
        found, reached = self.curve.found[part] - self.curve.found[first], self.curve.reached[part]
        ahead = reached - reached[0]
        share = found / max(int(found[-1]), 1) + ahead / max(int(ahead[-1]), 1)
        return min(first + int(np.searchsorted(share, share[-1] / 2)), last - 1)


def _refined(prefixes: Sequence[_Prefix], ends: Int64[np.ndarray, " g"], scale: float) -> Int64[np.ndarray, " h"]:
    """Return the ends of groups that are split where the ends of the metrics are widest."""
    most = int(scale * MOST_STEPS)
    while True:
        first = np.append(0, ends[:-1] + 1)
        score = np.zeros(len(ends))
        for prefix in prefixes:
            width = (WIDTH if prefix.steps.region == FIELD else BRAIN_WIDTH) / scale**2
            widths, totals = _widths(prefix.grouped(ends))
            score = np.maximum(score, (widths / width * (totals > width)[:, None]).max(axis=0))
        score[ends == first] = 0.0
        if not score.any() or len(ends) >= most:
            return ends
        most_new = min(max(len(ends) // 4, 16), most - len(ends))
        chosen = np.argsort(score, kind="stable")[::-1][:most_new]
        chosen = chosen[score[chosen] > 0]
        split = [prefixes[0].middle(int(first[place]), int(ends[place])) for place in chosen]
        ends = np.unique(np.concatenate([ends, split]))


def _widths(steps: GroupedSteps) -> tuple[Float64[np.ndarray, "m k"], Float64[np.ndarray, " m"]]:
    """Return the groups' parts of the distance between the ends of AP, best F1 and AUPRO, and these distances."""
    precision, f1 = precision_ends(steps), f1_ends(steps)
    over = np.maximum(f1[1] - f1[0].max(), 0.0)
    covered = [high - low for low, high in (coverage_ends(steps, rate) for _, rate in steps.region.limits)]
    parts = np.stack([precision[1] - precision[0], *covered, over])
    return parts, np.append(parts[:-1].sum(axis=1), over.max())


def _joined(cohort: Cohort, ends: Int64[np.ndarray, " g"]) -> Cohort:
    """Join neighbouring groups of subjects' counts up to each of the ends."""
    first = np.append(0, ends[:-1] + 1)[: len(ends)]
    if not len(ends):
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


def _kept(ranked: Sequence[Ranked], most: int) -> Int64[np.ndarray, " g"]:
    """Return the groups that stay ends: those whose joining would blur AUROC, AP or AUPRO of a ranking most."""
    lesions = np.cumsum(ranked[0].cohort.lesions.sum(axis=0))
    weights = np.cumsum(ranked[0].cohort.weights.sum(axis=0))
    rates = [_Rates.of(one) for one in ranked]
    measure = lesions / float(lesions[-1]) + weights / float(max(weights[-1], 1))
    measure = measure + sum(np.minimum(one.reached / limit, 1.0) for one in rates for limit in one.limits)
    ends = np.array([len(lesions) - 1])
    while len(ends) < most:
        first = np.append(0, ends[:-1] + 1)
        found, gained, seen = lesions[ends], np.diff(lesions[ends], prepend=0), np.diff(weights[ends], prepend=0)
        blur = np.concatenate([one.blur(first, ends, found, gained, seen) for one in rates])
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


@dataclass(frozen=True)
class _Rates:
    """Normal pixels at the groups of a cohort, all subjects together, and the limits of AUPRO in such pixels."""

    above: Int64[np.ndarray, " g"]
    reached: Int64[np.ndarray, " g"]
    limits: tuple[float, ...]

    @staticmethod
    def of(ranked: Ranked) -> _Rates:
        gaps, tied = ranked.cohort.gaps.sum(axis=0), ranked.cohort.tied.sum(axis=0)
        reached, normals = np.cumsum(gaps[:-1]) + np.cumsum(tied), float(gaps.sum() + tied.sum())
        limits = tuple(max(rate * normals, 1.0) for _, rate in ranked.steps.region.limits)
        return _Rates(reached - tied, reached, limits)

    def blur(
        self,
        first: Int64[np.ndarray, " k"],
        ends: Int64[np.ndarray, " k"],
        found: Int64[np.ndarray, " k"],
        gained: Int64[np.ndarray, " k"],
        seen: Int64[np.ndarray, " k"],
    ) -> Float64[np.ndarray, "m k"]:
        """Return how much each joined group blurs AUROC, AP and AUPRO."""
        above, reached = self.above[first], self.reached[ends]
        precision = found / np.maximum(found + above, 1) - found / np.maximum(found + reached, 1)
        covered = [seen * (np.minimum(reached, limit) - np.minimum(above, limit)) for limit in self.limits]
        return np.stack([gained * (reached - above), gained * precision, *covered])
