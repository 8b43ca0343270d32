"""A table of integers over ordered float keys that stores only the octaves of scores that occur."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64

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


_scratch = _Scratch()


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
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self._table.nbytes

    def count_keys(self, keys: Int32[np.ndarray, " p"], even: Int32[np.ndarray, " p"] | None = None) -> None:
        """Add one for each key.

        Args:
            keys: Ordered keys.
            even: If given, the lowest bit of a key's bin is not the key's own but 0 where this is 1, and 1 where it
                is 0: one table then counts two kinds of pixels.
        """
        bins, positions = _scratch.bins, _scratch.positions
        # Blocks that fit the processor's cache: the passes below then cost little compared with the counting.
        for start in range(0, len(keys), _BLOCK):
            block = keys[start : start + _BLOCK]
            size = len(block)
            np.right_shift(block, self._shift, out=bins[:size])
            if even is not None:
                np.bitwise_or(bins[:size], 1, out=bins[:size])
                np.subtract(bins[:size], even[start : start + size], out=bins[:size])
            offset = self._offset(bins[:size])
            np.add(bins[:size], offset, out=positions[:size])
            np.add.at(self._table, positions[:size], 1)

    def add(self, bins: Int64[np.ndarray, " b"], values: Int64[np.ndarray, " b"]) -> None:
        """Add a value to each bin; bins may repeat."""
        if len(bins):
            offset = self._offset(bins)
            np.add.at(self._table, bins + offset, values)

    def clear(self) -> None:
        """Set all sums to 0; the table keeps its room."""
        self._table.fill(0)

    def halves(self) -> tuple[PagedTable, PagedTable]:
        """Return the sums of the even and of the odd bins, as tables of one bit less."""
        found = []
        for lowest in (0, 1):
            half = PagedTable(31 - self._shift)
            half._offsets = np.where(self._offsets == _MISSING, _MISSING, self._offsets >> 1)
            half._pages, half._table = self._pages.copy(), self._table[lowest::2].copy()
            found.append(half)
        return found[0], found[1]

    def copy(self) -> PagedTable:
        """Return a table of the same sums that shares nothing with this one."""
        twin = PagedTable(32 - self._shift)
        twin._offsets, twin._pages, twin._table = self._offsets.copy(), self._pages.copy(), self._table.copy()
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
