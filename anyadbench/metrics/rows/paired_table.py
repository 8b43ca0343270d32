"""Counts of all pixels and of the brain's pixels per bin of scores, from one addition for each pixel.

The brain is a part of the field, so a bin needs two counts but one memory access: both lie in one 64-bit integer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.sparse_histogram import PagedTable
from anyadbench.metrics.core.streaming import checked_components, component_weights

if TYPE_CHECKING:
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


class PairedLesions:
    """Lesion pixels of the field and of the brain per bin, and the weights of their components.

    A component that ends at the brain's edge has another area inside, so its pixels another weight. Only those weights
    are added a second time, as the difference.

    Args:
        bits: Leading bits of a score's ordered pattern that form a bin.
    """

    def __init__(self, bits: int) -> None:
        self._pixels, self._weights, self._excess = PairedTable(bits), PagedTable(bits), PagedTable(bits)
        self.components = 0, 0  # of the field and of the brain

    def add(
        self,
        keys: Int32[np.ndarray, " p"],
        areas: Int64[np.ndarray, " p"],
        brain_areas: Int64[np.ndarray, " p"],
        components: tuple[int, int],
    ) -> None:
        """Add lesion pixels.

        Args:
            keys: Ordered keys of those of the field.
            areas: Areas of their components.
            brain_areas: The same inside the brain; 0 for pixels outside.
            components: Number of components of the field and of the brain.

        Raises:
            UserError: If there are too many components.
        """
        field, brain = (checked_components(a + b) for a, b in zip(self.components, components, strict=True))
        self.components = field, brain
        self._pixels.count_keys(keys, brain_areas > 0)
        bins, weights = keys >> (32 - self._pixels.bits), component_weights(areas)
        self._weights.add(bins, weights)
        other = np.flatnonzero(areas != brain_areas)
        self._excess.add(bins[other], weights[other] - component_weights(brain_areas[other]))

    def field(self) -> tuple[PagedTable, PagedTable]:
        """Return pixels and weights of the field, in tables of their own."""
        return self._pixels.field(), self._weights.copy()

    def brain(self) -> tuple[PagedTable, PagedTable]:
        """Return pixels and weights of the brain, in tables of their own."""
        weights = self._weights.copy()
        weights.add_table(self._excess.negative())
        return self._pixels.brain(), weights


def _add(mine: PagedTable, theirs: PagedTable, shift: int) -> None:
    if not shift:
        mine.add_table(theirs)
        return
    bins, values = theirs.items()
    mine.add(bins >> shift, values)
