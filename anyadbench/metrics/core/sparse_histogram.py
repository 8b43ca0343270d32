"""A table of integers over ordered float keys that stores only the octaves of scores that occur."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int32, Int64

OCTAVE_BITS = 9
"""Bits of sign and exponent of a float32: one page per octave of scores."""

_PAGES = 1 << OCTAVE_BITS
_MANTISSA_BITS = 23
_BLOCK = 1 << 16
_MISSING = np.iinfo(np.int64).min // 2
_WORTH_FILLING = 3


class _Scratch(threading.local):
    """Room for one block, of each thread: new memory for every call costs as much as a pass over it."""

    def __init__(self) -> None:
        self.bins, self.positions = np.empty(_BLOCK, dtype=np.int32), np.empty(_BLOCK, dtype=np.intp)
        self.ones = np.ones(_BLOCK, dtype=np.int64)
        self.marks = self.ones.view(np.bool_)[np.int64(1 << 32).tobytes().index(1) :: 8]


_scratch = _Scratch()


def _packed_ones(marked: Bool[np.ndarray, " p"]) -> Int64[np.ndarray, " p"]:
    # Only the lowest byte of the upper half changes from call to call.
    _scratch.marks[: len(marked)] = marked
    return _scratch.ones[: len(marked)]


class PagedTable:
    """int64 sums per bin; bin = key >> (32 - bits), so zero lies between the negative and the positive bins.

    Args:
        bits: Leading bits of a key that form a bin.
    """

    def __init__(self, bits: int) -> None:
        self._shift = 32 - bits
        self._page_bits = bits - OCTAVE_BITS
        # Index in the table = bin + the offset of its page.
        self._offsets: Int64[np.ndarray, " pages"] = np.full(_PAGES, _MISSING, dtype=np.int64)
        self._pages: Int64[np.ndarray, " held"] = np.empty(0, dtype=np.int64)
        self._table: Int64[np.ndarray, " bins"] = np.empty(0, dtype=np.int64)

    @property
    def bits(self) -> int:
        """Leading bits of a key that form a bin."""
        return 32 - self._shift

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self._table.nbytes

    def count_keys(self, keys: Int32[np.ndarray, " p"], marked: Bool[np.ndarray, " p"] | None = None) -> None:
        """Add one for each key.

        Args:
            keys: Ordered keys.
            marked: Keys that add 2^32 besides, so that the upper half of a sum counts them: one memory access for two
                counts.
        """
        bins, positions = _scratch.bins, _scratch.positions
        # Blocks that fit the processor's cache: the passes below then cost little compared with the counting.
        for start in range(0, len(keys), _BLOCK):
            block = keys[start : start + _BLOCK]
            size = len(block)
            np.right_shift(block, self._shift, out=bins[:size])
            self._place(bins[:size], positions[:size])
            values = 1 if marked is None else _packed_ones(marked[start : start + size])
            np.add.at(self._table, positions[:size], values)

    def _place(self, bins: Int32[np.ndarray, " b"], positions: Int64[np.ndarray, " b"]) -> None:
        """Write the indices of the bins to ``positions``; the bins are overwritten."""
        offset = self._offset(bins)
        if offset.ndim == 0:
            bins += np.int32(offset)  # an addition that widens takes more than twice as long as these two passes
            np.copyto(positions, bins)
        else:
            np.add(bins, offset, out=positions)

    def add(self, bins: Int64[np.ndarray, " b"], values: Int64[np.ndarray, " b"]) -> None:
        """Add a value to each bin; bins may repeat."""
        if len(bins):
            offset = self._offset(bins)
            np.add.at(self._table, bins + offset, values)

    def clear(self) -> None:
        """Set all sums to 0; the table keeps its room."""
        self._table.fill(0)

    def lower(self) -> PagedTable:
        """Return the lower 32 bits of all sums, which must not be negative."""
        return self._twin(self._table & 0xFFFFFFFF)

    def upper(self) -> PagedTable:
        """Return the upper 32 bits of all sums, which must not be negative."""
        return self._twin(self._table >> 32)

    def copy(self) -> PagedTable:
        """Return a table of the same sums that shares nothing with this one."""
        return self._twin(self._table.copy())

    def negative(self) -> PagedTable:
        """Return the table of all sums times -1."""
        return self._twin(-self._table)

    def _twin(self, table: Int64[np.ndarray, " bins"]) -> PagedTable:
        twin = PagedTable(self.bits)
        twin._offsets, twin._pages, twin._table = self._offsets.copy(), self._pages.copy(), table
        return twin

    def add_table(self, other: PagedTable) -> None:
        """Add the sums of a table of as many bits."""
        if np.array_equal(self._pages, other._pages):
            self._table += other._table
        else:
            self.add(*other.items())

    def items(self) -> tuple[Int64[np.ndarray, " b"], Int64[np.ndarray, " b"]]:
        """Return the bins that are not zero, ascending, and their sums."""
        positions = np.flatnonzero(self._table != 0)  # on booleans it is several times as fast
        slots = positions >> self._page_bits
        return positions - self._offsets[self._pages[slots]], self._table[positions]

    def at(self, bins: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
        """Return the sums of the given bins."""
        offsets = self._offsets[self._page(bins)]
        held = offsets != _MISSING
        result = np.zeros(len(bins), dtype=np.int64)
        result[held] = self._table[bins[held] + offsets[held]]
        return result

    def above(self, bins: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
        """Return, for each of the given bins, the sum of all bins above it.

        Args:
            bins: Bins that are not zero, so that there is room for them.
        """
        summed = np.cumsum(self._table)
        result: Int64[np.ndarray, " b"] = summed[-1:] - summed[bins + self._offsets[self._page(bins)]]
        return result

    def total(self) -> int:
        """Return the sum of all bins."""
        return int(self._table.sum())

    def _page(self, bins: np.ndarray) -> np.ndarray:
        return (bins >> self._page_bits) + _PAGES // 2

    def _offset(self, bins: np.ndarray) -> np.ndarray | np.int64:
        """Return the offset from each bin to its index: one number if the pages are contiguous."""
        first, last = int(self._page(bins.min())), int(self._page(bins.max()))
        span = self._offsets[first : last + 1]
        if span[0] != _MISSING and (span == span[0]).all():
            return np.int64(span[0])
        pages = self._page(bins).astype(np.intp)
        offsets = self._offsets[pages]
        if (offsets == _MISSING).any():
            self._hold(np.flatnonzero(np.bincount(pages, minlength=_PAGES)))
            offsets = self._offsets[pages]
        return offsets

    def _hold(self, wanted: np.ndarray) -> None:
        """Make room for pages, in ascending order, and fill small gaps between them."""
        pages = np.union1d(self._pages, wanted)
        gaps = [np.arange(a + 1, b) for a, b in pairwise(pages) if b - a <= _WORTH_FILLING]
        pages = np.concatenate([pages, *gaps])
        pages.sort()
        size = 1 << self._page_bits
        table = np.zeros(len(pages) * size, dtype=np.int64)
        for slot, page in enumerate(self._pages):
            target = int(np.searchsorted(pages, page)) * size
            table[target : target + size] = self._table[slot * size : (slot + 1) * size]
        self._pages, self._table = pages, table
        self._offsets[pages] = (np.arange(len(pages)) - (pages - _PAGES // 2)) * size
