"""Where the brain is, and scores inside it.

The brain is where any shown sequence is not 0: scans are skull-stripped and 0 outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.predict.geometry import grid_of, to_volume
from anyadbench.results.normals import top_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jaxtyping import Bool, Float, Float32, Float64

    from anyadbench.data.trees.volume import Volume


def brain_of(volumes: Iterable[Volume], reference: Volume) -> Bool[np.ndarray, "x y z"]:
    """Return where any of the volumes is not 0, on the reference's grid."""
    target = grid_of(reference)
    return np.asarray(np.logical_or.reduce([to_volume(volume, target).array != 0 for volume in volumes]))


def tissue(
    values: Float[np.ndarray, "B S H W"], columns: Sequence[int], grid: tuple[int, int]
) -> Bool[np.ndarray, "B h w"]:
    """Return where any of the shown sequences shows tissue, on a map's grid.

    Args:
        values: Slices as a method sees them, 0 outside the brain.
        columns: The shown sequences.
        grid: Height and width; a pixel is inside if at least half of it is.
    """
    inside = np.asarray((values[:, list(columns)] > 0).any(axis=1))
    if inside.shape[1:] == grid:
        return inside
    import cv2

    shares = [cv2.resize(item.astype(np.float32), (grid[1], grid[0]), interpolation=cv2.INTER_AREA) for item in inside]
    return np.stack(shares) >= 0.5


def keep_inside(found: Float32[np.ndarray, "a b c"], brain: Bool[np.ndarray, "a b c"]) -> Float32[np.ndarray, "a b c"]:
    """Return a map without scores outside the brain: 0 there, or the lowest score in the brain if that is below 0.

    The highest value of the result is then never outside the brain, whatever range a method's scores have.
    """
    outside = min(0.0, float(found[brain].min())) if brain.any() else 0.0
    return np.where(brain, found, np.float32(outside))


def slice_tops(
    maps: Float32[np.ndarray, "n h w"], inside: Bool[np.ndarray, "n h w"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return the mean of the highest hundredth of each slice's brain pixels, and the highest; NaN without brain."""
    pixels = [picture[where] for picture, where in zip(maps, inside, strict=True)]
    peaks = [float(own.max()) if len(own) else float("nan") for own in pixels]
    return np.array([top_mean(own) for own in pixels]), np.array(peaks)
