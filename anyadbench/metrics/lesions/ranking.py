"""The voxels of a scan's brain in order of falling score: one sort that every number of the scan starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.ordered_bits import float32_keys, key_values, threshold_key

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int32, Int64

    from anyadbench.metrics.lesions.scan import Scan


@dataclass(frozen=True)
class Ranking:
    """Brain voxels by falling score; equal scores in order of position.

    The place of a voxel in this order is its *time*: lowering a threshold adds voxels one after another. A *level* is
    a distinct score, from 0 for the highest; only between levels can a threshold stop.

    Attributes:
        voxels: Position in the flattened box, by time.
        level: Level of each voxel, by time.
        level_keys: Ordered key of each level's score, falling.
        level_ends: Number of voxels with at least a level's score.
    """

    voxels: Int64[np.ndarray, " n"]
    level: Int32[np.ndarray, " n"]
    level_keys: Int32[np.ndarray, " k"]
    level_ends: Int64[np.ndarray, " k"]

    def __len__(self) -> int:
        """Return the number of brain voxels."""
        return len(self.voxels)

    def scores_of(self, levels: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, " m"]:
        """Return the scores of levels, as the float32 values that they were."""
        return key_values(self.level_keys[levels]).astype(np.float32)

    def voxels_above(self, thresholds: Float64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
        """Return how many brain voxels have a score above each threshold.

        Raises:
            UserError: If a threshold is not finite.
        """
        keys = np.array([threshold_key(float(value)) for value in thresholds], dtype=np.int32)
        levels = len(self.level_keys) - np.searchsorted(self.level_keys[::-1], keys, side="right")
        return np.append(0, self.level_ends)[levels]


def rank_voxels(scan: Scan) -> Ranking:
    """Sort the scores inside the brain."""
    voxels = np.flatnonzero(scan.brain)
    keys = float32_keys(scan.scores.ravel()[voxels])
    # One integer holds key and position, so that plain integers are sorted and no index array is needed.
    packed = (-keys.astype(np.int64) << 32) | np.arange(len(voxels))
    packed.sort()
    falling = (-(packed >> 32)).astype(np.int32)
    new = np.append(True, falling[1:] != falling[:-1])
    ends = np.append(np.flatnonzero(new)[1:], len(falling))
    level = np.cumsum(new, dtype=np.int32) - np.int32(1)
    return Ranking(voxels[packed & 0xFFFFFFFF], level, falling[new], ends)
