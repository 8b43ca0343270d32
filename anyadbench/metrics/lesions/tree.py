"""The component tree of a score volume: every component of every threshold, without labelling any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.lesions.basins import find_basins

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64

    from anyadbench.metrics.lesions.basins import Basins
    from anyadbench.metrics.lesions.ranking import Ranking


@dataclass(frozen=True)
class ComponentTree:
    """Components of {score >= t} for every t, as branches that grow voxel by voxel until two of them join.

    Branches are numbered so that a parent has a higher number than its children. ``k`` is the number of levels.

    Attributes:
        branch: Branch that each voxel was added to, by time.
        parent: Branch that each one ends in; -1 for the last branch of a connected part of the brain.
        end: Time at which it joins; the number of voxels for a last branch.
        base: Voxels of its children, that is, before its own first voxel.
        chain: Times of all voxels, branch by branch, ascending within each.
        start: Where each branch begins in ``chain``; one more entry for the end.
        ranking: The voxels.
    """

    branch: Int32[np.ndarray, " n"]
    parent: Int64[np.ndarray, " b"]
    end: Int64[np.ndarray, " b"]
    base: Int64[np.ndarray, " b"]
    chain: Int64[np.ndarray, " n"]
    start: Int64[np.ndarray, " b+1"]
    ranking: Ranking

    @property
    def own(self) -> Int64[np.ndarray, " b"]:
        """Voxels that each branch adds to those of its children."""
        return np.diff(self.start)

    def level_at(self, times: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """Return the level of the voxel of each time; the number of levels for the end of time."""
        levels = np.append(self.ranking.level, np.int32(len(self.ranking.level_keys)))
        return levels[times].astype(np.int64)

    def grown(self, smallest: int) -> Int64[np.ndarray, " b"]:
        """Return the time from which each branch is a component of at least ``smallest`` voxels; its end if never."""
        place = np.maximum(smallest - self.base - 1, 0)
        reaches = place < self.own
        times = self.end.copy()
        times[reaches] = self.chain[self.start[:-1][reaches] + place[reaches]]
        return times


def component_tree(ranking: Ranking, shape: tuple[int, int, int]) -> ComponentTree:
    """Build the tree of the 26-connected components of a ranking; for ``shape`` see `find_basins`."""
    basins = find_basins(ranking, shape)
    parent, end, children = _merge(basins, len(ranking))
    branch = _branches(basins.basin, parent, end)
    packed = branch.astype(np.int64) << 32 | np.arange(len(ranking))
    packed.sort()
    own = np.bincount(branch, minlength=len(parent))
    return ComponentTree(
        branch=branch,
        parent=parent,
        end=end,
        base=_bases(own, children, len(basins.peaks)),
        chain=packed & 0xFFFFFFFF,
        start=np.append(0, np.cumsum(own)),
        ranking=ranking,
    )


def _merge(
    basins: Basins, count: int
) -> tuple[Int64[np.ndarray, " b"], Int64[np.ndarray, " b"], Int64[np.ndarray, "j 2"]]:
    """Join basins in order of their saddles; return parent and end of each branch, and the children of each join."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    peaks = len(basins.peaks)
    # One is added because a stored zero is no edge.
    graph = csr_matrix((basins.saddle + 1.0, (basins.first, basins.second)), shape=(peaks, peaks))
    edges = minimum_spanning_tree(graph).tocoo()
    order = np.argsort(edges.data, kind="stable")
    times = edges.data[order].astype(np.int64) - 1
    root, newest = list(range(peaks)), list(range(peaks))
    children = []
    for first, second in zip(edges.row[order].tolist(), edges.col[order].tolist(), strict=True):
        one, other = _root(root, first), _root(root, second)
        root[other] = one
        children.append((newest[one], newest[other]))
        newest[one] = peaks + len(children) - 1
    joined = np.array(children, dtype=np.int64).reshape(-1, 2)
    parent = np.full(peaks + len(joined), -1, dtype=np.int64)
    end = np.full(peaks + len(joined), count, dtype=np.int64)
    parent[joined] = np.arange(peaks, peaks + len(joined))[:, None]
    end[joined] = times[:, None]
    return parent, end, joined


def _root(root: list[int], place: int) -> int:
    while root[place] != place:
        root[place] = root[root[place]]
        place = root[place]
    return place


def _branches(
    basin: Int32[np.ndarray, " n"], parent: Int64[np.ndarray, " b"], end: Int64[np.ndarray, " b"]
) -> Int32[np.ndarray, " n"]:
    """Return the branch that grows by each voxel: from its basin's, the first one that ends after it."""
    branch = basin.copy()
    late = np.flatnonzero(end[basin] <= np.arange(len(basin)))
    # jumps[i] goes 2^i branches up; a last branch leads to itself, and its end is after every voxel.
    jump = np.where(parent < 0, np.arange(len(parent)), parent)
    jumps = [jump]
    while not np.array_equal(jump, further := jump[jump]):
        jumps.append(further)
        jump = further
    current = basin[late].astype(np.int64)
    for jump in reversed(jumps):
        target = jump[current]
        current = np.where(end[target] <= late, target, current)
    branch[late] = parent[current]
    return branch


def _bases(own: Int64[np.ndarray, " b"], children: Int64[np.ndarray, "j 2"], peaks: int) -> Int64[np.ndarray, " b"]:
    sizes = own.tolist()
    base = [0] * len(sizes)
    for number, (one, other) in enumerate(children.tolist(), start=peaks):
        base[number] = sizes[one] + sizes[other]
        sizes[number] += base[number]
    return np.array(base, dtype=np.int64)
