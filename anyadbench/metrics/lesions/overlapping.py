"""Every cluster of every threshold that could be paired with a lesion, read off the component tree."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float64, Int32, Int64

    from anyadbench.metrics.lesions.rules import OverlapRule
    from anyadbench.metrics.lesions.targets import Targets
    from anyadbench.metrics.lesions.tree import ComponentTree


@dataclass(frozen=True)
class PossiblePairs:
    """A lesion and a cluster that overlap enough, over a range of levels in which the cluster does not change.

    Attributes:
        lesion: From 0 on.
        branch: Branch of the tree that the cluster belongs to.
        first: First level.
        last: First level after the last.
        overlap: Intersection over union.
    """

    lesion: Int64[np.ndarray, " r"]
    branch: Int64[np.ndarray, " r"]
    first: Int64[np.ndarray, " r"]
    last: Int64[np.ndarray, " r"]
    overlap: Float64[np.ndarray, " r"]

    def __len__(self) -> int:
        """Return the number of ranges."""
        return len(self.lesion)

    def only(self, kept: Bool[np.ndarray, " r"]) -> PossiblePairs:
        """Return some of them."""
        return PossiblePairs(
            self.lesion[kept], self.branch[kept], self.first[kept], self.last[kept], self.overlap[kept]
        )


def possible_pairs(tree: ComponentTree, targets: Targets, rule: OverlapRule, smallest: int) -> PossiblePairs:
    """Return all possible pairs of all thresholds, by lesion, then branch, then level.

    Args:
        tree: Of the scan's scores.
        targets: The lesions.
        rule: Gives the smallest overlap.
        smallest: Voxels of the smallest cluster.
    """
    region = targets.regions.ravel()[tree.ranking.voxels]
    along_chain = region[tree.chain]
    found = [
        _states(tree, along_chain, lesion, int(targets.voxels[lesion]), rule.overlap, smallest, *branches)
        for lesion, branches in _branches_of_lesions(tree, region, targets.voxels, rule.overlap)
    ]
    if not found:
        none = np.empty(0, dtype=np.int64)
        return PossiblePairs(none, none, none, none, np.empty(0))
    return PossiblePairs(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _branches_of_lesions(
    tree: ComponentTree, region: Int32[np.ndarray, " n"], voxels: Int64[np.ndarray, " l"], overlap: float
) -> Iterator[tuple[int, tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]]]:
    """Yield each lesion with the branches that may overlap it enough, and the lesion voxels of their children."""
    inside = np.flatnonzero(region)
    packed, counts = np.unique(
        (region[inside].astype(np.int64) << 32) | tree.branch[inside].astype(np.int64), return_counts=True
    )
    base, parent = tree.base.tolist(), tree.parent.tolist()
    bounds = np.searchsorted(packed, np.arange(1, len(voxels) + 2) << 32)
    for lesion in range(len(voxels)):
        part = slice(int(bounds[lesion]), int(bounds[lesion + 1]))
        own = dict(zip((packed[part] & 0xFFFFFFFF).tolist(), counts[part].tolist(), strict=True))
        # Of a larger cluster even the whole lesion is too small a share, and so it is of all that it grows into.
        largest = _largest(int(voxels[lesion]), overlap)
        least = voxels[lesion] * overlap - 1e-6
        queue, carried, kept = list(own), dict.fromkeys(own, 0), []
        while queue:
            branch = heappop(queue)
            if base[branch] >= largest:
                continue
            before = carried[branch]
            total = before + own.get(branch, 0)
            if total >= least:
                kept.append((branch, before))
            above = parent[branch]
            if above >= 0 and above not in carried:
                heappush(queue, above)
            if above >= 0:
                carried[above] = carried.get(above, 0) + total
        if kept:
            branches, befores = np.array(kept, dtype=np.int64).T
            yield lesion, (branches, befores)


def _largest(voxels: int, overlap: float) -> int:
    return int(voxels / overlap + 1e-6)


def _states(
    tree: ComponentTree,
    along_chain: Int32[np.ndarray, " n"],
    lesion: int,
    voxels: int,
    overlap: float,
    smallest: int,
    branches: Int64[np.ndarray, " m"],
    before: Int64[np.ndarray, " m"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the possible pairs of one lesion, as columns."""
    own = tree.own[branches]
    length = np.minimum(own, _largest(voxels, overlap) - tree.base[branches])
    which = np.repeat(np.arange(len(branches)), length)
    begins = np.cumsum(length) - length
    offset = np.arange(len(which)) - begins[which]
    place = tree.start[branches][which] + offset
    hits = np.append(0, np.cumsum(along_chain[place] == lesion + 1))
    shared = before[which] + hits[1:] - hits[begins][which]
    size = tree.base[branches][which] + offset + 1
    share = shared / (size + voxels - shared)
    kept = np.flatnonzero((share >= overlap) & (size >= smallest))
    which, place = which[kept], place[kept]
    first = tree.level_at(tree.chain[place])
    grows = offset[kept] + 1 < own[which]
    following = np.where(grows, tree.chain[np.minimum(place + 1, len(tree.chain) - 1)], tree.end[branches][which])
    last = tree.level_at(following)
    seen = last > first
    columns = (np.full(len(kept), lesion), branches[which], first, last, share[kept])
    return tuple(column[seen] for column in columns)  # type: ignore[return-value]
