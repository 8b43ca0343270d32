"""Smooth random fields on a voxel grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32

_RMS = (151 / 315) ** 1.5
"""Root mean square of a tensor cubic B-spline whose coefficients are independent with unit variance."""


def _expand(coefficients: np.ndarray, axis: int, positions: np.ndarray) -> np.ndarray:
    """Evaluate a uniform cubic B-spline along one axis."""
    index = np.floor(positions).astype(np.intp)
    t = (positions - index).astype(np.float32)
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    shape = [1, 1, 1]
    shape[axis] = -1
    # Four explicit terms rather than a matrix product: its summation order may change with the number of threads.
    total: np.ndarray = np.take(coefficients, index, axis=axis, mode="clip")
    total *= (weights[0] / 6).reshape(shape)
    term = np.empty_like(total)
    for k in (1, 2, 3):
        np.take(coefficients, index + k, axis=axis, out=term, mode="clip")
        term *= (weights[k] / 6).reshape(shape)
        total += term
    return total


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float], scale: float
) -> Float32[np.ndarray, "x y z"]:
    """Return a smooth field with mean 0 and about unit variance.

    Args:
        rng: Source of the field.
        shape: Shape of the grid.
        spacing: Voxel size in mm.
        scale: Knot spacing of the spline in mm; structures are about twice as large.
    """
    extent = [size * step / scale for size, step in zip(shape, spacing, strict=True)]
    offset = rng.random(3)
    coefficients = rng.standard_normal([int(np.ceil(length)) + 5 for length in extent], dtype=np.float32)
    field = coefficients / np.float32(_RMS)
    # The last axis, whose neighbours lie side by side in memory, while the field is small: it is the slowest to expand.
    for axis in (2, 1, 0):
        field = _expand(field, axis, offset[axis] + np.arange(shape[axis]) * spacing[axis] / scale)
    return field


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise from 0 at ``low`` to 1 at ``high`` without a kink."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
