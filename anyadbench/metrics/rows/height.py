"""Slice scores normalised by height in the head and by brain area, for every method alike.

A slice score that follows the height in the head, or the size of the brain's cross-section, ranks slices by anatomy.
Both are regressed out, by a model that has seen training normals only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64

LEAST_SLICES = 20
"""Training normals below which there is no fit: four coefficients, and five slices for each."""

_TINY = 1e-12


@dataclass(frozen=True)
class HeightFit:
    """Least squares of ``score = a + b h + c h^2 + d area`` over training normals.

    Attributes:
        coefficients: a, b, c and d; h is the relative height and the area is in cm^2.
        spread: Standard deviation of the residuals; 1 if all are 0.
        slices: Training normals that it was fitted on.
        low: Lowest relative height among them.
        high: Highest one; heights beyond the two are taken as the nearer one.
    """

    coefficients: tuple[float, float, float, float]
    spread: float
    slices: int
    low: float
    high: float

    def normalised(
        self, scores: Float64[np.ndarray, " n"], heights: Float64[np.ndarray, " n"], areas: Float64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        """Return how many standard deviations each score lies above that of normal slices of its height and area."""
        expected = _columns(np.clip(heights, self.low, self.high), areas) @ np.array(self.coefficients)
        return np.asarray((scores - expected) / self.spread)

    def to_dict(self) -> dict[str, float | int | list[float]]:
        """Return it as plain values."""
        return {**vars(self), "coefficients": list(self.coefficients)}


def fit_height(
    scores: Float64[np.ndarray, " n"], heights: Float64[np.ndarray, " n"], areas: Float64[np.ndarray, " n"]
) -> HeightFit | None:
    """Fit scores of training normals; ``None`` for fewer than `LEAST_SLICES`.

    Height and area are centred and scaled for the solution. Where they determine each other, the solution of least
    norm is taken, so the coefficients stay small.

    Args:
        scores: Finite slice scores of one method, shown one subset.
        heights: Relative heights, 0 at the first and 1 at the last slice with brain.
        areas: Brain areas in cm^2.
    """
    if len(scores) < LEAST_SLICES:
        return None
    columns = _columns(heights, areas)
    centre, scale = columns[:, 1:].mean(axis=0), columns[:, 1:].std(axis=0)
    scale = np.where(scale > _TINY, scale, 1.0)
    whitened = (columns[:, 1:] - centre) / scale
    middle = float(scores.mean())
    slopes = np.linalg.lstsq(whitened, scores - middle, rcond=1e-6)[0] / scale
    coefficients = (middle - float(slopes @ centre), *slopes.tolist())
    residuals = scores - columns @ np.array(coefficients)
    spread = float(np.sqrt((residuals**2).mean()))
    known = spread > _TINY * max(1.0, float(np.abs(scores).max()))
    return HeightFit(coefficients, spread if known else 1.0, len(scores), float(heights.min()), float(heights.max()))


def _columns(heights: Float64[np.ndarray, " n"], areas: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4"]:
    return np.stack([np.ones(len(heights)), heights, heights**2, areas], axis=1)
