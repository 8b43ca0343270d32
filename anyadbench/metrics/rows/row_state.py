"""The counts of one row while its slices are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anyadbench.metrics.boxes.numbers import BoxImage
from anyadbench.metrics.core.arrays import as_maps
from anyadbench.metrics.core.exact import PixelStats
from anyadbench.metrics.rows.low_rates import LowRates
from anyadbench.metrics.rows.row_pixels import RowPixels, exact_pixels, streaming_pixels
from anyadbench.metrics.rows.split_bins import RowBins
from anyadbench.metrics.rows.split_counts import SlicePixels, SplitCounts

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

    from anyadbench.metrics.core.thresholds import Quantile

SUBJECT_CHUNK = 2**20
"""Unsorted scores that each subject's exact state holds."""

AUPIMO = "aupimo"
"""Column of the slice table: the AUPIMO of a slice inside the brain; empty for a slice without lesion there."""

Record = dict[str, Any]


@dataclass
class RowState:
    """The counts of one row: one subset on one test set.

    Attributes:
        label: Subset label.
        exact: Whether scores are compared exactly, not by bins.
        subjects: Pixel scores by subject, for an exact row.
        bins: Pixel histograms, for one that is not.
        records: One entry per slice for ``scores/slices.csv``.
        emptied: Abnormal slices without a lesion pixel on the scoring grid.
        slices: Most slices that the row can have.
        boxes: Subject, scan, slice number and boxes of each slice, where lesions are marked by boxes.
        low_rates: Scores from which AUPIMO follows.
    """

    label: str
    exact: bool
    subjects: dict[str, SplitCounts] = field(default_factory=dict)
    bins: RowBins = field(default_factory=RowBins)
    records: list[Record] = field(default_factory=list)
    emptied: int = 0
    slices: int = 0
    boxes: list[tuple[str, str, int, BoxImage]] = field(default_factory=list)
    low_rates: LowRates = field(init=False)

    def __post_init__(self) -> None:
        """Make room for the slices."""
        self.low_rates = LowRates(self.slices)

    def add(self, maps: Float32[np.ndarray, "B h w"], slices: Sequence[SlicePixels], records: list[Record]) -> None:
        """Count scored slices.

        Args:
            maps: Their maps.
            slices: Where their brains and lesions lie (see `anyadbench.metrics.rows.split_counts.slice_pixels`).
            records: Their table entries.
        """
        flat = as_maps(maps).reshape(len(maps), -1)
        if self.exact:
            self._add_exact(maps, slices, [str(record["subject"]) for record in records])
        for scores, places, record in zip(flat, slices, records, strict=True):
            if not self.exact:
                self.bins.add(str(record["subject"]), scores, places)
            self.low_rates.add(scores, places, normal=not record["label"])
        self.records += records
        self.emptied += sum(
            bool(record["label"]) and not len(places.field_lesions.index)
            for record, places in zip(records, slices, strict=True)
        )

    def _add_exact(
        self, maps: Float32[np.ndarray, "B h w"], slices: Sequence[SlicePixels], subjects: list[str]
    ) -> None:
        for subject in dict.fromkeys(subjects):
            chosen = [i for i, name in enumerate(subjects) if name == subject]
            fresh = SplitCounts(PixelStats(SUBJECT_CHUNK), PixelStats(SUBJECT_CHUNK))
            self.subjects.setdefault(subject, fresh).add(maps[chosen], [slices[i] for i in chosen])

    def finish(self) -> None:
        """Complete the table entries with what needs all slices: the AUPIMO of each."""
        for record, value in zip(self.records, self.low_rates.values(), strict=True):
            record[AUPIMO] = value

    def pixels(self, test: str, quantile: Quantile | None) -> RowPixels | None:
        """Return the row's pixel statistics; ``None`` if no slice was counted."""
        if not self.records:
            return None
        if self.exact:
            return exact_pixels(test, self.label, self.subjects, quantile)
        return streaming_pixels(test, self.label, self.bins.pooled, self.bins.subjects, quantile)

    def release(self) -> None:
        """Drop the pixels, once what is needed of them has been computed; the table entries stay."""
        self.subjects, self.bins = {}, RowBins()
