"""Intervals and paired tests of maps that were scored by subject, for programs that have no cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import as_labels
from anyadbench.metrics.core.cohort import binned_cohort
from anyadbench.metrics.core.image import image_metrics
from anyadbench.metrics.core.streaming import PixelState
from anyadbench.metrics.intervals.interval import Interval, intervals
from anyadbench.metrics.intervals.jackknife import Replicates, jackknife_values, one_seed
from anyadbench.metrics.intervals.paired import Paired, paired
from anyadbench.metrics.intervals.resample import ImageData, joined
from anyadbench.metrics.names import BALANCED, METRICS

if TYPE_CHECKING:
    from anyadbench.metrics.core.cohort import Cohort

Scored = tuple[Sequence[PixelState], ImageData]


def subject_intervals(
    pixel_states: Sequence[PixelState], image: ImageData, *, points: Mapping[str, float] | None = None
) -> dict[str, Interval]:
    """Return the 95 % interval of every metric over subjects, or why there is none.

    Args:
        pixel_states: One state per subject. States of 20 bits take the least memory and lose nothing, because no finer
            bins are used.
        image: For the same subjects, image scores and labels of their slices.
        points: Values of the sample itself, if they are known more exactly than from the states.

    Raises:
        UserError: If the two lists differ in length or states in bits.
    """
    return intervals(_replicates(pixel_states, image, points))


def paired_tests(first: Scored, second: Scored) -> dict[str, Paired]:
    """Compare two methods on the same subjects, in the same order; return the test of each metric.

    Args:
        first: Pixel states and image scores with labels of one method (as for `subject_intervals`).
        second: Those of the other.

    Raises:
        UserError: If the methods were not scored on the same slices.
    """
    for number, ((_, a), (_, b)) in enumerate(zip(first[1], second[1], strict=False)):
        if not np.array_equal(as_labels(a), as_labels(b)):
            raise UserError(f"Subject {number} has different slices in the two methods; use one test set.")
    if len(first[0]) != len(second[0]):
        raise UserError(f"One method has {len(first[0])} subjects, the other {len(second[0])}; use one test set.")
    ours, theirs = _replicates(*first), _replicates(*second)
    return {name: paired(ours, theirs, name) for name in ours.metrics}


def _replicates(
    states: Sequence[PixelState], image: ImageData, points: Mapping[str, float] | None = None
) -> Replicates:
    if len(states) != len(image):
        raise UserError(f"There are {len(states)} pixel states but image scores of {len(image)} subjects; give both.")
    if not states:
        raise UserError("An interval needs at least one subject.")
    pooled = PixelState(states[0].bits)
    for state in states:
        pooled.merge(state)
    scores, labels, _ = joined(image)
    known = pooled.compute() | image_metrics(scores, labels) | dict(points or {})
    cohort: Cohort = binned_cohort(states)
    names = [f"{number:06d}" for number in range(len(states))]
    return one_seed(names, *jackknife_values(cohort, image, known)).only((*METRICS, *BALANCED))
