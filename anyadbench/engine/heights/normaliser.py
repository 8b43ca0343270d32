"""Normalising slice scores by height and brain area, fitted on training normals for each subset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.rows.height import HeightFit, fit_height
from anyadbench.sequences import Subset

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int

    from anyadbench.engine.slice_reader import SliceReader

BRAIN_SLICE = 0.01
"""Smallest share of a slice's pixels above 0 for the first and the last slice with brain: noise is no brain."""

TRAINING_SLICES = 96
"""Most training normals that the normalisation is fitted on, evenly spread."""

Places = tuple["Float64[np.ndarray, ' B']", "Float64[np.ndarray, ' B']"]


@dataclass
class HeightNormaliser:
    """Relative heights and brain areas of slices, and one fit for each subset.

    Heights and areas come from the shown sequences alone, so a hidden one cannot change a score.

    Attributes:
        sequences: Those of the protocol.
        fits: The fit of each subset that enough training normals can serve.
    """

    sequences: tuple[str, ...]
    fits: dict[Subset, HeightFit] = field(default_factory=dict)
    _scores: dict[Subset, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = field(default_factory=dict)
    _ends: dict[tuple[str, str, Subset], tuple[float, float]] = field(default_factory=dict)

    def learn(
        self,
        reader: SliceReader,
        indices: Int[np.ndarray, " B"],
        values: Float[np.ndarray, "B S H W"],
        subset: Subset,
        scores: Float64[np.ndarray, " B"],
    ) -> None:
        """Take scores of training normals, shown a subset."""
        self._scores.setdefault(subset, []).append((scores, *self.places(reader, indices, values, subset)))

    def fit(self) -> None:
        """Fit each subset to the scores that were taken."""
        for subset, parts in self._scores.items():
            found = fit_height(*(np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)))
            if found is not None:
                self.fits[subset] = found

    def normalised(
        self,
        reader: SliceReader,
        indices: Int[np.ndarray, " B"],
        values: Float[np.ndarray, "B S H W"],
        subset: Subset,
        scores: Float64[np.ndarray, " B"],
    ) -> list[float | None]:
        """Return the normalised scores of slices shown a subset; ``None`` where the subset has no fit."""
        found = self.fits.get(subset)
        if found is None:
            return [None] * len(scores)
        places = self.places(reader, indices, values, subset)
        return [float(score) for score in found.normalised(np.asarray(scores, dtype=np.float64), *places)]

    def places(
        self, reader: SliceReader, indices: Int[np.ndarray, " B"], values: Float[np.ndarray, "B S H W"], subset: Subset
    ) -> Places:
        """Return relative heights and brain areas in cm^2 of slices, from a subset of their sequences."""
        shown = values[:, [self.sequences.index(name) for name in subset]]
        table = reader.store.slices.iloc[indices]
        ends = np.array([self._scan_ends(reader, str(scan), subset) for scan in table["scan"]])
        span = np.maximum(ends[:, 1] - ends[:, 0], 1e-9)
        heights = np.clip((table["height_mm"].to_numpy(np.float64) - ends[:, 0]) / span, 0.0, 1.0)
        return heights, (shown > 0).any(axis=1).sum(axis=(1, 2)) * _pixel_cm2(reader)

    def _scan_ends(self, reader: SliceReader, scan: str, subset: Subset) -> tuple[float, float]:
        """Return the heights in mm of the first and the last slice with brain in the shown sequences."""
        key = (str(reader.store.path), scan, tuple(reader.feed.get(name, name) for name in subset))
        if key not in self._ends:
            slices = reader.store.slices
            rows = np.flatnonzero((slices["scan"] == scan).to_numpy())
            heights = slices["height_mm"].to_numpy(np.float64)[rows]
            order, alone = np.argsort(heights, kind="stable"), replace(reader, sequences=subset)
            ends = [_first_with_brain(alone, rows[turn]) for turn in (order, order[::-1])]
            low, high = (slices["height_mm"].iloc[row] for row in ends)
            self._ends[key] = (float(low), float(high))
        return self._ends[key]


def _first_with_brain(reader: SliceReader, rows: Int[np.ndarray, " n"]) -> int:
    """Return the first of the rows whose slice has brain, or else the first one."""
    for row in rows:
        values, _ = reader.read(np.array([row]))
        if (values > 0).any(axis=(0, 1)).mean() >= BRAIN_SLICE:
            return int(row)
    return int(rows[0])


def _pixel_cm2(reader: SliceReader) -> float:
    """Return the area of a pixel of ``read``, whose slices may be resized."""
    resized = reader.geometry.resize if any(reader.geometry.resize) else reader.store.shape
    sides = [mm * have / now for mm, have, now in zip(reader.store.spacing, reader.store.shape, resized, strict=True)]
    return float(sides[0] * sides[1] / 100.0)


def described(fits: Mapping[Subset, HeightFit]) -> dict[str, dict[str, float | int | list[float]]]:
    """Return the fits by subset label, for the manifest."""
    from anyadbench.sequences import format_subset

    return {format_subset(subset): found.to_dict() for subset, found in fits.items()}
