"""The overlap rule at every threshold: one-to-one pairs, without going through the thresholds one by one.

Almost everywhere a lesion has one possible cluster and the cluster one possible lesion, and where one cluster has
several lesions that have no other, the largest overlap wins. Both are decided for whole arrays. What is left, several
lesions *and* several clusters in one knot, is decided range by range by an assignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.lesions.matching import pair_up
from anyadbench.metrics.lesions.overlapping import PossiblePairs, possible_pairs
from anyadbench.metrics.lesions.rules import OverlapRule
from anyadbench.metrics.lesions.touching import count_between

if TYPE_CHECKING:
    from jaxtyping import Int64

    from anyadbench.metrics.lesions.targets import Targets
    from anyadbench.metrics.lesions.tree import ComponentTree

_MOST = OverlapRule()

Ranges = tuple["Int64[np.ndarray, ' m']", "Int64[np.ndarray, ' m']", "Int64[np.ndarray, ' m']"]
"""Lesion, first level, first level after the last."""


def sweep_overlaps(
    tree: ComponentTree, targets: Targets, rule: OverlapRule, smallest: int
) -> tuple[Int64[np.ndarray, " l"], Int64[np.ndarray, " k"]]:
    """Return the first level at which each lesion is found, and the number of false alarms at each level.

    Args:
        tree: Of the scan's scores.
        targets: The lesions.
        rule: An overlap rule with the assignment ``most``.
        smallest: Voxels of the smallest cluster.

    Returns:
        Levels from 0 on, and the number of levels for a lesion that is never found; counts by level.

    Raises:
        UserError: If the assignment is another.
    """
    if rule.assignment != "most":
        raise UserError("A greedy assignment is defined at one threshold only; use 'most' to score all thresholds.")
    levels = len(tree.ranking.level_keys)
    pairs = possible_pairs(tree, targets, rule, smallest)
    lesion, first, last = _united(_paired(pairs), levels)
    found = np.full(len(targets.voxels), levels, dtype=np.int64)
    np.minimum.at(found, lesion, first)
    candidates = count_between(tree.level_at(tree.grown(smallest)), tree.level_at(tree.end), levels)
    if rule.spare_overlapping:
        states = np.unique(np.stack([pairs.branch, pairs.first, pairs.last]), axis=1)
        return found, candidates - count_between(states[1], states[2], levels)
    return found, candidates - count_between(first, last, levels)


def _paired(pairs: PossiblePairs) -> Ranges:
    """Return the ranges in which each lesion has a cluster; ranges of one lesion may overlap."""
    order = np.lexsort((pairs.lesion, -pairs.overlap, pairs.first, pairs.branch))
    branch, first = pairs.branch[order], pairs.first[order]
    leads = np.append(True, (branch[1:] != branch[:-1]) | (first[1:] != first[:-1]))[: len(order)]
    wins = np.zeros(len(order), dtype=np.bool_)
    wins[order] = leads
    # A state is contested if the next row in this order is of the same state.
    contested = np.zeros(len(order), dtype=np.bool_)
    contested[order] = ~leads | ~np.append(leads[1:], True)[: len(order)]
    lesion, first, last = pairs.lesion[wins], pairs.first[wins], pairs.last[wins]
    if not contested.any():
        return lesion, first, last
    parts = []
    for group in _groups(pairs, contested):
        zones = _knots(pairs, contested, group)
        if len(zones):
            member = np.isin(lesion, group)
            parts.append(_outside(lesion[member], first[member], last[member], zones))
            parts.append(_assigned(pairs.only(np.isin(pairs.lesion, group)), zones))
            lesion, first, last = lesion[~member], first[~member], last[~member]
    parts.append((lesion, first, last))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def _groups(pairs: PossiblePairs, contested: np.ndarray) -> list[Int64[np.ndarray, " g"]]:
    """Return the lesions that contend with each other for clusters, in groups."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    lesions, row = np.unique(pairs.lesion[contested], return_inverse=True)
    branches, column = np.unique(pairs.branch[contested], return_inverse=True)
    size = len(lesions) + len(branches)
    graph = coo_matrix((np.ones(len(row)), (row, column + len(lesions))), shape=(size, size))
    part = connected_components(graph, directed=False)[1][: len(lesions)]
    return [lesions[part == number] for number in np.unique(part)]


def _knots(pairs: PossiblePairs, contested: np.ndarray, group: Int64[np.ndarray, " g"]) -> Int64[np.ndarray, "z 2"]:
    """Return the disjoint ranges of levels in which a contested lesion of the group has several clusters."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for lesion in group:
        mine = pairs.lesion == lesion
        levels, steps = _steps(pairs.first[mine], pairs.last[mine])
        several = np.flatnonzero(np.cumsum(steps) > 1)
        if len(several) == 0:
            continue
        lows, highs = levels[several], levels[several + 1]
        firsts, lasts = pairs.first[mine & contested], pairs.last[mine & contested]
        order = np.argsort(firsts)
        firsts, lasts = firsts[order], lasts[order]
        # Contested ranges of a lesion may overlap, but they are few against the thresholds.
        for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
            touching = (firsts < high) & (lasts > low)
            if touching.any():
                found.append(np.stack([np.maximum(firsts[touching], low), np.minimum(lasts[touching], high)], axis=1))
    return _disjoint(np.concatenate(found))


def _steps(
    first: Int64[np.ndarray, " m"], last: Int64[np.ndarray, " m"]
) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
    """Return the levels at which the number of open ranges changes, and by how much."""
    levels, place = np.unique(np.concatenate([first, last]), return_inverse=True)
    steps = np.bincount(place[: len(first)], minlength=len(levels))
    return levels, steps - np.bincount(place[len(first) :], minlength=len(levels))


def _disjoint(ranges: Int64[np.ndarray, "m 2"]) -> Int64[np.ndarray, "z 2"]:
    if len(ranges) == 0:
        return ranges
    levels, steps = _steps(ranges[:, 0], ranges[:, 1])
    open_ranges = np.cumsum(steps) > 0
    starts = levels[open_ranges & ~np.append(False, open_ranges[:-1])]
    ends = levels[~open_ranges & np.append(False, open_ranges[:-1])]
    return np.stack([starts, ends], axis=1)


def _outside(
    lesion: Int64[np.ndarray, " m"],
    first: Int64[np.ndarray, " m"],
    last: Int64[np.ndarray, " m"],
    zones: Int64[np.ndarray, "z 2"],
) -> Ranges:
    """Cut zones out of ranges."""
    for low, high in zones:
        before, after = np.minimum(last, low), np.maximum(first, high)
        lesion = np.concatenate([lesion, lesion])
        first, last = np.concatenate([first, after]), np.concatenate([before, last])
        kept = last > first
        lesion, first, last = lesion[kept], first[kept], last[kept]
    return lesion, first, last


def _assigned(pairs: PossiblePairs, zones: Int64[np.ndarray, "z 2"]) -> Ranges:
    """Decide the zones of a group range by range."""
    found: list[tuple[int, int, int]] = []
    for low, high in zones.tolist():
        near = pairs.only((pairs.first < high) & (pairs.last > low))
        cuts = np.unique(np.concatenate([near.first, near.last, [low, high]]).clip(low, high))
        opens = np.argsort(near.first, kind="stable")
        following, active = 0, np.empty(0, dtype=np.int64)
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            upto = int(np.searchsorted(near.first[opens], start, side="right"))
            active = np.concatenate([active[near.last[active] > start], opens[following:upto]])
            active = active[near.last[active] > start]
            following = upto
            chosen = pair_up(near.lesion[active], near.branch[active], near.overlap[active], _MOST)
            found += [(int(near.lesion[active[place]]), start, stop) for place in chosen]
    columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


def _united(ranges: Ranges, levels: int) -> Ranges:
    """Join the ranges of each lesion that overlap or touch."""
    lesion, first, last = ranges
    order = np.lexsort((first, lesion))
    shift = lesion[order] * (levels + 2)
    first, last = first[order] + shift, last[order] + shift
    reach = np.maximum.accumulate(last) if len(last) else last
    starts = np.flatnonzero(np.append(True, first[1:] > reach[:-1])[: len(first)])
    ends = reach[np.append(starts[1:], len(first)) - 1] if len(first) else reach
    return lesion[order][starts], first[starts] - shift[starts], ends - shift[starts]
