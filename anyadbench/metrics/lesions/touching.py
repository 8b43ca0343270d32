"""The dilation rule at every threshold: when a cluster first touches a lesion's region."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64

    from anyadbench.metrics.lesions.targets import Targets
    from anyadbench.metrics.lesions.tree import ComponentTree


def sweep_touching(
    tree: ComponentTree, targets: Targets, smallest: int
) -> tuple[Int64[np.ndarray, " l"], Int64[np.ndarray, " k"]]:
    """Return the level at which each lesion is first found, and the number of false alarms at each level.

    Once found, a lesion stays found as the threshold falls, because clusters only grow.

    Args:
        tree: Of the scan's scores.
        targets: Of a `DilationRule`.
        smallest: Voxels of the smallest cluster.

    Returns:
        Levels from 0 on, and the number of levels for a lesion that is never found; counts by level.
    """
    region = targets.regions.ravel()[tree.ranking.voxels]
    grown = tree.grown(smallest)
    inside = np.flatnonzero(region)
    ready = np.maximum(_first_large(tree, grown)[tree.branch[inside]], inside)
    found = np.full(len(targets.voxels), len(region), dtype=np.int64)
    np.minimum.at(found, region[inside] - 1, ready)

    touched = np.full(len(tree.parent), len(region), dtype=np.int64)
    np.minimum.at(touched, tree.branch[inside], inside)
    touched = _spread(tree, touched)
    first = tree.level_at(grown)
    last = tree.level_at(np.minimum(tree.end, touched))
    return tree.level_at(found), count_between(first, last, len(tree.ranking.level_keys))


def count_between(
    first: Int64[np.ndarray, " m"], last: Int64[np.ndarray, " m"], levels: int
) -> Int64[np.ndarray, " k"]:
    """Return how many of the intervals, first to before last, hold each level; those that end early hold none."""
    real = last > first
    starts = np.bincount(first[real], minlength=levels + 1)
    ends = np.bincount(last[real], minlength=levels + 1)
    return np.cumsum(starts - ends)[:levels]


def _first_large(tree: ComponentTree, grown: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
    """Return the time at which each branch, or what it ends in, has the smallest size; the end of time if never."""
    times, ends, parents = grown.tolist(), tree.end.tolist(), tree.parent.tolist()
    for branch in range(len(times) - 1, -1, -1):
        if times[branch] == ends[branch] and parents[branch] >= 0:
            times[branch] = times[parents[branch]]
    return np.array(times, dtype=np.int64)


def _spread(tree: ComponentTree, touched: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
    """Return the earliest time of each branch and all that ended in it."""
    times, parents = touched.tolist(), tree.parent.tolist()
    for branch, parent in enumerate(parents):
        if parent >= 0 and times[branch] < times[parent]:
            times[parent] = times[branch]
    return np.array(times, dtype=np.int64)
