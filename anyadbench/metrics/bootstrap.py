"""Subject-level bootstrap from per-subject statistics.

Slices of one subject are not independent, so whole subjects are drawn. A resample is a vector of how often each subject
was drawn, and its pooled counts are a matrix product; no map is needed again. The pixel bins are made coarser until few
enough are occupied, and the intervals are moved by the difference that makes to the point value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics import METRICS, curves
from anyadbench.metrics.curves import Curve
from anyadbench.metrics.image import image_metrics
from anyadbench.metrics.inputs import as_labels, as_scores
from anyadbench.metrics.keys import float64_keys
from anyadbench.metrics.streaming import PixelState

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    ImageData = Sequence[tuple[Any, Any]]

LEVEL = 0.95
MIN_SUBJECTS = 5
"""With fewer subjects there is no interval: all ends are NaN."""

FINEST_BITS = 20
_COARSEST_BITS = 12
_MOST_STEPS = 1 << 14
_BLOCK = 64


@dataclass(frozen=True)
class PairedEffect:
    """Difference of one metric between two methods on the same subjects.

    Attributes:
        effect: First minus second.
        low: Lower end of the 95 % percentile interval.
        high: Upper end.
        p_value: Two-sided: twice the smaller share of resamples on one side of 0, counting the sample itself.
    """

    effect: float
    low: float
    high: float
    p_value: float


def subject_bootstrap(
    pixel_states: Sequence[PixelState],
    image: ImageData,
    n_resamples: int = 1000,
    seed: int = 0,
    *,
    points: Mapping[str, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile interval of every metric over resampled subjects.

    Args:
        pixel_states: One state per subject. States of 20 bits take the least memory and lose nothing, because no finer
            bins are used.
        image: For the same subjects, image scores and labels of their slices.
        n_resamples: Number of resamples; those in which a metric is undefined do not count for it.
        seed: Of the draws. Equal seeds and numbers of subjects draw the same subjects.
        points: Values of the sample that the intervals belong to, if they are known more exactly than from the states.

    Returns:
        Low and high end by name; NaN for fewer than 5 subjects, or if under half of the resamples are defined.

    Raises:
        UserError: If the two lists differ in length or states in bits.
    """
    values, own = _resampled(pixel_states, image, n_resamples, seed)
    known = own | dict(points or {})
    return {name: _interval(values[name] + _shift(values[name], known[name])) for name in METRICS}


def paired_bootstrap(
    first: tuple[Sequence[PixelState], ImageData],
    second: tuple[Sequence[PixelState], ImageData],
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, PairedEffect]:
    """Compare two methods on the same subjects, in the same order.

    Args:
        first: Pixel states and image scores with labels of one method (as for `subject_bootstrap`).
        second: Those of the other.
        n_resamples: Number of resamples.
        seed: Of the draws.

    Returns:
        The effect by metric; NaN ends and p-value for fewer than 5 subjects.

    Raises:
        UserError: If the methods were not scored on the same slices.
    """
    for number, ((_, a), (_, b)) in enumerate(zip(first[1], second[1], strict=False)):
        if not np.array_equal(as_labels(a), as_labels(b)):
            raise UserError(f"Subject {number} has other slices in one method than in the other; compare equal tests.")
    if len(first[0]) != len(second[0]):
        raise UserError(f"One method has {len(first[0])} subjects, the other {len(second[0])}; compare equal tests.")
    ours, our_points = _resampled(*first, n_resamples, seed)
    theirs, their_points = _resampled(*second, n_resamples, seed)
    result = {}
    for name in METRICS:
        effect = our_points[name] - their_points[name]
        differences = ours[name] - theirs[name]
        differences = differences + _shift(differences, effect)
        low, high = _interval(differences)
        p_value = float("nan") if np.isnan(low) else _two_sided(differences[1:])
        result[name] = PairedEffect(effect, low, high, p_value)
    return result


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted for their number by Holm's step-down method (Scand. J. Stat. 1979); NaN stays NaN."""
    known = sorted((value, name) for name, value in p_values.items() if not np.isnan(value))
    adjusted, worst = dict(p_values), 0.0
    for rank, (value, name) in enumerate(known):
        worst = max(worst, min(1.0, value * (len(known) - rank)))
        adjusted[name] = worst
    return adjusted


Values = dict[str, "Float64[np.ndarray, ' resamples']"]


def _resampled(
    states: Sequence[PixelState], image: ImageData, n_resamples: int, seed: int
) -> tuple[Values, dict[str, float]]:
    """Return values of the sample itself (entry 0) and of each resample, and the values at full resolution."""
    if len(states) != len(image):
        raise UserError(f"There are {len(states)} pixel states but image scores of {len(image)} subjects; give both.")
    if not states or n_resamples < 1:
        raise UserError("A bootstrap needs at least one subject and one resample.")
    pooled = PixelState(states[0].bits)
    for state in states:
        pooled.merge(state)
    scores, labels, subjects = _joined(image)
    points = pooled.compute() | image_metrics(scores, labels)
    if len(states) < MIN_SUBJECTS:
        return {name: np.full(n_resamples + 1, np.nan) for name in METRICS}, points
    draws = _draws(len(states), n_resamples, seed)
    values: Values = {name: np.empty(n_resamples + 1) for name in METRICS}
    pixel, slices = _PixelCounts(pooled, states), _SliceCounts(scores, labels, subjects, len(states))
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, len(draws), _BLOCK):
            block = slice(start, start + _BLOCK)
            for name, found in (pixel.values(draws[block]) | slices.values(draws[block])).items():
                values[name][block] = found
    return values, points


def _draws(subjects: int, n_resamples: int, seed: int) -> Float64[np.ndarray, "r s"]:
    """Return how often each subject is drawn; the first row is the sample itself."""
    picks = np.random.default_rng(seed).integers(0, subjects, size=(n_resamples, subjects))
    rows = np.repeat(np.arange(n_resamples), subjects)
    counts = np.zeros((n_resamples + 1, subjects))
    counts[0] = 1.0
    np.add.at(counts[1:], (rows, picks.ravel()), 1.0)
    return counts


class _PixelCounts:
    """Per-subject counts at the steps of the pooled ranking."""

    def __init__(self, pooled: PixelState, states: Sequence[PixelState]) -> None:
        bits = min(FINEST_BITS, pooled.bits)
        steps = _lesion_bins(pooled, bits)
        while len(steps) > _MOST_STEPS and bits > _COARSEST_BITS:
            bits -= 1
            steps = _lesion_bins(pooled, bits)
        shape = (len(states), len(steps))
        self._above, self._reached = np.zeros(shape), np.zeros(shape)
        self._found, self._covered = np.zeros(shape), np.zeros(shape)
        self._normals = np.zeros(len(states))
        for row, state in enumerate(states):
            arrays = state.coarsened(bits).to_arrays()
            bins = arrays["bins"].astype(np.int64)
            # Counts from the top: entry i of `total` is the sum of the last i bins.
            place_above = len(bins) - np.searchsorted(bins, steps, side="right")
            place_reached = len(bins) - np.searchsorted(bins, steps, side="left")
            normal, lesion, weight = (_from_top(arrays[name]) for name in ("normal", "lesion", "weight"))
            self._above[row], self._reached[row] = normal[place_above], normal[place_reached]
            self._found[row], self._covered[row] = lesion[place_reached], weight[place_reached]
            self._normals[row] = normal[-1]

    def values(self, draws: Float64[np.ndarray, "r s"]) -> Values:
        if self._found.shape[1] == 0:
            return {name: np.full(len(draws), np.nan) for name in METRICS if not name.startswith("image_")}
        covered = draws @ self._covered
        curve = Curve(
            above=draws @ self._above,
            reached=draws @ self._reached,
            found=draws @ self._found,
            covered=covered / covered[:, -1:],
            normals=draws @ self._normals,
            lesions=draws @ self._found[:, -1],
        )
        best = _defined(curves.f1_max(curve), curve)
        return {
            "pixel_auroc": _defined(curves.auroc(curve), curve),
            "pixel_ap": _defined(curves.average_precision(curve), curve),
            "pixel_f1": best,
            "aupro": _defined(curves.aupro(curve), curve),
            "dice": best,
        }


class _SliceCounts:
    """Per-subject counts of slices at the steps of the ranking of slices."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray, subjects: np.ndarray, count: int) -> None:
        keys = float64_keys(scores)
        self._steps = np.unique(keys[labels])[::-1]
        shape = (count, len(self._steps))
        self._above, self._reached, self._found = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._normals = np.bincount(subjects[~labels], minlength=shape[0]).astype(np.float64)
        for row in range(shape[0]):
            mine = subjects == row
            normal, lesion = np.sort(keys[mine & ~labels]), np.sort(keys[mine & labels])
            self._above[row] = len(normal) - np.searchsorted(normal, self._steps, side="right")
            self._reached[row] = len(normal) - np.searchsorted(normal, self._steps, side="left")
            self._found[row] = len(lesion) - np.searchsorted(lesion, self._steps, side="left")

    def values(self, draws: Float64[np.ndarray, "r s"]) -> Values:
        if len(self._steps) == 0:
            return {name: np.full(len(draws), np.nan) for name in ("image_auroc", "image_ap", "image_f1")}
        found = draws @ self._found
        curve = Curve(
            above=draws @ self._above,
            reached=draws @ self._reached,
            found=found,
            covered=found / found[:, -1:],
            normals=draws @ self._normals,
            lesions=found[:, -1],
        )
        return {
            "image_auroc": _defined(curves.auroc(curve), curve),
            "image_ap": _defined(curves.average_precision(curve), curve),
            "image_f1": _defined(curves.f1_max(curve), curve),
        }


def _joined(image: ImageData) -> tuple[Float64[np.ndarray, " n"], np.ndarray, Int64[np.ndarray, " n"]]:
    labels = [as_labels(label) for _, label in image]
    scores = [as_scores(score, len(label)) for (score, _), label in zip(image, labels, strict=True)]
    subjects = np.repeat(np.arange(len(labels)), [len(label) for label in labels])
    return np.concatenate(scores), np.concatenate(labels), subjects


def _lesion_bins(pooled: PixelState, bits: int) -> Int64[np.ndarray, " k"]:
    """Return the bins with lesion pixels, highest first: the only scores at which a curve bends."""
    arrays = pooled.coarsened(bits).to_arrays()
    return arrays["bins"][arrays["lesion"] > 0].astype(np.int64)[::-1]


def _from_top(counts: np.ndarray) -> np.ndarray:
    return np.append(0, np.cumsum(counts[::-1]))


def _defined(values: np.ndarray, curve: Curve) -> np.ndarray:
    return np.where((curve.normals > 0) & (curve.lesions > 0), values, np.nan)


def _shift(values: np.ndarray, point: float) -> float:
    """Return what moves the value of the sample itself, entry 0, to its value at full resolution."""
    return 0.0 if np.isnan(values[0]) or np.isnan(point) else point - float(values[0])


def _interval(values: np.ndarray) -> tuple[float, float]:
    defined = values[1:][~np.isnan(values[1:])]
    if 2 * len(defined) < len(values) - 1:
        return float("nan"), float("nan")
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def _two_sided(differences: np.ndarray) -> float:
    values = differences[~np.isnan(differences)]
    side = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2.0 * (side + 1) / (len(values) + 1))
