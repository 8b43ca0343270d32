"""Bringing an image to another grid by the affines alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.interpolation import Box, box_of, common, default_threads, grown, interpolate, reach
from anyadbench.data.trees.volume import TOLERANCE_MM, Volume, orientations

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Shaped

TRUNCATE = 4.0
"""Standard deviations at which the Gaussian ends, scipy's default."""


def resample_array(
    array: Shaped[np.ndarray, "x y z"],
    affine: Float[np.ndarray, "4 4"],
    target: Float[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    *,
    keep_background: bool = True,
    within: Box | None = None,
    threads: int | None = None,
) -> Float32[np.ndarray, "X Y Z"]:
    """Resample linearly; values outside the source are 0, and its outermost voxels extend by half a voxel.

    For a coarser target, values are averaged first (Gaussian of half the excess in voxels), so that no detail is
    aliased.

    Args:
        array: Values on the source grid.
        affine: From indices of ``array`` to mm.
        target: From indices of the target grid to mm.
        shape: Lengths of the target grid's axes.
        keep_background: Whether voxels that are mostly background (0) in the source stay exactly 0.
        within: Part of the target grid that is wanted; the rest is 0.
        threads: CPU threads, by default ``default_threads``; they do not change the result.
    """
    matrix = np.linalg.inv(affine) @ target
    ratio = np.abs(matrix[:3, :3]).max(axis=1)
    sigma = np.maximum((ratio - 1) / 2, 0) if ratio.max() > 1.01 else np.zeros(3)
    seen = box_of(array)
    if seen is None:
        return np.zeros(shape, np.float32)
    x, y, z = (int(TRUNCATE * step + 0.5) for step in sigma)
    blurred = grown(seen, (x, y, z), array.shape)
    wanted = reach(seen if keep_background else blurred, matrix, shape)
    wanted = wanted if within is None or wanted is None else common(wanted, within)
    if wanted is None:
        return np.zeros(shape, np.float32)
    count = threads or default_threads()
    out = interpolate(_averaged(array, sigma, blurred), matrix, shape, wanted, count)
    if keep_background:
        share = interpolate((array != 0).astype(np.float32), matrix, shape, wanted, count)
        out[wanted][share[wanted] < 0.5] = 0
    return out


def _averaged(
    array: Shaped[np.ndarray, "x y z"], sigma: Float[np.ndarray, " 3"], blurred: Box
) -> Float32[np.ndarray, "x y z"]:
    """Return the Gaussian average of values that reach no further than a box."""
    from scipy.ndimage import gaussian_filter

    values = array.astype(np.float32)
    if sigma.any():
        values[blurred] = gaussian_filter(values[blurred], sigma, truncate=TRUNCATE)
    return values


def on_grid(volume: Volume, grid: Volume) -> Volume:
    """Return a volume on another one's grid, with a note; the volume itself if it has that grid already."""
    if volume.shape == grid.shape and np.abs(volume.affine - grid.affine).max() <= TOLERANCE_MM:
        return volume
    array = resample_array(volume.array, volume.affine, grid.affine, grid.shape)
    note = f"has another grid than {grid.path.name} ({_size(volume)} where that has {_size(grid)}); it was resampled"
    native = orientations.axcodes2ornt("LPS")
    notes = (*volume.notes, note)
    return replace(
        volume, array=array, affine=grid.affine, native_affine=grid.affine, native_orientation=native, notes=notes
    )


def _size(volume: Volume) -> str:
    voxels = " x ".join(map(str, volume.shape))
    return f"{voxels} voxels of {' x '.join(f'{step:.3g}' for step in volume.spacing)} mm"
