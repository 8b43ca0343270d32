"""Histograms of the whole field and of the brain, of a row and of each of its subjects, from one count of each pixel.

The lowest bit of a bin separates the brain from its surroundings, and the coarser histogram of a subject follows from
its part of the row's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.arrays import as_maps
from anyadbench.metrics.core.ordered_bits import float32_keys
from anyadbench.metrics.core.sparse_histogram import PagedTable
from anyadbench.metrics.core.streaming import DEFAULT_BITS, PixelState

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Int64

    from anyadbench.metrics.rows.split_counts import SlicePixels

SUBJECT_BITS = 20
"""Bits of the subjects' histograms (see ``docs/metrics.md``)."""


class SplitBins:
    """Counts per bin of scores, of the brain and of its surroundings.

    Args:
        bits: Leading bits of a score's ordered pattern that form a bin, 12 to 24.
    """

    def __init__(self, bits: int = DEFAULT_BITS) -> None:
        self.bits = bits
        self._counts = PagedTable(bits + 1)
        self._lesions = PixelState(bits), PixelState(bits)  # of the field and of the brain

    def add(self, maps: Float32[np.ndarray, "n h w"], slices: Sequence[SlicePixels]) -> None:
        """Count the pixels of slices.

        Raises:
            UserError: If the maps are not slices x height x width.
            ScoreError: If a score is NaN or infinite; the state is unchanged.
        """
        for scores, places in zip(as_maps(maps).reshape(len(maps), -1), slices, strict=True):
            keys = float32_keys(scores)
            _count(self._counts, keys, places)
            self.add_lesions(keys, places)

    def add_lesions(self, keys: Int32[np.ndarray, " p"], places: SlicePixels) -> None:
        """Add the lesion pixels among the keys of one slice, without counting them among all pixels."""
        for state, lesions in zip(self._lesions, (places.field_lesions, places.brain_lesions), strict=True):
            if lesions.count:
                state.add_lesions(keys[lesions.index], lesions)

    def add_counts(self, bins: Int64[np.ndarray, " b"], counts: Int64[np.ndarray, " b"], bits: int) -> None:
        """Add pixels that were counted in bins of as many bits or more.

        Args:
            bins: Twice the bin of the score, and 1 more inside the brain.
            counts: Pixels in each.
            bits: Bits of the score's bin.
        """
        shift = bits - self.bits
        self._counts.add(((bins >> (shift + 1)) << 1) | (bins & 1) if shift else bins, counts)

    def field(self) -> PixelState:
        """Return the state of the whole field."""
        return self._lesions[0].with_pixels(*self._counts.halves())

    @property
    def inside(self) -> PixelState:
        """The state of the brain's pixels; computed at each call."""
        return self._lesions[1].with_pixels(self._counts.halves()[1])


class RowBins:
    """The histograms of a row and of its subjects.

    Attributes:
        subjects: Coarser histogram of each subject.
    """

    def __init__(self) -> None:
        self.subjects: dict[str, SplitBins] = {}
        self._pooled = SplitBins()
        # Pixels of the last subject, not yet in the other two: they are counted once and added to both as bins.
        self._subject = ""
        self._counts = PagedTable(DEFAULT_BITS + 1)

    def add(self, subject: str, scores: Float32[np.ndarray, " p"], places: SlicePixels) -> None:
        """Add the finite scores of one slice; slices of one subject in a row are fastest."""
        if subject != self._subject:
            self.close()
            self._subject = subject
        keys = float32_keys(scores)
        _count(self._counts, keys, places)
        for state in (self._pooled, self.subjects.setdefault(subject, SplitBins(SUBJECT_BITS))):
            state.add_lesions(keys, places)

    def close(self) -> None:
        """Add what was counted of the last subject to the histograms."""
        bins, counts = self._counts.items()
        if len(bins):
            for state in (self._pooled, self.subjects[self._subject]):
                state.add_counts(bins, counts, DEFAULT_BITS)
            self._counts.clear()

    @property
    def pooled(self) -> SplitBins:
        """The histogram of all subjects."""
        self.close()
        return self._pooled


def _count(table: PagedTable, keys: Int32[np.ndarray, " p"], places: SlicePixels) -> None:
    surroundings = places.surroundings
    if places.counted is not None:
        keys, surroundings = keys[places.counted], surroundings[places.counted]
    table.count_keys(keys, surroundings)
