"""One description of a ranking, and every threshold-free metric computed from it.

All metrics change only at the scores of lesion pixels. For each such score (or bin of scores) a `Curve` stores how many
normal pixels lie above it and how many reach it; equal scores are one step. The arrays may have leading axes, one curve
per resample, and every function here works along the last axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

FPR_LIMIT = 0.3
"""AUPRO integrates up to this false-positive rate (Bergmann et al., MVTec AD, IJCV 2021)."""

PLOT_POINTS = 500

_LEAST = 2.0**-800


@dataclass(frozen=True)
class Region:
    """The pixel metrics of a part of the field, by name.

    Attributes:
        auroc: Name of its AUROC.
        ap: Name of its average precision.
        f1: Name of its best F1.
        limits: False-positive rate up to which AUPRO is taken, by name of the metric.
    """

    auroc: str
    ap: str
    f1: str
    limits: tuple[tuple[str, float], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all metrics, in the order of the boards."""
        return (self.auroc, self.ap, self.f1, *(name for name, _ in self.limits))

    def curves(self, curve: Curve) -> dict[str, Float64[np.ndarray, "*batch"]]:
        """Return the metrics of one or several curves that have normal and lesion pixels."""
        found = {self.auroc: auroc(curve), self.ap: average_precision(curve), self.f1: f1_max(curve)}
        return found | {name: aupro(curve, limit) for name, limit in self.limits}

    def values(self, curve: Curve) -> dict[str, float]:
        """Return the metrics of one curve; NaN where lesion or normal pixels are missing."""
        if not (curve.normals > 0 and curve.lesions > 0):
            return dict.fromkeys(self.names, float("nan"))
        return {name: float(value) for name, value in self.curves(curve).items()}


FIELD = Region("pixel_auroc", "pixel_ap", "pixel_f1", (("aupro", FPR_LIMIT),))
"""The whole field of view."""

INSIDE = Region("brain_auroc", "brain_ap", "brain_f1", (("brain_aupro_05", 0.05), ("brain_aupro_30", 0.3)))
"""The pixels inside the brain."""


@dataclass(frozen=True)
class Curve:
    """Steps in order of falling score; counts may be integers or whole floats.

    Attributes:
        above: Normal items with a score above the step's.
        reached: Normal items with at least the step's score.
        found: Lesion items with at least the step's score.
        covered: Mean covered fraction of the components at the step, 0 to 1.
        normals: Number of normal items.
        lesions: Number of lesion items.
    """

    above: Int64[np.ndarray, "*batch k"]
    reached: Int64[np.ndarray, "*batch k"]
    found: Int64[np.ndarray, "*batch k"]
    covered: Float64[np.ndarray, "*batch k"]
    normals: Int64[np.ndarray, "*batch"]
    lesions: Int64[np.ndarray, "*batch"]


def auroc(curve: Curve) -> Float64[np.ndarray, "*batch"]:
    """Probability that a lesion item outranks a normal one, ties counting half."""
    outranked = 2 * curve.normals[..., None] - curve.above - curve.reached
    won = (_steps(curve.found) * outranked).sum(axis=-1)
    value: Float64[np.ndarray, "*batch"] = won / (2.0 * curve.normals * curve.lesions)
    return value


def average_precision(curve: Curve) -> Float64[np.ndarray, "*batch"]:
    """Step-wise average precision, as in scikit-learn: the sum of precision times gain in recall."""
    flagged = curve.found + curve.reached
    gained = _steps(curve.found) / curve.lesions[..., None]
    # A resample without the items of the first steps flags nothing there.
    precision = np.divide(curve.found, flagged, out=np.zeros(np.shape(flagged)), where=flagged > 0)
    value: Float64[np.ndarray, "*batch"] = _total(gained * precision)
    return value


def f1_max(curve: Curve) -> Float64[np.ndarray, "*batch"]:
    """Highest F1 over all thresholds; for pixels pooled over slices it equals the highest Dice."""
    f1: Float64[np.ndarray, "*batch k"] = 2.0 * curve.found / (curve.found + curve.reached + curve.lesions[..., None])
    best: Float64[np.ndarray, "*batch"] = f1.max(axis=-1)
    return best


def balanced(curve: Curve) -> Curve:
    """Return the curve with normal items weighted so that they count as much as the lesion items in total."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = (curve.lesions / curve.normals)[..., None]
    return replace(
        curve, above=curve.above * weight, reached=curve.reached * weight, normals=np.asarray(curve.lesions * 1.0)
    )


def image_values(curve: Curve) -> dict[str, Float64[np.ndarray, "*batch"]]:
    """Return the image metrics of one or several curves of slices, and AP and F1 at a prevalence of one half."""
    even = balanced(curve)
    return {
        "image_auroc": auroc(curve),
        "image_ap": average_precision(curve),
        "image_f1": f1_max(curve),
        "image_ap_balanced": average_precision(even),
        "image_f1_balanced": f1_max(even),
    }


def aupro(curve: Curve, limit: float = FPR_LIMIT) -> Float64[np.ndarray, "*batch"]:
    """Area under mean component coverage against FPR, to exactly ``limit`` (interpolated), divided by it.

    FPR counts the defect-free pixels of all slices. Source: evaluation script of MVTec AD, at every threshold.
    """
    end = limit * curve.normals[..., None]
    if curve.above.ndim == 1:
        # Steps from the second on at or beyond the limit add exactly zero.
        kept = slice(int(np.searchsorted(curve.above, end[0])) + 1)
        curve = replace(curve, above=curve.above[kept], reached=curve.reached[kept], covered=curve.covered[kept])
    before = _shifted(curve.covered)
    left, right = np.minimum(curve.above, end), np.minimum(curve.reached, end)
    level = (left - np.minimum(_shifted(curve.reached), end)) * before
    width = np.maximum(curve.reached - curve.above, 1)
    height = before + (curve.covered - before) * ((right - left) / width)
    slope = (right - left) * (before + height) / 2
    rest = (end - right[..., -1:])[..., 0] * curve.covered[..., -1]
    area: Float64[np.ndarray, "*batch"] = _total(level + slope) + rest
    return area / end[..., 0]


def ranks_among(normals: list[np.ndarray], keys: np.ndarray) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Count the normal items below each lesion score, and those not above it.

    Args:
        normals: Chunks of ordered keys of the normal items, each ascending.
        keys: Distinct keys of the lesion items, ascending.
    """
    below, up_to = np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.int64)
    for chunk in normals:
        below += np.searchsorted(chunk, keys, side="left")
        up_to += np.searchsorted(chunk, keys, side="right")
    return below, up_to


def from_sorted(normals: np.ndarray, keys: np.ndarray, counts: Int64[np.ndarray, " k"]) -> Curve:
    """Build the curve of items that are their own components, such as slices.

    Args:
        normals: Ordered keys of the normal items, ascending.
        keys: Distinct keys of the lesion items, ascending.
        counts: Lesion items at each key.
    """
    below, up_to = ranks_among([normals], keys)
    found = np.cumsum(counts[::-1])
    return Curve(
        above=(len(normals) - up_to)[::-1],
        reached=(len(normals) - below)[::-1],
        found=found,
        covered=found / found[-1],
        normals=np.asarray(len(normals)),
        lesions=np.asarray(int(counts.sum())),
    )


def plot_points(curve: Curve) -> dict[str, Float64[np.ndarray, "p 2"]]:
    """Return ``roc`` (FPR, TPR), ``pr`` (recall, precision) and ``pro`` (FPR, coverage), at most 500 points each.

    Empty where the curve is undefined.
    """
    if not (curve.normals > 0 and curve.lesions > 0):
        return {name: np.empty((0, 2)) for name in ("roc", "pr", "pro")}
    fpr = _corners(curve.above, curve.reached, curve.normals) / curve.normals
    recall = curve.found / curve.lesions
    precision = curve.found / (curve.found + curve.reached)
    tpr = _corners(_shifted(curve.found), curve.found, curve.lesions) / curve.lesions
    pro = _corners(_shifted(curve.covered), curve.covered, np.asarray(1.0))
    return {
        "roc": _thin(np.stack([fpr, tpr], axis=1)),
        "pr": _thin(np.stack([recall, precision], axis=1)),
        "pro": _thin(np.stack([fpr, pro], axis=1)),
    }


def _corners(before: np.ndarray, after: np.ndarray, end: np.ndarray) -> np.ndarray:
    inner = np.stack([before, after], axis=1).ravel()
    return np.concatenate([[0], inner, [end]])


def _thin(points: Float64[np.ndarray, "q 2"]) -> Float64[np.ndarray, "p 2"]:
    """Keep points evenly spaced along the curve, including both ends."""
    length = np.append(0.0, np.abs(np.diff(points, axis=0)).sum(axis=1).cumsum())
    wanted = np.linspace(0.0, length[-1], PLOT_POINTS)
    kept = np.unique(np.searchsorted(length, wanted).clip(max=len(points) - 1))
    kept[-1] = len(points) - 1
    thinned: Float64[np.ndarray, "p 2"] = points[kept]
    return thinned


def _total(terms: Float64[np.ndarray, "*batch k"]) -> Float64[np.ndarray, "*batch"]:
    """Sum along the last axis; a single curve's sum is rounded once, so that it is the same on every processor."""
    return np.asarray(exact_sum(terms) if terms.ndim == 1 else terms.sum(axis=-1))


def exact_sum(terms: Float64[np.ndarray, " k"]) -> float:
    """Return the sum of terms, rounded once, as `math.fsum` does but faster for many terms.

    The leading bits of all terms are multiples of one power of two that add up without rounding, in any order; then
    those of what is left of the terms. Source: Rump, Ogita and Oishi, Accurate floating-point summation, part I, SIAM
    J. Sci. Comput. 2008, algorithm 3.2 (ExtractVector).
    """
    sums: list[float] = []
    rest = terms
    room = 2.0 ** (len(terms) + 2).bit_length()
    while len(rest) and (top := float(np.abs(rest).max())) != 0:
        if not _LEAST <= top <= 1 / _LEAST:  # infinite or NaN too: what is extracted might not be exact
            return math.fsum([*sums, *rest.tolist()])
        unit = room * 2.0 ** math.frexp(top)[1]
        leading = (unit + rest) - unit
        sums.append(float(leading.sum()))
        rest = rest - leading
    return math.fsum(sums)


def _shifted(values: np.ndarray) -> np.ndarray:
    """Values before each step: zero, then all but the last."""
    return np.concatenate([np.zeros_like(values[..., :1]), values[..., :-1]], axis=-1)


def _steps(values: np.ndarray) -> np.ndarray:
    return np.diff(values, axis=-1, prepend=0)
