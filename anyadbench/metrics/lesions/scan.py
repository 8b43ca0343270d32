"""The arrays of one scan, checked and cut to the brain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import to_numpy

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int32, Int64

SPACING_LIMITS = (0.05, 20.0)
"""Voxel edges outside these are a mistake: micrometres, or metres, or an empty header."""

MOST_OUTSIDE = 0.10
"""If more than this share of the lesion voxels lies outside the brain, truth and brain do not belong together."""

TWENTY_SIX = np.ones((3, 3, 3), dtype=np.int8)


@dataclass(frozen=True)
class Scan:
    """One scan, cut to the bounding box of its brain with a margin of one voxel on every side.

    Attributes:
        scores: Anomaly scores; those outside the brain are never read.
        brain: True inside the brain.
        lesions: Lesion that a voxel belongs to, from 1 on; 0 is none.
        lesion_voxels: Voxels of lesions 1, 2, ..., those outside the brain included.
        voxel_ml: Volume of a voxel in millilitres.
        truth: The lesion mask of the whole grid.
        window: What of the whole grid the box covers, without its margin.
    """

    scores: Float32[np.ndarray, "bd bh bw"]
    brain: Bool[np.ndarray, "bd bh bw"]
    lesions: Int32[np.ndarray, "bd bh bw"]
    lesion_voxels: Int64[np.ndarray, " l"]
    voxel_ml: float
    truth: Bool[np.ndarray, "d h w"]
    window: tuple[slice, ...]

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the box of an array of the whole grid, its margin filled with zeros."""
        return np.pad(array[self.window], 1)

    @cached_property
    def truth_voxels(self) -> int:
        """Number of lesion voxels, those outside the brain included."""
        return int(self.lesion_voxels.sum())

    def smallest_voxels(self, smallest_ml: float) -> int:
        """Return the fewest voxels that have at least a volume in millilitres; at least one."""
        return max(1, math.ceil(smallest_ml / self.voxel_ml - 1e-9))


def read_scan(scores: Any, truth: Any, brain: Any, spacing: Sequence[float] | None, name: str = "the scan") -> Scan:
    """Check the arrays of one scan and cut them to the brain.

    Args:
        scores: D x H x W numbers, higher is more anomalous, finite inside the brain; rounded to float32.
        truth: D x H x W lesion mask; all false for a scan without lesions.
        brain: D x H x W mask of the brain: where any sequence of the scan shows tissue.
        spacing: Edges of a voxel in mm, in the order of the axes.
        name: What messages call the scan.

    Raises:
        UserError: If shapes differ, the brain is empty, the spacing is missing or absurd, a score inside the brain is
            NaN or infinite, or more than 10 % of the lesion voxels lie outside the brain.
    """
    voxel_ml = _voxel_ml(spacing, name)
    volume = to_numpy(scores)
    if volume.ndim != 3 or np.iscomplexobj(volume) or not np.issubdtype(volume.dtype, np.number):
        raise UserError(
            f"The scores of {name} have shape {volume.shape} and type {volume.dtype}; "
            "give real numbers of slices x height x width."
        )
    lesion, inside = _mask(truth, "lesion mask", volume.shape, name), _mask(brain, "brain mask", volume.shape, name)
    if not inside.any():
        raise UserError(f"The brain mask of {name} is empty; give true wherever the scan shows brain.")
    outside = int(np.count_nonzero(lesion & ~inside))
    if outside > MOST_OUTSIDE * np.count_nonzero(lesion):
        raise UserError(
            f"{outside} of {np.count_nonzero(lesion)} lesion voxels of {name} lie outside its brain; "
            "give the lesion mask and the brain mask of the same scan."
        )
    spans = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    window = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    labels, sizes = label_volume(lesion)
    with np.errstate(over="ignore"):
        box = np.ascontiguousarray(np.pad(volume[window], 1), dtype=np.float32)
    brain_box = np.pad(inside[window], 1)
    _require_finite(box, brain_box, window, name)
    return Scan(box, brain_box, np.pad(labels[window], 1), sizes, voxel_ml, lesion, window)


def label_volume(mask: Bool[np.ndarray, "d h w"]) -> tuple[Int32[np.ndarray, "d h w"], Int64[np.ndarray, " l"]]:
    """Label the 26-connected components of a volume from 1 on, and count the voxels of each."""
    from scipy import ndimage

    labels = np.zeros(mask.shape, dtype=np.int32)
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if len(spans[0]) == 0:
        return labels, np.empty(0, dtype=np.int64)
    window = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    ndimage.label(mask[window], structure=TWENTY_SIX, output=labels[window])
    return labels, np.bincount(labels[window].ravel())[1:].astype(np.int64)


def _voxel_ml(spacing: Sequence[float] | None, name: str) -> float:
    if spacing is None:
        raise UserError(f"The voxel spacing of {name} is missing; give three edges in mm, for example 1, 1 and 1.")
    edges = np.asarray(spacing, dtype=np.float64).ravel()
    low, high = SPACING_LIMITS
    if len(edges) != 3 or not ((edges >= low) & (edges <= high)).all():
        shown = ", ".join(f"{edge:g}" for edge in edges)
        raise UserError(
            f"The voxel spacing of {name} is ({shown}) mm; give three edges from {low:g} to {high:g} mm, "
            "and correct the header if it says otherwise."
        )
    return float(edges.prod()) / 1000.0


def _mask(values: Any, what: str, shape: tuple[int, ...], name: str) -> Bool[np.ndarray, "d h w"]:
    array = to_numpy(values)
    if array.shape != shape:
        raise UserError(
            f"The {what} of {name} has shape {array.shape} but its scores {shape}; bring both to the same grid."
        )
    mask: np.ndarray = array != 0
    if np.issubdtype(array.dtype, np.floating) and not bool((mask == (array == 1)).all()):
        raise UserError(f"The {what} of {name} holds values other than 0 and 1; threshold it first and give booleans.")
    return np.ascontiguousarray(mask)


def _require_finite(box: np.ndarray, brain: np.ndarray, window: tuple[slice, ...], name: str) -> None:
    bad = ~np.isfinite(box) & brain
    if bad.any():
        first = np.argwhere(bad)[0] - 1 + [part.start for part in window]
        raise UserError(
            f"The scores of {name} are NaN or infinite at {np.count_nonzero(bad)} brain voxels, the first at slice "
            f"{first[0]}, row {first[1]}, column {first[2]}; fix the method that made them."
        )
