"""Pixel counts of every subject at the steps of their common ranking: the input of a resample of subjects.

Neighbouring steps form groups of about equally many lesion pixels, so that the number of groups is bounded and does not
depend on the scale of the scores. If there are no more steps than groups, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.exact import PixelStats, distinct_keys
from anyadbench.metrics.core.streaming import PixelState

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from anyadbench.metrics.core.ranking import Steps

MOST_GROUPS = 1024
"""Number of groups of steps; each holds about a thousandth of the lesion pixels."""

WEIGHT_UNIT = 1 << 30
"""Weight of one component; sums stay integers that a float64 represents, so resamples are the same on any machine."""

STATE_BITS = 20
"""Bits at which single subjects' states are compared; finer states are coarsened."""


@dataclass(frozen=True)
class Cohort:
    """Counts by subject, with groups in order of falling score.

    Attributes:
        gaps: Normal pixels above each group and below the previous one; the last entry counts those below all groups.
        tied: Normal pixels within each group.
        lesions: Lesion pixels in each group.
        weights: Weights of components covered in each group, in units of `WEIGHT_UNIT`.
        left_out: Metrics of the region without each subject, where they were computed from more groups than these.
    """

    gaps: Int64[np.ndarray, "s g+1"]
    tied: Int64[np.ndarray, "s g"]
    lesions: Int64[np.ndarray, "s g"]
    weights: Int64[np.ndarray, "s g"]
    left_out: Float64[np.ndarray, "s m"] | None = None

    def __len__(self) -> int:
        """Return the number of subjects."""
        return len(self.gaps)

    def subject(self, index: int) -> Steps:
        """Return the ranking of one subject's pixels, by groups of scores; its AUPRO is as exact as the groups.

        Args:
            index: Index of the subject.
        """
        from anyadbench.metrics.core.ranking import Steps

        held = np.flatnonzero(self.lesions[index])
        above = np.cumsum(self.gaps[index][:-1]) + np.cumsum(self.tied[index]) - self.tied[index]
        tied, normals = self.tied[index][held], int(self.gaps[index].sum() + self.tied[index].sum())
        starts, ends = np.append(above[held], normals), np.append(0, above[held] + tied)
        nothing = np.empty(0, dtype=np.int64)
        return Steps(starts - ends, tied, self.lesions[index][held], nothing, self.weights[index][held], 0)

    def check(self, steps: Steps | None = None) -> None:
        """Check that the counts are possible and add up to those of ``steps``.

        Raises:
            UserError: If they are not.
        """
        groups = self.tied.shape
        shapes = self.gaps.shape == (groups[0], groups[1] + 1) and self.lesions.shape == self.weights.shape == groups
        shapes = shapes and (self.left_out is None or len(self.left_out) == groups[0])
        if not shapes or any((part < 0).any() for part in (self.gaps, self.tied, self.lesions, self.weights)):
            raise UserError("The counts of the subjects' pixels are impossible; run the cell again.")
        if steps is None:
            return
        gaps, tied, lesions = grouped(steps)
        for ours, theirs in ((self.gaps, gaps), (self.tied, tied), (self.lesions, lesions)):
            if not np.array_equal(ours.sum(axis=0), theirs):
                raise UserError("The counts of the subjects' pixels do not add up to those of the row; run it again.")


def group_ends(lesions: Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " g"]:
    """Return the last step of each group, given the number of lesion pixels at each step."""
    if len(lesions) <= MOST_GROUPS:
        return np.arange(len(lesions))
    found = np.cumsum(lesions)
    wanted = (np.arange(1, MOST_GROUPS + 1) * int(found[-1]) + MOST_GROUPS - 1) // MOST_GROUPS
    return np.unique(np.searchsorted(found, wanted))


def grouped(
    steps: Steps,
) -> tuple[Int64[np.ndarray, " g+1"], Int64[np.ndarray, " g"], Int64[np.ndarray, " g"]]:
    """Return gaps, tied normals and lesions of all subjects together, by groups of steps."""
    ends = group_ends(steps.lesions)
    starts = _starts(ends)
    if not len(ends):
        return steps.gaps, steps.tied, steps.lesions
    inner = steps.gaps[:-1].copy()
    inner[starts] = 0
    tied = np.add.reduceat(steps.tied + inner, starts)
    return np.append(steps.gaps[starts], steps.gaps[-1]), tied, np.add.reduceat(steps.lesions, starts)


def _starts(ends: Int64[np.ndarray, " g"]) -> Int64[np.ndarray, " g"]:
    return np.append(0, ends[:-1] + 1)[: len(ends)]


def exact_cohort(states: Sequence[PixelStats], steps: Steps, owners: Int64[np.ndarray, " p"]) -> Cohort:
    """Count the pixels of each subject at the groups of the pooled steps.

    Args:
        states: One state per subject.
        steps: The pooled steps.
        owners: Subject of each lesion pixel, from `lesion_owners`.
    """
    keys = lesion_keys(states)
    ends = group_ends(steps.lesions)
    highest, lowest = keys[_starts(ends)], keys[ends]
    gaps = np.zeros((len(states), len(ends) + 1), dtype=np.int64)
    tied = np.zeros((len(states), len(ends)), dtype=np.int64)
    for row, state in enumerate(states):
        above, reached = state.normals_above(highest), state.normals_from(lowest)
        gaps[row] = np.append(above, state.normal_pixels) - np.append(0, reached)
        tied[row] = reached - above
    lesions, weights = lesion_tables(steps, owners, len(states))
    return Cohort(gaps, tied, lesions, weights)


def lesion_tables(
    steps: Steps, owners: Int64[np.ndarray, " p"], subjects: int
) -> tuple[Int64[np.ndarray, "s g"], Int64[np.ndarray, "s g"]]:
    """Return lesion pixels and weights by subject and group from the owner of each lesion pixel."""
    ends = group_ends(steps.lesions)
    group_of_step = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    place = owners * len(ends) + np.repeat(group_of_step, steps.lesions)
    size, shape = subjects * len(ends), (subjects, len(ends))
    lesions = np.bincount(place, minlength=size).reshape(shape)
    share = ((WEIGHT_UNIT + steps.areas // 2) // np.maximum(steps.areas, 1)).astype(np.float64)
    return lesions, np.bincount(place, share, minlength=size).astype(np.int64).reshape(shape)


def lesion_keys(states: Sequence[PixelStats]) -> np.ndarray:
    """Return the distinct lesion keys of all states, descending."""
    return distinct_keys(np.sort(_packed(states)))[0][::-1]


def lesion_owners(states: Sequence[PixelStats]) -> Int64[np.ndarray, " p"]:
    """Return the state that each lesion pixel belongs to, in the order of the pooled steps."""
    owners = np.repeat(np.arange(len(states)), [state.lesion_pixels for state in states])
    return owners[np.argsort(_packed(states), kind="stable")[::-1]]


def _packed(states: Sequence[PixelStats]) -> Int64[np.ndarray, " p"]:
    return np.concatenate([np.empty(0, dtype=np.int64), *(state.packed_lesions() for state in states)])


def binned_cohort(states: Sequence[PixelState]) -> Cohort:
    """Count the pixels of each subject at groups of the bins that hold a lesion pixel of any subject.

    Raises:
        UserError: If the states differ in bits.
    """
    pooled = PixelState(states[0].bits)
    for state in states:
        pooled.merge(state)
    bits = min(STATE_BITS, pooled.bits)
    arrays = pooled.coarsened(bits).to_arrays()
    steps = arrays["bins"][arrays["lesion"] > 0].astype(np.int64)[::-1]
    ends = group_ends(arrays["lesion"][arrays["lesion"] > 0][::-1])
    highest, lowest = steps[_starts(ends)], steps[ends]
    rows: dict[str, list[np.ndarray]] = {"gaps": [], "tied": [], "lesions": [], "weights": []}
    for state in states:
        arrays = state.coarsened(bits).to_arrays()
        bins = arrays["bins"].astype(np.int64)
        # Counts from the top: entry i is the sum over the i highest bins.
        above = len(bins) - np.searchsorted(bins, highest, side="right")
        reached = len(bins) - np.searchsorted(bins, lowest, side="left")
        normal, lesion, weight = (_from_top(arrays[name]) for name in ("normal", "lesion", "weight"))
        rows["gaps"].append(np.append(normal[above], normal[-1]) - np.append(0, normal[reached]))
        rows["tied"].append(normal[reached] - normal[above])
        rows["lesions"].append(np.diff(lesion[reached], prepend=0))
        rows["weights"].append(np.diff(weight[reached], prepend=0) >> 10)
    return Cohort(**{name: np.stack(parts) for name, parts in rows.items()})


def _from_top(counts: np.ndarray) -> np.ndarray:
    return np.append(0, np.cumsum(counts[::-1]))
