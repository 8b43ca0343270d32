"""Grids: where a method's slices lie in a patient, and how its maps return to the patient's voxels.

All arrays are in LPS order, as in ``anyadbench.data.trees.volume``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.interpolation import Box, box_of
from anyadbench.data.slices.geometry import grid_after
from anyadbench.data.trees.resampling import resample_array
from anyadbench.data.trees.volume import TOLERANCE_MM, Volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Shaped

    from anyadbench.data.slices.rules import GeometryRules

SAME_SPACING = 0.01
"""Relative difference of in-plane spacing up to which slices are used without resampling."""

MAX_TILT = 15.0
"""Largest angle in degrees between an image's axes and the body's at which its own slices count as axial."""

_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid in LPS order.

    Attributes:
        shape: Lengths of the axes x, y and z.
        affine: From indices to NIfTI world coordinates (mm, RAS+).
    """

    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]


@dataclass(frozen=True, eq=False)
class Placement:
    """Position of a method's slices.

    Attributes:
        grid: Grid of the slices, before padding to the training size.
        native: Whether it is the reference's own grid, so that the reference is not resampled.
        tilted: Whether its slices differ in direction from the reference's.
        cut: Whether its pixels are the reference's own, of which it leaves out those at the edge.
    """

    grid: Grid
    native: bool
    tilted: bool = False
    cut: bool = False


def tilt(volume: Volume) -> float:
    """Return the largest angle in degrees between an axis of the volume and the nearest body axis."""
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(np.diag(directions)).min(), 0, 1))))


def grid_of(volume: Volume) -> Grid:
    """Return a volume's own grid."""
    return Grid(volume.shape, volume.affine)


def place_slices(reference: Volume, shape: tuple[int, int], spacing: tuple[float, float]) -> Placement:
    """Choose the slices of a patient for a method trained on slices of ``shape`` and ``spacing``.

    They are the reference's own axial slices if these have the same pixel size and fit into the training field, or
    are cut to it around the foreground; otherwise slices of the training pixel size, centred on the foreground, at the
    reference's own heights, or, if it is tilted by more than ``MAX_TILT``, across the body's axis.

    Args:
        reference: First input.
        shape: Height and width of the training slices in pixels.
        spacing: Their pixel size in mm along height and width.
    """
    x, y, z = reference.shape
    own = reference.spacing
    turned = tilt(reference) > MAX_TILT
    same = np.allclose([own[1], own[0]], spacing, rtol=SAME_SPACING, atol=0)
    if same and y <= shape[0] and x <= shape[1] and not turned:
        return Placement(grid_of(reference), True)
    if same and not turned:
        return Placement(_cut(reference, shape), False, cut=True)
    axes = _LPS if turned else reference.affine[:3, :3] / np.linalg.norm(reference.affine[:3, :3], axis=0)
    corners = _corners(foreground_box(reference), reference.affine) @ np.linalg.inv(axes).T
    low, high = corners.min(axis=0), corners.max(axis=0)
    step = np.array([spacing[1], spacing[0], min(spacing) if turned else own[2]])
    start = (low + high) / 2 - (np.array([shape[1], shape[0], 0]) - 1) / 2 * step
    if turned:
        start[2], depth = low[2], int(np.ceil((high[2] - low[2]) / step[2])) + 1
    else:
        start[2], depth = (np.linalg.inv(axes) @ reference.affine[:3, 3])[2], z
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * step, axes @ start
    return Placement(Grid((shape[1], shape[0], depth), affine), False, turned)


def _cut(reference: Volume, shape: tuple[int, int]) -> Grid:
    """Return the field of ``shape`` on the reference's own voxels, centred on the foreground as ``crop_or_pad`` does.

    A scan with wide air is then shown to a method as the same scan cropped to its foreground is.
    """
    low, high = foreground_box(reference)
    size = np.array([shape[1], shape[0]])
    start = np.array([*(low[:2] - (size - (high - low + 1)[:2]) // 2), 0.0])
    affine = reference.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Grid((shape[1], shape[0], reference.shape[2]), affine)


def foreground_box(volume: Volume) -> Float[np.ndarray, "2 3"]:
    """Return the first and last index, along each axis, of the foreground (not 0)."""
    seen = volume.array != 0
    ends = [np.flatnonzero(seen.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    return np.array(ends, dtype=np.float64).T


def same_grid(first: Grid, second: Grid) -> bool:
    """Whether two grids agree to a thousandth of a millimetre."""
    if first.shape != second.shape:
        return False
    box = np.array([[0, 0, 0], [length - 1 for length in first.shape]], dtype=np.float64)
    distance = np.abs(_corners(box, first.affine) - _corners(box, second.affine))
    return bool(distance.max() <= TOLERANCE_MM)


def resample(
    array: Shaped[np.ndarray, "x y z"],
    source: Grid,
    target: Grid,
    *,
    keep_background: bool = True,
    within: Box | None = None,
) -> Float32[np.ndarray, "X Y Z"]:
    """Resample linearly; values outside the source are 0, and its outermost voxels extend by half a voxel.

    For a coarser target, values are averaged first (Gaussian of half the excess in voxels), so that no detail is
    aliased.

    Args:
        array: Values on the source grid.
        source: Their grid.
        target: Grid to resample to.
        keep_background: Whether voxels that are mostly background (0) in the source stay exactly 0.
        within: Part of the target grid that is wanted; the rest is 0.
    """
    return resample_array(
        array, source.affine, target.affine, target.shape, keep_background=keep_background, within=within
    )


def to_volume(volume: Volume, target: Grid) -> Volume:
    """Return a volume on another grid, or the volume itself if it already has that grid."""
    if same_grid(grid_of(volume), target):
        return volume
    array = resample(volume.array, grid_of(volume), target)
    return Volume(volume.path, array, target.affine, volume.native_affine, volume.native_orientation)


def overlap(volume: Volume, other: Volume) -> float:
    """Return the share of a volume's foreground inside another's field of view."""
    indices = np.argwhere(volume.array[::4, ::4] != 0) * (4, 4, 1)
    matrix = np.linalg.inv(other.affine) @ volume.affine
    there = indices @ matrix[:3, :3].T + matrix[:3, 3]
    inside = ((there > -0.5) & (there < np.array(other.shape) - 0.5)).all(axis=1)
    return float(inside.mean()) if len(inside) else 1.0


def covered(volume: Volume, seen: Bool[np.ndarray, "x y z"], grid: Grid) -> Bool[np.ndarray, " z"]:
    """Return in which slices of a grid a volume's field of view covers at least half of the foreground."""
    if same_grid(grid_of(volume), grid):
        return np.ones(grid.shape[2], bool)
    field = np.ones(volume.shape, np.float32)
    inside = resample(field, grid_of(volume), grid, keep_background=False, within=box_of(seen)) >= 0.5
    return np.asarray((seen & inside).sum((0, 1)) * 2 >= seen.sum((0, 1)))


def file_axis(volume: Volume) -> tuple[int, bool]:
    """Return the file's axis along the body, and whether it points downwards."""
    ornt = volume.native_orientation
    axis = int(np.flatnonzero(ornt[:, 0] == 2)[0])
    return axis, bool(ornt[axis, 1] < 0)


def crop_or_pad(shape: tuple[int, int], target: tuple[int, int]) -> tuple[slice, slice]:
    """Return the position of slices of ``shape`` in the training field: centred, as in a slice store."""
    y, x = ((outer - inner) // 2 for inner, outer in zip(shape, target, strict=True))
    return slice(y, y + shape[0]), slice(x, x + shape[1])


def undo_geometry(
    maps: Float32[np.ndarray, "n h w"], shape: tuple[int, int], rules: GeometryRules
) -> Float32[np.ndarray, "n H W"]:
    """Undo a protocol's resizing and cropping on maps, back to slices of ``shape``; cropped pixels are NaN.

    Args:
        maps: Maps on any grid over the field that a method sees.
        shape: Height and width before resizing and cropping.
        rules: The protocol's resizing and cropping.
    """
    from scipy.ndimage import map_coordinates

    resized, kept = rules.resize if any(rules.resize) else shape, grid_after(shape, rules)
    places, inside = [], []
    for before, after, want, have in zip(shape, resized, kept, maps.shape[1:], strict=True):
        start = round((after - want) / 2)  # of the centre, as apply_geometry crops it
        at = ((np.arange(before) + 0.5) * after / before - start) * have / want - 0.5
        places.append(at)
        inside.append((at > -0.5) & (at < have - 0.5))
    grid = np.meshgrid(*places, indexing="ij")
    out = np.stack([map_coordinates(item, grid, order=1, mode="nearest") for item in maps])
    out[:, ~(inside[0][:, None] & inside[1][None])] = np.nan
    return np.asarray(out, dtype=np.float32)


def _corners(box: Float[np.ndarray, "2 3"], affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "8 3"]:
    points = np.array(np.meshgrid(*box.T, indexing="ij")).reshape(3, -1)
    return np.asarray((affine[:3, :3] @ points).T + affine[:3, 3])
