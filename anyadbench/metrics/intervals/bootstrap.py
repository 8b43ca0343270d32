"""Subject-level bootstrap: intervals, paired comparison, several seeds, and correction for many tests.

Slices of one subject are not independent, so whole subjects are drawn. A resample is a vector of how often each subject
was drawn, and its pooled counts are a matrix product; no map is needed again. Grouping steps changes the value of the
sample itself slightly; all its resamples are shifted by that difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import as_labels
from anyadbench.metrics.core.cohort import Cohort, binned_cohort
from anyadbench.metrics.core.image import image_metrics
from anyadbench.metrics.core.streaming import PixelState
from anyadbench.metrics.intervals.resample import ImageData, Values, draw_subjects, joined, resample
from anyadbench.metrics.names import METRICS

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

LEVEL = 0.95
MIN_SUBJECTS = 5
"""With fewer subjects there is no interval: both ends are NaN."""

RESAMPLES = 1000


@dataclass(frozen=True)
class PairedEffect:
    """Difference of one metric between two methods on the same subjects.

    Attributes:
        effect: First minus second.
        low: Lower end of the 95 % percentile interval.
        high: Upper end.
        p_value: Two-sided: twice the smaller share of resamples on one side of 0, the sample itself included.
    """

    effect: float
    low: float
    high: float
    p_value: float


def replicates(
    cohort: Cohort, images: ImageData, draws: Float64[np.ndarray, "r+1 s"], points: Mapping[str, float]
) -> Values:
    """Return every metric in each resample, shifted so that the sample itself has its known value.

    Args:
        cohort: Pixel counts by subject.
        images: For the same subjects, image scores and labels of their slices.
        draws: From `anyadbench.metrics.intervals.resample.draw_subjects`, or its columns for these subjects.
        points: Values of the sample itself.

    Returns:
        One value per resample by name; all NaN for fewer than 5 subjects.
    """
    if len(cohort) < MIN_SUBJECTS:
        return {name: np.full(len(draws) - 1, np.nan) for name in METRICS}
    values = resample(cohort, images, draws)
    moved = {name: found[1:] + _shift(found[0], points[name]) for name, found in values.items()}
    return {name: np.clip(found, 0.0, 1.0) for name, found in moved.items()}


def subject_bootstrap(
    pixel_states: Sequence[PixelState],
    image: ImageData,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    points: Mapping[str, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile interval of every metric over resampled subjects.

    Args:
        pixel_states: One state per subject. States of 20 bits take the least memory and lose nothing, because no finer
            bins are used.
        image: For the same subjects, image scores and labels of their slices.
        n_resamples: Number of resamples; a metric ignores those in which it is undefined.
        seed: Seed of the draws. Equal seeds and numbers of subjects draw the same subjects.
        points: Values of the sample itself, if they are known more exactly than from the states.

    Returns:
        Low and high end by name; NaN for fewer than 5 subjects, or if less than half of the resamples are defined.

    Raises:
        UserError: If the two lists differ in length or states in bits.
    """
    values, _ = _resampled(pixel_states, image, n_resamples, seed, points)
    return {name: interval(found) for name, found in values.items()}


def paired_bootstrap(
    first: tuple[Sequence[PixelState], ImageData],
    second: tuple[Sequence[PixelState], ImageData],
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedEffect]:
    """Compare two methods on the same subjects, in the same order.

    Args:
        first: Pixel states and image scores with labels of one method (as for `subject_bootstrap`).
        second: Those of the other.
        n_resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        The effect by metric; NaN ends and p-value for fewer than 5 subjects.

    Raises:
        UserError: If the methods were not scored on the same slices.
    """
    for number, ((_, a), (_, b)) in enumerate(zip(first[1], second[1], strict=False)):
        if not np.array_equal(as_labels(a), as_labels(b)):
            raise UserError(f"Subject {number} has different slices in the two methods; use one test set.")
    if len(first[0]) != len(second[0]):
        raise UserError(f"One method has {len(first[0])} subjects, the other {len(second[0])}; use one test set.")
    ours, our_points = _resampled(*first, n_resamples, seed)
    theirs, their_points = _resampled(*second, n_resamples, seed)
    return {name: paired_effect(our_points[name], their_points[name], ours[name], theirs[name]) for name in METRICS}


def paired_effect(
    ours: float, theirs: float, our_values: Float[np.ndarray, " r"], their_values: Float[np.ndarray, " r"]
) -> PairedEffect:
    """Return the effect from two values and their resamples; equal indices drew the same subjects."""
    differences = our_values.astype(np.float64) - their_values.astype(np.float64)
    low, high = interval(differences)
    p_value = float("nan") if np.isnan(low) else _two_sided(differences)
    return PairedEffect(ours - theirs, low, high, p_value)


def over_seeds(values: Float[np.ndarray, "seeds *more r"], seed: int = 0) -> Float64[np.ndarray, "*more r"]:
    """Return resamples of the mean over run seeds; seeds are drawn as well as subjects (nested bootstrap).

    Args:
        values: Resamples of each seed along the last axis; equal indices drew the same subjects.
        seed: Seed of the draws of run seeds.
    """
    count = len(values)
    if count == 1:
        return np.asarray(values[0], dtype=np.float64)
    weights = _seed_weights(count, values.shape[-1], seed)
    if not np.isnan(values).any():
        return np.asarray(np.einsum("s...r,sr->...r", values, weights))
    # A seed that was not drawn must not make the mean undefined.
    spread = weights.reshape(count, *([1] * (values.ndim - 2)), -1)
    return np.asarray(np.where(spread > 0, values * spread, 0.0).sum(axis=0), dtype=np.float64)


@lru_cache(maxsize=16)
def _seed_weights(count: int, n_resamples: int, seed: int) -> Float64[np.ndarray, "seeds r"]:
    picks = np.random.default_rng([seed, count]).integers(0, count, size=(n_resamples, count))
    weights = np.zeros((count, n_resamples))
    np.add.at(weights, (picks, np.arange(n_resamples)[:, None]), 1.0 / count)
    return weights


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted by Holm's step-down method (Scand. J. Stat. 1979); NaN stays NaN."""
    known = sorted((value, name) for name, value in p_values.items() if not np.isnan(value))
    adjusted, worst = dict(p_values), 0.0
    for rank, (value, name) in enumerate(known):
        worst = max(worst, min(1.0, value * (len(known) - rank)))
        adjusted[name] = worst
    return adjusted


def interval(values: Float[np.ndarray, " r"]) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled values; NaN if less than half of them are defined."""
    defined = values[~np.isnan(values)].astype(np.float64)
    if 2 * len(defined) < len(values) or not len(defined):
        return float("nan"), float("nan")
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def _resampled(
    states: Sequence[PixelState],
    image: ImageData,
    n_resamples: int,
    seed: int,
    points: Mapping[str, float] | None = None,
) -> tuple[Values, dict[str, float]]:
    """Return the values of each resample, and of the sample itself."""
    if len(states) != len(image):
        raise UserError(f"There are {len(states)} pixel states but image scores of {len(image)} subjects; give both.")
    if not states or n_resamples < 1:
        raise UserError("A bootstrap needs at least one subject and one resample.")
    pooled = PixelState(states[0].bits)
    for state in states:
        pooled.merge(state)
    scores, labels, _ = joined(image)
    known = pooled.compute() | image_metrics(scores, labels) | dict(points or {})
    draws = draw_subjects(len(states), n_resamples, seed)
    return replicates(binned_cohort(states), image, draws, known), known


def _shift(value: float, point: float) -> float:
    """Return the shift from the sample's own value to its value at full resolution."""
    return 0.0 if np.isnan(value) or np.isnan(point) else point - float(value)


def _two_sided(differences: np.ndarray) -> float:
    values = differences[~np.isnan(differences)]
    side = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2.0 * (side + 1) / (len(values) + 1))
