"""The connected clusters of a mask, each with its size, place and scores."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.lesions.rules import SMALLEST_ML
from anyadbench.metrics.lesions.scan import label_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Float32, Int32

__all__ = ["SMALLEST_ML", "Cluster", "Clusters", "check_smallest", "clusters_csv", "find_clusters"]

Point = tuple[float, float, float]

DECIMALS = 3
"""Decimals of a place in mm."""


@dataclass(frozen=True)
class Cluster:
    """One 26-connected cluster of voxels above the threshold.

    Attributes:
        number: 1 for the cluster with the highest peak, and so on.
        voxels: Number of its voxels.
        volume_ml: Its volume in millilitres.
        centre_mm: Mean position of its voxels in NIfTI world coordinates (RAS+), in mm.
        peak_mm: Position of its voxel with the highest score, likewise.
        peak_index: Index of that voxel in the array of the first input's file.
        bounds: First index and first index after its last voxel, along each axis of that array.
        peak: Highest score of its voxels.
        mean: Mean score of its voxels.
        percentile: Percentage of normal slices at the peak's height whose own highest score in the brain is lower;
            ``None`` without such slices.
    """

    number: int
    voxels: int
    volume_ml: float
    centre_mm: Point
    peak_mm: Point
    peak_index: tuple[int, int, int]
    bounds: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    peak: float
    mean: float
    percentile: float | None = None


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of one mask.

    Attributes:
        listed: From the highest peak to the lowest.
        labels: Number of the cluster that a voxel belongs to; 0 is none.
        removed: Clusters that were smaller than the smallest volume.
        removed_ml: Their volume in millilitres.
    """

    listed: tuple[Cluster, ...]
    labels: Int32[np.ndarray, "a b c"]
    removed: int = 0
    removed_ml: float = 0.0


def find_clusters(
    mask: Bool[np.ndarray, "a b c"],
    scores: Float32[np.ndarray, "a b c"],
    affine: Float[np.ndarray, "4 4"],
    smallest_ml: float = SMALLEST_ML,
) -> Clusters:
    """Return the 26-connected clusters of a mask that have at least a volume.

    Args:
        mask: Voxels above the threshold.
        scores: Anomaly map on the same grid.
        affine: From indices to NIfTI world coordinates in mm.
        smallest_ml: Smaller clusters are left out. The default is that of the lesion metrics (3 mm³, specks): a fifth
            of a sphere of 3 mm, the smallest MS lesion by clinical criteria (Filippi et al., Brain 2019).
    """
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    labels, sizes = label_volume(mask)
    if not len(sizes):
        return Clusters((), labels)
    fewest = max(1, math.ceil(smallest_ml / voxel_ml - 1e-9))
    flat = np.flatnonzero(labels)
    order = flat[np.argsort(labels.ravel()[flat], kind="stable")]
    parts = np.split(order, np.cumsum(sizes)[:-1])
    kept = [part for part in parts if len(part) >= fewest]
    found = [_cluster(part, scores, affine, voxel_ml) for part in kept]
    rank = sorted(range(len(found)), key=lambda i: (-found[i].peak, -found[i].voxels, found[i].peak_index))
    numbers = np.zeros_like(labels)
    for number, i in enumerate(rank, 1):
        numbers.ravel()[kept[i]] = number
    listed = tuple(replace(found[i], number=number) for number, i in enumerate(rank, 1))
    lost = [len(part) for part in parts if len(part) < fewest]
    return Clusters(listed, numbers, len(lost), sum(lost) * voxel_ml)


def check_smallest(smallest_ml: Any) -> float:
    """Return a smallest cluster as a number.

    Raises:
        UserError: If it is not a finite number of at least 0.
    """
    try:
        value = float(smallest_ml)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"The smallest cluster of {smallest_ml} ml is out of range; give 0 or more millilitres.")
    return value


def clusters_csv(clusters: Sequence[Cluster]) -> str:
    """Return clusters as a table, one line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    places = [f"{what}_{axis}_mm" for what in ("centre", "peak") for axis in "xyz"]
    index = [f"peak_{axis}" for axis in "ijk"]
    writer.writerow(["number", "volume_ml", "voxels", *places, *index, "peak", "mean", "percentile"])
    for item in clusters:
        places = [f"{value:.1f}" for value in (*item.centre_mm, *item.peak_mm)]
        percentile = "" if item.percentile is None else f"{item.percentile:.1f}"
        scores = [f"{item.peak:.6g}", f"{item.mean:.6g}", percentile]
        writer.writerow([item.number, f"{item.volume_ml:.4f}", item.voxels, *places, *item.peak_index, *scores])
    return text.getvalue()


def _cluster(
    voxels: np.ndarray, scores: Float32[np.ndarray, "a b c"], affine: Float[np.ndarray, "4 4"], voxel_ml: float
) -> Cluster:
    index = np.stack(np.unravel_index(voxels, scores.shape), axis=1)
    own = scores.ravel()[voxels]
    top = index[int(own.argmax())]
    low, high = index.min(axis=0), index.max(axis=0) + 1
    i, j, k = (int(value) for value in top)
    bounds = [(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    return Cluster(
        number=0,
        voxels=len(voxels),
        volume_ml=len(voxels) * voxel_ml,
        centre_mm=_world(index.mean(axis=0), affine),
        peak_mm=_world(top, affine),
        peak_index=(i, j, k),
        bounds=(bounds[0], bounds[1], bounds[2]),
        peak=float(own.max()),
        mean=float(own.mean(dtype=np.float64)),
    )


def _world(index: np.ndarray, affine: Float[np.ndarray, "4 4"]) -> Point:
    x, y, z = (round(float(value), DECIMALS) for value in affine[:3, :3] @ index + affine[:3, 3])
    return x, y, z
