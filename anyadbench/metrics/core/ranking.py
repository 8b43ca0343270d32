"""The ranking of a row's pixels as integers that can be stored, and every pixel metric as a function of them.

A metric changes only at the scores of lesion pixels. Between two such scores, the number of normal pixels matters but
not their scores: the exact metrics depend on `Steps` alone, which takes two to three bytes per lesion pixel once
compressed and does not change under any monotone change of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.curves import FIELD, Curve, Region, aupro, plot_points

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

STREAM_UNIT = 1 << 40
"""Weight of one component in a streaming state; each of its A pixels carries this / A, rounded."""

_UNIT_BITS = 62
_LIMB_BITS = 31
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Steps:
    """Steps in order of falling score: one for each score, or bin of scores, of lesion pixels.

    Attributes:
        gaps: Normal pixels above the first step, between neighbouring steps, and below the last.
        tied: Normal pixels at each step.
        lesions: Lesion pixels at each step, at least one.
        areas: Component area of each lesion pixel, in the order of the steps; empty for a streaming state.
        weights: Sum of component weights at each step of a streaming state; empty for an exact one.
        components: Number of lesion components.
        region: The part of the field whose pixels are ranked.
    """

    gaps: Int64[np.ndarray, " k+1"]
    tied: Int64[np.ndarray, " k"]
    lesions: Int64[np.ndarray, " k"]
    areas: Int64[np.ndarray, " p"]
    weights: Int64[np.ndarray, " w"]
    components: int
    region: Region = field(default=FIELD, kw_only=True)

    @property
    def exact(self) -> bool:
        """Whether scores were compared exactly, not by bins."""
        return len(self.weights) == 0

    @property
    def normal_pixels(self) -> int:
        """Number of normal pixels."""
        return int(self.gaps.sum() + self.tied.sum())

    @property
    def lesion_pixels(self) -> int:
        """Number of lesion pixels."""
        return int(self.lesions.sum())

    def check(self) -> None:
        """Check that a ranking can have these integers.

        Raises:
            UserError: If none can.
        """
        lengths = len(self.gaps) == len(self.tied) + 1 == len(self.lesions) + 1
        weighed = len(self.areas) == self.lesions.sum() if self.exact else len(self.weights) == len(self.lesions)
        parts = (self.gaps, self.tied, self.lesions - 1, self.areas - 1, self.weights - 1)
        if not (lengths and weighed) or any((part < 0).any() for part in parts):
            raise UserError("Pixel statistics hold impossible steps or counts; run the cell again.")

    def curve(self) -> Curve:
        """Return the ranking in the form from which metrics are computed."""
        above = np.cumsum(self.gaps[:-1]) + np.cumsum(self.tied) - self.tied
        return Curve(
            above=above,
            reached=above + self.tied,
            found=np.cumsum(self.lesions),
            covered=self._covered(),
            normals=np.asarray(self.normal_pixels),
            lesions=np.asarray(self.lesion_pixels),
        )

    def _covered(self) -> Float64[np.ndarray, " k"]:
        if len(self.lesions) == 0:
            return np.empty(0)
        if not self.exact:
            weight = np.cumsum(self.weights)
            return np.asarray(weight / weight[-1])
        starts = np.cumsum(self.lesions) - self.lesions
        weight = ((1 << _UNIT_BITS) + self.areas // 2) // self.areas
        # One component sums to 2^62, so sums over components are split into two halves that cannot overflow.
        high = np.cumsum(np.add.reduceat(weight >> _LIMB_BITS, starts))
        low = np.cumsum(np.add.reduceat(weight & ((1 << _LIMB_BITS) - 1), starts))
        covered = high + low * 2.0**-_LIMB_BITS
        return np.asarray(covered / covered[-1])

    def compute(self) -> dict[str, float]:
        """Return the metrics of the region: for the field, those of `PixelStats.compute`."""
        return self.region.values(self.curve())

    def curves(self) -> dict[str, Float64[np.ndarray, "p 2"]]:
        """Return at most 500 points of each of the ``roc``, ``pr`` and ``pro`` curves, for plots."""
        return plot_points(self.curve())

    def error_bound(self) -> dict[str, float]:
        """Return, for each metric, the largest possible error of a streaming state's value.

        The bound is rigorous and comes from the counts: within each bin, normal and lesion pixels may have had any
        order. NaN where the metric is undefined.
        """
        return _bounds(self.curve(), self.components, self.region)


def curve_points(steps: Steps) -> dict[str, list[list[float]]]:
    """Return the curves of `Steps.curves` as stored for plots: five decimals, without undefined ones."""
    found = steps.curves()
    return {name: np.round(points, 5).tolist() for name, points in found.items() if np.isfinite(points).all()}


def _bounds(curve: Curve, components: int, region: Region) -> dict[str, float]:
    value = region.values(curve)
    if not (curve.normals > 0 and curve.lesions > 0):
        return value
    found: Int64[np.ndarray, " k"] = curve.found
    lesions, inside = np.diff(found, prepend=0), curve.reached - curve.above
    # Within every bin, lesions first is the best case and normals first the worst.
    best_ap = float((lesions * (found / (found + curve.above))).sum() / curve.lesions)
    best_f1 = float((2 * found / (found + curve.above + curve.lesions)).max())
    first = Curve(curve.above, curve.above, found, curve.covered, curve.normals, curve.lesions)
    last = Curve(curve.reached, curve.reached, found, curve.covered, curve.normals, curve.lesions)
    weights = float(curve.lesions) / (max(components, 1) * STREAM_UNIT)
    bounds = {
        region.auroc: float((lesions * inside).sum()) / (2.0 * float(curve.normals) * float(curve.lesions)),
        region.ap: max(best_ap - value[region.ap], value[region.ap] - _worst_ap(curve, lesions)),
        region.f1: best_f1 - value[region.f1],
    }
    for name, limit in region.limits:
        apart = max(float(aupro(first, limit)) - value[name], value[name] - float(aupro(last, limit)))
        bounds[name] = apart + weights
    return {name: max(bound, 0.0) + _ROUNDING for name, bound in bounds.items()}


def _worst_ap(curve: Curve, lesions: Int64[np.ndarray, " k"]) -> float:
    """Return a lower bound of AP, with all normals of a bin before its lesions.

    The i-th lesion of a bin then has precision 1 - c / (b + i), with c normals reached and b items before it; the sum
    of 1 / (b + i) over i = 1..p is at most log(1 + p / b) and at most p / (b + 1).
    """
    normals = curve.reached.astype(np.float64)
    ahead = curve.found - lesions + normals
    harmonic = np.minimum(np.log1p(lesions / np.maximum(ahead, 1)), lesions / (ahead + 1))
    return float((lesions - normals * harmonic).sum() / curve.lesions)
