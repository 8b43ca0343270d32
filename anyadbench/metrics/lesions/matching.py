"""Lesions and clusters of one mask: which lesions are found, and which clusters are false alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.ordered_bits import key_values
from anyadbench.metrics.lesions.rules import OverlapRule, Rule
from anyadbench.metrics.lesions.scan import label_volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from anyadbench.metrics.lesions.ranking import Ranking
    from anyadbench.metrics.lesions.scan import Scan
    from anyadbench.metrics.lesions.targets import Targets

Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Clusters:
    """Clusters of a mask, matched with lesions.

    Attributes:
        voxels: Of each cluster.
        peaks: Ordered key of each cluster's highest score.
        cluster_of: Cluster that found each lesion; -1 for a lesion that was missed.
        overlap_of: Intersection over union of each lesion with its cluster; 0 if missed, and under a dilation rule.
        alarm: Whether each cluster is a false alarm.
    """

    voxels: Int64[np.ndarray, " c"]
    peaks: Int64[np.ndarray, " c"]
    cluster_of: Int64[np.ndarray, " l"]
    overlap_of: Float64[np.ndarray, " l"]
    alarm: Bool[np.ndarray, " c"]

    @property
    def found(self) -> Bool[np.ndarray, " l"]:
        """Whether each lesion was found."""
        return self.cluster_of >= 0


def clusters_above(scan: Scan, ranking: Ranking, targets: Targets, rule: Rule, threshold: float) -> Clusters:
    """Match the clusters of the brain voxels above a threshold with the lesions.

    Raises:
        UserError: If the threshold is not finite.
    """
    flagged = ranking.voxels[: int(ranking.voxels_above(np.array([threshold]))[0])]
    mask = np.zeros(scan.brain.shape, dtype=np.bool_)
    mask.ravel()[flagged] = True
    labels, sizes = label_volume(mask)
    of_voxel = labels.ravel()[flagged]
    # Voxels come by falling score, so the first of each cluster is its peak.
    firsts = np.unique(of_voxel, return_index=True)[1]
    peaks = ranking.level_keys[ranking.level[firsts]].astype(np.int64)
    kept = np.flatnonzero(sizes >= scan.smallest_voxels(rule.smallest_ml))
    number = np.zeros(len(sizes) + 1, dtype=np.int64)
    number[kept + 1] = np.arange(1, len(kept) + 1)
    pair = np.stack([targets.regions.ravel()[flagged], number[of_voxel]])
    pair, shared = np.unique(pair[:, (pair > 0).all(axis=0)], axis=1, return_counts=True)
    lesion, cluster = pair.astype(np.int64) - 1
    sizes, peaks = sizes[kept], peaks[kept]
    cluster_of = np.full(len(targets.voxels), -1, dtype=np.int64)
    overlap_of, alarm = np.zeros(len(targets.voxels)), np.ones(len(kept), dtype=np.bool_)
    if isinstance(rule, OverlapRule):
        overlap = shared / (sizes[cluster] + targets.voxels[lesion] - shared)
        possible = overlap >= rule.overlap
        lesion, cluster, overlap = lesion[possible], cluster[possible], overlap[possible]
        chosen = pair_up(lesion, cluster, overlap, rule)
        cluster_of[lesion[chosen]], overlap_of[lesion[chosen]] = cluster[chosen], overlap[chosen]
        alarm[cluster if rule.spare_overlapping else cluster[chosen]] = False
    else:
        cluster_of[lesion[::-1]] = cluster[::-1]
        alarm[cluster] = False
    return Clusters(sizes, peaks, cluster_of, overlap_of, alarm)


def peak_scores(clusters: Clusters) -> Float64[np.ndarray, " c"]:
    """Return the highest score of each cluster."""
    return key_values(clusters.peaks.astype(np.int32))


def pair_up(
    lesion: Int64[np.ndarray, " e"], cluster: Int64[np.ndarray, " e"], overlap: Float64[np.ndarray, " e"],
    rule: OverlapRule,
) -> Int64[np.ndarray, " p"]:  # fmt: skip
    """Choose among possible pairs, so that no lesion and no cluster is in two (see `OverlapRule`).

    Returns:
        Positions of the chosen pairs.
    """
    if rule.assignment == "greedy":
        return _greedy(lesion, cluster, overlap)
    from scipy.optimize import linear_sum_assignment

    rows, row = np.unique(lesion, return_inverse=True)
    columns, column = np.unique(cluster, return_inverse=True)
    # One more pair is worth more than all overlaps together.
    worth = np.zeros((len(rows), len(columns)))
    worth[row, column] = overlap + (min(worth.shape) + 1.0)
    place = np.full(worth.shape, -1, dtype=np.int64)
    place[row, column] = np.arange(len(lesion))
    chosen = place[linear_sum_assignment(worth, maximize=True)]
    return np.sort(chosen[chosen >= 0])


def _greedy(lesion: np.ndarray, cluster: np.ndarray, overlap: np.ndarray) -> Int64[np.ndarray, " p"]:
    order = np.lexsort((cluster, lesion, -overlap))
    taken_lesions: set[int] = set()
    taken_clusters: set[int] = set()
    chosen = []
    for place in order.tolist():
        one, other = int(lesion[place]), int(cluster[place])
        if one not in taken_lesions and other not in taken_clusters:
            taken_lesions.add(one)
            taken_clusters.add(other)
            chosen.append(place)
    return np.array(sorted(chosen), dtype=np.int64)
