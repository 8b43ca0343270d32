"""Linear interpolation of several maps at the same points."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32

_BELOW_END = 1e-3
"""How far below the last voxel a point outside is placed, so that it has a voxel on either side."""


def interpolated(
    maps: Float32[np.ndarray, "x y z m"], points: Float32[np.ndarray, "3 n"]
) -> Float32[np.ndarray, "m n"]:
    """Return each map at the points, linearly interpolated.

    All maps share the eight weights of a point, so that many maps cost little more than one.

    Args:
        maps: Maps on one grid, at least two voxels along each axis.
        points: Positions in voxels; one outside the grid is moved to its border.
    """
    from scipy import sparse

    first = np.zeros(points.shape[1], dtype=np.int32)
    sides = []
    for line, size in zip(points, maps.shape, strict=False):
        place = np.clip(line, np.float32(0), np.float32(size - 1 - _BELOW_END))
        low = place.astype(np.int32)
        upper = place - low
        sides.append((1 - upper, upper))
        first = first * np.int32(size) + low
    strides = (maps.shape[1] * maps.shape[2], maps.shape[2], 1)
    indices, weights = np.empty((len(first), 8), np.int32), np.empty((len(first), 8), np.float32)
    for corner, steps in enumerate(product((0, 1), repeat=3)):
        np.add(
            first, np.int32(sum(s * stride for s, stride in zip(steps, strides, strict=True))), out=indices[:, corner]
        )
        np.multiply(sides[0][steps[0]] * sides[1][steps[1]], sides[2][steps[2]], out=weights[:, corner])
    ends = np.arange(0, 8 * len(first) + 1, 8, dtype=np.int32)
    voxels = math.prod(maps.shape[:3])
    matrix = sparse.csr_array((weights.ravel(), indices.ravel(), ends), shape=(len(first), voxels))
    found: np.ndarray = (matrix @ maps.reshape(voxels, -1)).T
    return found
