"""Overlap and volume of a whole scan at every threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from anyadbench.metrics.lesions.ranking import Ranking
    from anyadbench.metrics.lesions.scan import Scan

VOLUME_BINS = (0.1, 1.0, 10.0)
"""Edges in ml of the volume bins: below .1, from .1 to below 1, from 1 to below 10, and from 10."""

BIN_NAMES = ("below_100ul", "100ul_to_1ml", "1ml_to_10ml", "from_10ml")
"""What the bins are called in names of metrics; 100 microlitres are .1 ml."""


@dataclass(frozen=True)
class OverlapCounts:
    """Voxel counts of the masks of a scan, all within the brain.

    Attributes:
        ranking: The brain voxels.
        truth: Lesion voxels, those outside the brain included.
        hits: Lesion voxels among the first 0, 1, 2, ... brain voxels by falling score.
    """

    ranking: Ranking
    truth: int
    hits: Int64[np.ndarray, " n+1"]

    def above(self, thresholds: Float64[np.ndarray, " t"]) -> tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " t"]]:
        """Return the voxels above each threshold, and the lesion voxels among them.

        Raises:
            UserError: If a threshold is not finite.
        """
        predicted = self.ranking.voxels_above(thresholds)
        return predicted, self.hits[predicted]

    def best(self) -> tuple[int, int]:
        """Return the same two counts at the threshold with the highest Dice, 2 hit / (predicted + truth).

        A threshold is a score that occurs, and the mask all brain voxels with at least this score; of several with the
        same Dice the highest. Without a lesion it is the highest score.
        """
        ends = self.ranking.level_ends
        place = int(np.argmax(2 * self.hits[ends] / (ends + self.truth)))
        return int(ends[place]), int(self.hits[ends[place]])


def overlap_counts(scan: Scan, ranking: Ranking) -> OverlapCounts:
    """Count the lesion voxels of every mask."""
    hits = np.append(0, np.cumsum(scan.lesions.ravel()[ranking.voxels] > 0))
    return OverlapCounts(ranking, scan.truth_voxels, hits)


def volume_bins(volumes_ml: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return the volume bin, 0 to 3, of each volume; rounded to nanolitres, so that 100 voxels of .001 ml are .1 ml."""
    return np.searchsorted(VOLUME_BINS, np.round(volumes_ml, 6), side="right").astype(np.int64)
