"""The validation normals of a cell, kept to compare new patients with (see ``anyadbench.results.normals``)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.results.normals import (
    NormalScores,
    NormalSlice,
    height_of,
    normal_slice,
    normals_of,
    quantiles,
    top_mean,
)
from anyadbench.sequences import AS_AVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Bool, Float, Float32, Float64, Int

    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.metrics.core.thresholds import Quantile


@dataclass(eq=False)
class ValidationNormals:
    """Collects the scores of validation normals while the cell's thresholds are taken from them.

    Attributes:
        data: The protocol's slices.
        brains: Returns the brain of slices on the scoring grid.
    """

    data: ProtocolData
    brains: Callable[[Float[np.ndarray, "B S H W"]], Bool[np.ndarray, "B h w"]]
    slices: dict[str, list[NormalSlice]] = field(default_factory=dict)
    pixels: dict[str, dict[int, list[np.ndarray]]] = field(default_factory=dict)
    intensities: dict[str, dict[int, list[np.ndarray]]] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        table = self.data.stores[self.data.protocol.train].slices
        scans = table["scan"].astype(str)
        self._scans = {name: number for number, name in enumerate(dict.fromkeys(scans))}
        self._scan = scans.map(self._scans).to_numpy()
        self._subject = table["subject"].astype(str).to_numpy()
        spans = table.groupby("scan", sort=False)["slice"].agg(["min", "max"])
        # A store made from pictures has no whole scans, and its slices no place in the head.
        fixed = bool((table["part"] != "").any())
        self._height = [
            float("nan") if fixed else height_of(number, *spans.loc[scan])
            for number, scan in zip(table["slice"], table["scan"], strict=True)
        ]

    def __call__(
        self,
        label: str,
        indices: Int[np.ndarray, " B"],
        values: Float[np.ndarray, "B S H W"],
        maps: Float32[np.ndarray, "B h w"],
        images: Float64[np.ndarray, " B"],
    ) -> None:
        """Count slices scored with one subset."""
        if label == AS_AVAILABLE:
            return
        inside = self.brains(values)
        for i, index in enumerate(indices.tolist()):
            scan, own = int(self._scan[index]), maps[i][inside[i]]
            if index not in self.known:
                self._add_intensities(scan, values[i])
                self.known.add(index)
            if len(own):
                found = normal_slice(scan, self._height[index], own, float(images[i]))
                self.slices.setdefault(label, []).append(found)
                self.pixels.setdefault(label, {}).setdefault(scan, []).append(own)

    def _add_intensities(self, scan: int, values: Float[np.ndarray, "S H W"]) -> None:
        for name, picture in zip(self.data.protocol.sequences, values, strict=True):
            if (picture > 0).any():
                self.intensities.setdefault(name, {}).setdefault(scan, []).append(picture[picture > 0])

    def found(self, thresholds: Mapping[str, Quantile]) -> NormalScores:
        """Return everything that was counted, with the cell's thresholds; scans and subjects are renumbered."""
        subsets = {}
        for label, slices in self.slices.items():
            scans = {scan: number for number, scan in enumerate(dict.fromkeys(item.scan for item in slices))}
            scores = [top_mean(np.concatenate(self.pixels[label][scan])) for scan in scans]
            subjects = [self._subject[np.flatnonzero(self._scan == scan)[0]] for scan in scans]
            numbers = {name: number for number, name in enumerate(dict.fromkeys(subjects))}
            own = [replace(item, scan=scans[item.scan]) for item in slices]
            threshold = thresholds[label].value
            subsets[label] = normals_of(own, threshold, scores, [numbers[name] for name in subjects])
        intensities = {
            name: np.stack([quantiles(np.concatenate(parts)) for parts in by_scan.values()])
            for name, by_scan in self.intensities.items()
        }
        kind = self.data.selections[self.data.protocol.train].validation
        return NormalScores(subsets, intensities, "validation subjects" if kind == "subjects" else kind)
