"""Bringing an image to another grid by the affines alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.trees.volume import TOLERANCE_MM, Volume, orientations

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Shaped


def resample_array(
    array: Shaped[np.ndarray, "x y z"],
    affine: Float[np.ndarray, "4 4"],
    target: Float[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    *,
    keep_background: bool = True,
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
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    matrix = np.linalg.inv(affine) @ target
    options: dict[str, Any] = {"output_shape": shape, "order": 1, "mode": "grid-constant", "cval": 0.0}

    def bring(values: np.ndarray) -> np.ndarray:
        return np.asarray(affine_transform(values, matrix[:3, :3], matrix[:3, 3], **options))

    ratio = np.abs(matrix[:3, :3]).max(axis=1)
    values = array.astype(np.float32)
    if ratio.max() > 1.01:
        values = gaussian_filter(values, np.maximum((ratio - 1) / 2, 0))
    out = bring(values)
    if keep_background:
        out[bring((array != 0).astype(np.float32)) < 0.5] = 0
    return np.asarray(out, dtype=np.float32)


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
