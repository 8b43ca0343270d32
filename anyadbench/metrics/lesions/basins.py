"""Peaks of a score volume, and the saddles through which their surroundings join as a threshold falls.

Every voxel points to the highest of its 26 neighbours; following the pointers ends at a peak, and the voxels that end
at one peak are its basin. At a threshold that reaches a voxel, the whole way to its peak is above the threshold, too.
So two voxels are connected if and only if their basins are, and basins join only at a voxel whose higher neighbours
are not already connected with each other within its own 3 x 3 x 3 neighbourhood: a few thousand voxels of a smooth
map, a sixth of white noise. Everything before the last step is a handful of passes over whole arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64, UInt32

    from anyadbench.metrics.lesions.ranking import Ranking

_CENTRE = 13
_CODES = np.arange(27)
_SHIFTS = (np.uint32(1), np.uint32(3), np.uint32(9))
"""Neighbours are numbered 9 z + 3 y + x, so a step along an axis is a shift of a 27-bit set."""


def _bit_set(codes: np.ndarray) -> np.uint32:
    return np.uint32(sum(1 << int(code) for code in codes))


_NOT_LAST = tuple(_bit_set(_CODES[_CODES // step % 3 != 2]) for step in (1, 3, 9))
_NOT_FIRST = tuple(_bit_set(_CODES[_CODES // step % 3 != 0]) for step in (1, 3, 9))


@dataclass(frozen=True)
class Basins:
    """Basins, numbered from the highest peak down, and the pairs that saddles join.

    Attributes:
        basin: Basin of each voxel, by time.
        peaks: Time of each basin's peak, ascending.
        first: One basin of each pair.
        second: The other.
        saddle: Time of the earliest voxel found to join the pair.
    """

    basin: Int32[np.ndarray, " n"]
    peaks: Int64[np.ndarray, " p"]
    first: Int64[np.ndarray, " e"]
    second: Int64[np.ndarray, " e"]
    saddle: Int64[np.ndarray, " e"]


def find_basins(ranking: Ranking, shape: tuple[int, int, int]) -> Basins:
    """Find the basins of a ranking.

    Args:
        ranking: Of the brain voxels of a box that has a margin of one voxel outside the brain on every side.
        shape: Of the box.
    """
    count = len(ranking)
    # Heights are count for the first voxel in time, 1 for the last, and 0 outside the brain.
    heights = np.zeros(shape, dtype=np.int32)
    heights.ravel()[ranking.voxels] = np.arange(count, 0, -1, dtype=np.int32)
    highest = count - _window_maximum(heights).ravel()[ranking.voxels]
    basin, peaks = _follow(highest)
    numbers = np.full(shape, -1, dtype=np.int32)
    numbers.ravel()[ranking.voxels] = basin
    at_border = _window_maximum(numbers) != -_window_maximum(np.where(heights > 0, -numbers, np.int32(-(2**31) + 1)))
    # Positions ascend, so that the reads of the neighbours are close together in memory.
    positions = np.flatnonzero(at_border & (heights > 0))
    first, second, saddle = _saddles(positions, highest, heights, numbers, ranking.voxels)
    return Basins(basin, peaks, *_distinct(first, second, saddle, len(peaks)))


def _window_maximum(values: Int32[np.ndarray, "d h w"]) -> Int32[np.ndarray, "d h w"]:
    """Return the maximum of every 3 x 3 x 3 window, one axis after another."""
    for axis in range(3):
        lower = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        upper = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        widened = values.copy()
        np.maximum(widened[lower], values[upper], out=widened[lower])
        np.maximum(widened[upper], values[lower], out=widened[upper])
        values = widened
    return values


def _follow(highest: Int64[np.ndarray, " n"]) -> tuple[Int32[np.ndarray, " n"], Int64[np.ndarray, " p"]]:
    """Follow pointers (as times) to the peaks; each round doubles the length of the way that is followed."""
    peaks = np.flatnonzero(highest == np.arange(len(highest)))
    ends = highest
    while True:
        further = ends[ends]
        if np.array_equal(further, ends):
            break
        ends = further
    number = np.zeros(len(highest), dtype=np.int32)
    number[peaks] = np.arange(len(peaks), dtype=np.int32)
    return number[ends], peaks


def _saddles(
    positions: Int64[np.ndarray, " b"],
    highest: Int64[np.ndarray, " n"],
    heights: Int32[np.ndarray, "d h w"],
    numbers: Int32[np.ndarray, "d h w"],
    voxels: Int64[np.ndarray, " n"],
) -> tuple[Int64[np.ndarray, " e"], Int64[np.ndarray, " e"], Int64[np.ndarray, " e"]]:
    """Return the pairs of basins that meet at a voxel whose higher neighbours fall into several parts."""
    _, rows, columns = heights.shape
    offsets = (_CODES // 9 - 1) * rows * columns + (_CODES // 3 % 3 - 1) * columns + _CODES % 3 - 1
    flat, basins = heights.ravel(), numbers.ravel()
    own = flat[positions]
    higher = np.zeros(len(positions), dtype=np.uint32)
    for code, offset in enumerate(offsets):
        if code != _CENTRE:
            higher |= (flat[positions + offset] > own).astype(np.uint32) << np.uint32(code)
    times = len(highest) - own.astype(np.int64)
    # A peak has no higher neighbour; its pointer to itself is the centre, which is in no set.
    code_of = np.searchsorted(offsets, voxels[highest[times]] - positions).astype(np.uint32)
    rest = higher & ~_reached(np.uint32(1) << code_of, higher)
    parts = list(_parts(rest))
    if not parts:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, empty
    where, codes = (np.concatenate(column) for column in zip(*parts, strict=True))
    at = positions[where]
    return basins[at].astype(np.int64), basins[at + offsets[codes]].astype(np.int64), times[where]


def _parts(rest: UInt32[np.ndarray, " b"]) -> Iterator[tuple[Int64[np.ndarray, " w"], Int64[np.ndarray, " w"]]]:
    """Yield, for the sets that are not empty, one member of a connected part, then of another, until none is left."""
    where = np.flatnonzero(rest)
    rest = rest[where]
    while len(where):
        lowest = rest & (~rest + np.uint32(1))
        yield where, np.bitwise_count(lowest - np.uint32(1)).astype(np.int64)
        rest = rest & ~_reached(lowest, rest)
        left = rest != 0
        where, rest = where[left], rest[left]


def _reached(start: UInt32[np.ndarray, " b"], allowed: UInt32[np.ndarray, " b"]) -> UInt32[np.ndarray, " b"]:
    """Return what of ``allowed`` is 26-connected with ``start`` within a 3 x 3 x 3 neighbourhood."""
    reached, active = start.copy(), np.arange(len(start))
    while len(active):
        grown = reached[active]
        for shift, not_last, not_first in zip(_SHIFTS, _NOT_LAST, _NOT_FIRST, strict=True):
            grown = grown | ((grown & not_last) << shift) | ((grown & not_first) >> shift)
        grown &= allowed[active]
        changed = (grown != reached[active]) & (grown != allowed[active])
        reached[active] = grown
        active = active[changed]
    return reached


def _distinct(
    first: Int64[np.ndarray, " e"], second: Int64[np.ndarray, " e"], saddle: Int64[np.ndarray, " e"], count: int
) -> tuple[Int64[np.ndarray, " f"], Int64[np.ndarray, " f"], Int64[np.ndarray, " f"]]:
    """Keep the earliest saddle of each pair of different basins."""
    pair = np.minimum(first, second) * count + np.maximum(first, second)
    kept = np.flatnonzero(first != second)
    order = kept[np.lexsort((saddle[kept], pair[kept]))]
    pair, saddle = pair[order], saddle[order]
    new = np.append(True, pair[1:] != pair[:-1])[: len(pair)]
    return pair[new] // count, pair[new] % count, saddle[new]
