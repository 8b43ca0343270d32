"""Linear interpolation of a volume at an affine image of a grid, on several threads, to the bit as scipy has it.

``scipy.ndimage.affine_transform`` does the arithmetic, one plane at a time: a plane's part of the coordinates is added
first, as scipy itself adds it, so that every coordinate and every value has the same bits whatever the planes and the
threads. What can only be 0 is not computed: most of a stripped scan is background.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Shaped

Box = tuple[slice, slice, slice]
"""Part of a volume."""

MOST_THREADS = 4
"""Threads of one interpolation: several processes may interpolate at once."""

_OPTIONS: dict[str, Any] = {"order": 1, "mode": "grid-constant", "cval": 0.0, "prefilter": False}


def default_threads() -> int:
    """Return the number of cores that this process may use, at most ``MOST_THREADS``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def box_of(array: Shaped[np.ndarray, "x y z"]) -> Box | None:
    """Return the smallest box that contains every voxel other than 0; ``None`` if there is none."""
    seen = np.asarray(array != 0)
    plane = np.asarray(seen.any(axis=0))
    found = []
    for line in (seen.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0)):
        there = np.flatnonzero(line)
        if not len(there):
            return None
        found.append(slice(int(there[0]), int(there[-1]) + 1))
    return found[0], found[1], found[2]


def grown(box: Box, margin: tuple[int, int, int], shape: tuple[int, ...]) -> Box:
    """Return a box with a margin on each side, cut to a volume of ``shape``."""
    x, y, z = (
        slice(max(0, part.start - more), min(length, part.stop + more))
        for part, more, length in zip(box, margin, shape, strict=True)
    )
    return x, y, z


def common(one: Box, other: Box) -> Box | None:
    """Return the part that two boxes share; ``None`` if there is none."""
    x, y, z = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (x, y, z) if all(part.start < part.stop for part in (x, y, z)) else None


def reach(box: Box, matrix: Float[np.ndarray, "4 4"], shape: tuple[int, int, int]) -> Box | None:
    """Return the box of target voxels that voxels of a source's box can contribute to; ``None`` if there is none.

    Args:
        box: Part of the source.
        matrix: From indices of the target to those of the source.
        shape: Lengths of the target's axes.
    """
    back = np.linalg.inv(matrix)
    corners = np.array(list(product(*((part.start - 1, part.stop) for part in box))), dtype=np.float64)
    there = corners @ back[:3, :3].T + back[:3, 3]
    # One voxel more than needed, against rounding of the inverse.
    low = np.maximum(np.floor(there.min(axis=0)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(there.max(axis=0)) + 2, shape).astype(int)
    if (low >= high).any():
        return None
    x, y, z = (slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    return x, y, z


def interpolate(
    values: Float32[np.ndarray, "x y z"],
    matrix: Float[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    within: Box,
    threads: int,
) -> Float32[np.ndarray, "X Y Z"]:
    """Return the values at a target grid's voxels inside a box, and 0 elsewhere; values outside the source are 0.

    Args:
        values: Values of the source.
        matrix: From indices of the target to those of the source.
        shape: Lengths of the target's axes.
        within: The box.
        threads: CPU threads; they do not change the result.
    """
    out = np.zeros(shape, np.float32)
    planes = _Planes(values, matrix, within, out)
    numbers = range(within[0].start, within[0].stop)
    if threads == 1:
        for number in numbers:
            planes.fill(number)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(planes.fill, numbers))
    return out


@dataclass(frozen=True, eq=False)
class _Planes:
    """Planes of a target in the making."""

    values: Float32[np.ndarray, "x y z"]
    matrix: Float[np.ndarray, "4 4"]
    within: Box
    out: Float32[np.ndarray, "X Y Z"]

    def fill(self, number: int) -> None:
        """Interpolate one plane inside the box."""
        from scipy.ndimage import affine_transform, map_coordinates

        start = self.matrix[:3, 3] + self.matrix[:3, 0] * number
        _, rows, columns = self.within
        part = self.out[number, rows, columns]
        if rows.start == columns.start == 0:
            affine_transform(self.values, self.matrix[:3, 1:3], start, output=part, **_OPTIONS)
            return
        # From another corner the sums would round otherwise, so they are given.
        down = np.arange(rows.start, rows.stop, dtype=np.float64)[:, None]
        along = np.arange(columns.start, columns.stop, dtype=np.float64)
        places = np.empty((3, *part.shape))
        for axis in range(3):
            first = start[axis] + down * self.matrix[axis, 1]
            np.add(first, along * self.matrix[axis, 2], out=places[axis])
        map_coordinates(self.values, places, output=part, **_OPTIONS)
