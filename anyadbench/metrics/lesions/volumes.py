"""Overlap and volume of a whole scan at every threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.keys import threshold_key

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from anyadbench.metrics.lesions.ranking import Ranking
    from anyadbench.metrics.lesions.scan import Scan

VOLUME_BINS = (0.1, 1.0, 10.0)
"""Edges in ml of the volume bins: below .1, from .1 to below 1, from 1 to below 10, and from 10."""

BIN_NAMES = ("below_0.1ml", "0.1_to_1ml", "1_to_10ml", "from_10ml")


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a mask.

    Attributes:
        predicted: Voxels of the mask, all inside the brain.
        hit: Those of them that are lesion.
    """

    predicted: int
    hit: int


def best_overlap(scan: Scan, ranking: Ranking) -> Overlap:
    """Return the counts at the threshold with the highest Dice, 2 hit / (predicted + truth); the highest such threshold.

    A threshold is a score that occurs, and the mask all brain voxels with at least this score. Without a lesion the
    mask of the highest score is returned.
    """
    hits = _hits(scan, ranking)[ranking.level_ends - 1]
    place = int(np.argmax(2 * hits / (ranking.level_ends + scan.truth_voxels)))
    return Overlap(int(ranking.level_ends[place]), int(hits[place]))


def overlaps_above(
    scan: Scan, ranking: Ranking, thresholds: Float64[np.ndarray, " t"]
) -> tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " t"]]:
    """Return ``predicted`` and ``hit`` of the brain voxels above each threshold.

    Raises:
        UserError: If a threshold is not finite.
    """
    levels = np.array([ranking.levels_above(threshold_key(float(value))) for value in thresholds], dtype=np.int64)
    predicted = np.append(0, ranking.level_ends)[levels]
    return predicted, np.append(0, _hits(scan, ranking))[predicted]


def volume_bins(volumes_ml: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return the volume bin, 0 to 3, of each volume; rounded to nanolitres, so that 100 voxels of .001 ml are .1 ml."""
    return np.searchsorted(VOLUME_BINS, np.round(volumes_ml, 6), side="right").astype(np.int64)


def _hits(scan: Scan, ranking: Ranking) -> Int64[np.ndarray, " n"]:
    return np.cumsum(scan.lesions.ravel()[ranking.voxels] > 0)
