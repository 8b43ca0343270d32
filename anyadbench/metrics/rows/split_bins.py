"""Histograms of the whole field and of the brain, of a row and of each of its subjects, from one count of each pixel.

Both counts of a bin are one integer, and the coarser histogram of a subject follows from its part of the row's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.arrays import as_maps
from anyadbench.metrics.core.ordered_bits import float32_keys
from anyadbench.metrics.core.streaming import DEFAULT_BITS, PixelState
from anyadbench.metrics.rows.paired_table import PairedLesions, PairedTable

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32

    from anyadbench.metrics.rows.split_counts import SlicePixels

SUBJECT_BITS = 20
"""Bits of the subjects' histograms (see ``docs/metrics.md``)."""


class _Lesions:
    """Keys of lesion pixels of several slices: adding those of all at once is faster than slice by slice."""

    def __init__(self) -> None:
        self._held: list[tuple[Int32[np.ndarray, " p"], SlicePixels]] = []

    def take(self, keys: Int32[np.ndarray, " p"], places: SlicePixels) -> None:
        """Keep the lesion pixels among the keys of one slice."""
        if places.field_lesions.count:
            self._held.append((keys[places.field_lesions.index], places))

    def add_to(self, *states: PairedLesions) -> None:
        """Add what was kept to each state, and forget it."""
        if not self._held:
            return
        keys, slices = np.concatenate([keys for keys, _ in self._held]), [places for _, places in self._held]
        areas = np.concatenate([places.field_lesions.areas for places in slices])
        brain_areas = np.concatenate([places.brain_areas for places in slices])
        counts = sum(one.field_lesions.count for one in slices), sum(one.brain_lesions.count for one in slices)
        for state in states:
            state.add(keys, areas, brain_areas, counts)
        self._held.clear()


class SplitBins:
    """Counts per bin of scores, of the whole field and of the brain.

    Args:
        bits: Leading bits of a score's ordered pattern that form a bin, 12 to 24.
    """

    def __init__(self, bits: int = DEFAULT_BITS) -> None:
        self.bits = bits
        self.counts, self.lesions = PairedTable(bits), PairedLesions(bits)

    def add(self, maps: Float32[np.ndarray, "n h w"], slices: Sequence[SlicePixels]) -> None:
        """Count the pixels of slices.

        Raises:
            UserError: If the maps are not slices x height x width.
            ScoreError: If a score is NaN or infinite; the state is unchanged.
        """
        lesions = _Lesions()
        for scores, places in zip(as_maps(maps).reshape(len(maps), -1), slices, strict=True):
            keys = float32_keys(scores)
            _count(self.counts, keys, places)
            lesions.take(keys, places)
        lesions.add_to(self.lesions)

    def field(self) -> PixelState:
        """Return the state of the whole field."""
        return PixelState.of_tables(self.lesions.components[0], self.counts.field(), *self.lesions.field())

    @property
    def inside(self) -> PixelState:
        """The state of the brain's pixels; computed at each call."""
        return PixelState.of_tables(self.lesions.components[1], self.counts.brain(), *self.lesions.brain())


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
        self._counts, self._lesions = PairedTable(DEFAULT_BITS), _Lesions()

    def add(self, subject: str, scores: Float32[np.ndarray, " p"], places: SlicePixels) -> None:
        """Add the finite scores of one slice; slices of one subject in a row are fastest."""
        if subject != self._subject or subject not in self.subjects:
            self.close()
            self._subject = subject
            self.subjects.setdefault(subject, SplitBins(SUBJECT_BITS))
        keys = float32_keys(scores)
        _count(self._counts, keys, places)
        self._lesions.take(keys, places)

    def close(self) -> None:
        """Add what was counted of the last subject to the histograms."""
        if self._subject not in self.subjects:
            return
        states = self._pooled, self.subjects[self._subject]
        for state in states:
            state.counts.add_table(self._counts)
        self._lesions.add_to(*(state.lesions for state in states))
        self._counts.clear()

    @property
    def pooled(self) -> SplitBins:
        """The histogram of all subjects."""
        self.close()
        return self._pooled


def _count(table: PairedTable, keys: Int32[np.ndarray, " p"], places: SlicePixels) -> None:
    if places.counted is None:
        table.count_keys(keys, places.brain)
    else:
        table.count_keys(keys[places.counted], places.brain[places.counted])
