"""The counts of one row while its slices are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anyadbench.metrics.boxes.numbers import BoxImage
from anyadbench.metrics.core.exact import PixelStats
from anyadbench.metrics.core.streaming import PixelState
from anyadbench.metrics.rows.low_rates import LowRates
from anyadbench.metrics.rows.row_pixels import RowPixels, exact_pixels, streaming_pixels
from anyadbench.metrics.rows.split_counts import SlicePixels, SplitCounts

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

    from anyadbench.metrics.core.thresholds import Quantile

SUBJECT_BITS = 20
"""Bits of the subjects' histograms where a row is counted in bins (see ``docs/metrics.md``)."""

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
        pooled: Pixel histograms of all subjects, for a row that is not exact.
        subjects: Pixel scores by subject, for an exact row.
        binned: Coarser pixel histograms by subject, for one that is not.
        records: One entry per slice for ``scores/slices.csv``.
        emptied: Abnormal slices without a lesion pixel on the scoring grid.
        slices: Most slices that the row can have.
        boxes: Subject, scan, slice number and boxes of each slice, where lesions are marked by boxes.
        low_rates: Scores from which AUPIMO follows.
    """

    label: str
    exact: bool
    pooled: SplitCounts[PixelState] = field(default_factory=lambda: SplitCounts(PixelState(), PixelState()))
    subjects: dict[str, SplitCounts[PixelStats]] = field(default_factory=dict)
    binned: dict[str, SplitCounts[PixelState]] = field(default_factory=dict)
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
        if not self.exact:
            self.pooled.add(maps, slices)
        for subject in dict.fromkeys(str(record["subject"]) for record in records):
            chosen = [i for i, record in enumerate(records) if record["subject"] == subject]
            part = maps[chosen], [slices[i] for i in chosen]
            if self.exact:
                fresh = SplitCounts(PixelStats(SUBJECT_CHUNK), PixelStats(SUBJECT_CHUNK))
                self.subjects.setdefault(subject, fresh).add(*part)
            else:
                coarse = SplitCounts(PixelState(SUBJECT_BITS), PixelState(SUBJECT_BITS))
                self.binned.setdefault(subject, coarse).add(*part)
        for scores, places, record in zip(maps, slices, records, strict=True):
            inside = scores.ravel()[places.inside]
            self.low_rates.add(inside, places.brain_lesions.index, scores.size, normal=not record["label"])
        self.records += records
        self.emptied += sum(
            bool(record["label"]) and not len(places.field_lesions.index)
            for record, places in zip(records, slices, strict=True)
        )

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
        return streaming_pixels(test, self.label, self.pooled, self.binned, quantile)
