"""Coarse views of a scan, on which registration and its checks work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.predict.geometry import Grid, grid_of, resample, same_grid

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

    from anyadbench.data.trees.volume import Volume

STEP_MM = 2.0
"""Voxel size of a view."""

DETAIL_MM = 1.0
"""Voxel size of the last level of registration, which leaves about half the error of 2 mm for T2 on FLAIR."""

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class View:
    """A scan at ``STEP_MM`` with its brain.

    Attributes:
        values: 0 to 1 between the 0.5th and 99.5th percentile of the brain.
        brain: The brain, or the head where no brain is known.
        grid: Their grid; its axes are perpendicular.
    """

    values: Float32[np.ndarray, "x y z"]
    brain: Bool[np.ndarray, "x y z"]
    grid: Grid

    def moved(self, matrix: Float[np.ndarray, "4 4"]) -> View:
        """Return the view with its place in the world changed."""
        return replace(self, grid=Grid(self.grid.shape, matrix @ self.grid.affine))

    def mirrored(self) -> View:
        """Return the view with left and right exchanged about the middle of its brain."""
        first = self.grid.affine[:3, :3] @ [1.0, 0, 0] / STEP_MM
        reflection = np.eye(4)
        reflection[:3, :3] -= 2 * np.outer(first, first)
        centre = centroid(self)
        reflection[:3, 3] = centre - reflection[:3, :3] @ centre
        affine = reflection @ self.grid.affine
        last = self.grid.shape[0] - 1
        affine[:3, 3] += affine[:3, 0] * last
        affine[:3, 0] *= -1
        return View(self.values[::-1].copy(), self.brain[::-1].copy(), Grid(self.grid.shape, affine))

    def on(self, grid: Grid) -> View:
        """Return the view on another grid."""
        brain = resample(self.brain, self.grid, grid, keep_background=False) >= 0.5
        return View(resample(self.values, self.grid, grid, keep_background=False), brain, grid)


@dataclass(frozen=True, eq=False)
class Detail:
    """A scan at ``DETAIL_MM``.

    Attributes:
        values: 0 to 1 between the 0.5th and 99.5th percentile of the brain.
        grid: Their grid; its axes are perpendicular.
    """

    values: Float32[np.ndarray, "x y z"]
    grid: Grid


def detail_of(volume: Volume, brain: Bool[np.ndarray, "x y z"]) -> Detail | None:
    """Return a scan at ``DETAIL_MM``; ``None`` if its own voxels show no more than a view does.

    Args:
        volume: The scan, on any grid.
        brain: Its brain, on the same grid.
    """
    if min(volume.spacing) >= STEP_MM:
        return None
    own = grid_of(volume)
    grid = even_grid(own, DETAIL_MM)
    values = volume.array if same_grid(own, grid) else resample(volume.array, own, grid, keep_background=False)
    known = volume.array[brain] if brain.any() else volume.array
    return Detail(_scaled(values, known), grid)


def view_of(volume: Volume, brain: Bool[np.ndarray, "x y z"]) -> View:
    """Return the view of a scan.

    Args:
        volume: The scan, on any grid.
        brain: Its brain, on the same grid.
    """
    grid = even_grid(grid_of(volume))
    values = resample(volume.array, grid_of(volume), grid, keep_background=False)
    inside = resample(brain, grid_of(volume), grid, keep_background=False) >= 0.5
    return View(_scaled(values, values[inside] if inside.any() else values), inside, grid)


def _scaled(values: np.ndarray, known: np.ndarray) -> Float32[np.ndarray, "x y z"]:
    low, high = np.percentile(known, (0.5, 99.5))
    scaled: np.ndarray = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
    return scaled.astype(np.float32)


def even_grid(grid: Grid, step: float = STEP_MM) -> Grid:
    """Return a grid over the same field with cubic voxels of ``step`` mm and perpendicular axes."""
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(grid.affine[:3, :3] / spacing)
    count = np.maximum(np.ceil(np.array(grid.shape) * spacing / step), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = left @ right * step
    middle = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    affine[:3, 3] = middle - affine[:3, :3] @ ((count - 1) / 2)
    x, y, z = (int(length) for length in count)
    return Grid((x, y, z), affine)


def centroid(view: View) -> Float[np.ndarray, " 3"]:
    """Return the centre of the brain in world coordinates (mm, RAS+)."""
    points = np.argwhere(view.brain)
    middle = points.mean(axis=0) if len(points) else (np.array(view.grid.shape) - 1) / 2
    return np.asarray(view.grid.affine[:3, :3] @ middle + view.grid.affine[:3, 3])


def to_itk(itk: Any, array: np.ndarray, grid: Grid) -> Any:
    """Return an array as a SimpleITK image, in whose world x and y run to left and posterior."""
    image = itk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    affine = RAS_TO_LPS @ grid.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image
