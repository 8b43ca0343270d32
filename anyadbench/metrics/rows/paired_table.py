"""Counts of all pixels and of the brain's pixels per bin of scores, from one addition for each pixel.

The brain is a part of the field, so a bin needs two counts but one memory access: both lie in one 64-bit integer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyadbench.metrics.core.sparse_histogram import PagedTable

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Int32, Int64

_MOST_PACKED = (1 << 31) - 1
"""Pixels that the halves of an integer can count before they are moved to tables of their own."""


class PairedTable:
    """Counts of the field and of the brain per bin.

    Args:
        bits: Leading bits of a score's ordered pattern that form a bin.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._packed, self._pixels = PagedTable(bits), 0
        self._wide: tuple[PagedTable, PagedTable] | None = None  # of the field and of the brain

    def count_keys(self, keys: Int32[np.ndarray, " p"], brain: Bool[np.ndarray, " p"]) -> None:
        """Count pixels.

        Args:
            keys: Their ordered keys.
            brain: Which of them lie in the brain.
        """
        for start in range(0, len(keys), _MOST_PACKED):
            part = slice(start, start + _MOST_PACKED)
            self._reserve(len(keys[part]))
            self._packed.count_keys(keys[part], brain[part])

    def add_table(self, other: PairedTable) -> None:
        """Add the counts of a table of as many bits or more."""
        shift = other.bits - self.bits
        self._reserve(other._pixels)
        _add(self._packed, other._packed, shift)
        if other._wide is not None:
            for mine, theirs in zip(self._widened(), other._wide, strict=True):
                _add(mine, theirs, shift)

    def clear(self) -> None:
        """Set all counts to 0; the table keeps its room."""
        self._packed.clear()
        self._pixels, self._wide = 0, None

    def field(self) -> PagedTable:
        """Return the counts of all pixels, in a table of their own."""
        return self._sum(self._packed.lower(), 0)

    def brain(self) -> PagedTable:
        """Return the counts of the brain's pixels, in a table of their own."""
        return self._sum(self._packed.upper(), 1)

    def _sum(self, table: PagedTable, number: int) -> PagedTable:
        if self._wide is not None:
            table.add_table(self._wide[number])
        return table

    def _reserve(self, pixels: int) -> None:
        """Make sure that so many more pixels cannot overflow half of an integer."""
        if self._pixels + pixels > _MOST_PACKED:
            for wide, part in zip(self._widened(), (self._packed.lower(), self._packed.upper()), strict=True):
                wide.add_table(part)
            self._packed.clear()
            self._pixels = 0
        self._pixels += pixels

    def _widened(self) -> tuple[PagedTable, PagedTable]:
        if self._wide is None:
            self._wide = PagedTable(self.bits), PagedTable(self.bits)
        return self._wide


def _add(mine: PagedTable, theirs: PagedTable, shift: int) -> None:
    if not shift:
        mine.add_table(theirs)
        return
    bins, values = theirs.items()
    mine.add(bins >> shift, values)
