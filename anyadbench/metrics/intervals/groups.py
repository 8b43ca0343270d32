"""Tie groups and rank intervals, both read off which method beats which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64


def tie_groups(point: Float64[np.ndarray, " m"], beats: Bool[np.ndarray, "m m"]) -> Int64[np.ndarray, " m"]:
    """Return the tie group of each method, from 1; 0 for a method without a value.

    In order of falling value (equal values in the order given), the first of a group leads it, and the group ends
    before the first method that the leader beats, which leads the next. Every boundary is thus a significant
    difference, and all of them hold together with the board's family-wise confidence. Within a group the order may be
    chance.

    Args:
        point: Values of the methods.
        beats: Whether the i-th is significantly better than the j-th (`anyadbench.metrics.intervals.pairs.Pairs`).
    """
    groups = np.zeros(len(point), dtype=np.int64)
    leader, group = -1, 0
    for place in np.argsort(-point, kind="stable"):
        if np.isnan(point[place]):
            continue
        if leader < 0 or beats[leader, place]:
            leader, group = int(place), group + 1
        groups[place] = group
    return groups


def rank_intervals(
    beats: Bool[np.ndarray, "m m"], ranked: Bool[np.ndarray, " m"] | None = None
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Return the best and the worst rank of each method that the tests leave open, for all methods at once.

    From 1 + the number of methods that are significantly better, to the number of methods less those that are
    significantly worse. With a family-wise level of 5 % over all pairs, all true ranks lie in their intervals with 95 %
    confidence (Mogstad, Romano, Shaikh and Wilhelm, Rev. Econ. Stud. 2024).

    Args:
        beats: Whether the i-th is significantly better than the j-th.
        ranked: Which methods count; the others have rank 0 to 0.
    """
    counted = np.ones(len(beats), dtype=np.bool_) if ranked is None else ranked
    held = beats & counted[:, None] & counted[None, :]
    low, high = 1 + held.sum(axis=0), counted.sum() - held.sum(axis=1)
    return np.where(counted, low, 0), np.where(counted, high, 0)
