"""Slices of a store in a protocol's intensity scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.slices.geometry import apply_geometry, apply_to_masks, grid_after
from anyadbench.data.slices.harmonise import Standard, scaled_by_curves
from anyadbench.data.slices.intensity import apply_scale
from anyadbench.data.slices.rules import PERCENTILE, GeometryRules

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from anyadbench.data.slices.rules import IntensityRules
    from anyadbench.data.store.store import SliceStore
    from anyadbench.protocols.model import Protocol


@dataclass(frozen=True)
class SliceReader:
    """Reads slices of one store in a protocol's intensity scale.

    Attributes:
        store: The slice store.
        sequences: The protocol's sequences; only these are ever read.
        intensity: The protocol's intensity rules.
        feed: Sequence that fills each slot; empty if every slot holds its own sequence.
        geometry: The protocol's resizing and cropping.
        standard: The standard scale, where the protocol matches histograms.
    """

    store: SliceStore
    sequences: tuple[str, ...]
    intensity: IntensityRules
    feed: Mapping[str, str] = field(default_factory=dict)
    geometry: GeometryRules = field(default_factory=GeometryRules)
    standard: Standard = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what ``read`` returns."""
        return grid_after(self.store.shape, self.geometry)

    def read(self, indices: Int[np.ndarray, " B"]) -> tuple[Float[np.ndarray, "B S H W"], Bool[np.ndarray, "B S"]]:
        """Return scaled slices, with absent sequences zero, and which sequences are present."""
        sources = tuple(self.feed.get(name, name) for name in self.sequences)
        distinct = tuple(dict.fromkeys(sources))
        values, present = self.store.read(indices, distinct)
        slots, rules = [distinct.index(name) for name in sources], self.intensity
        if rules.harmonise != PERCENTILE:
            # A fed sequence goes to the standard scale of its slot, so slots are scaled one by one.
            heights = [self.standard.get(name) for name in self.sequences]
            values, present = values[:, slots], present[:, slots]
            scaled = scaled_by_curves(values, present, self.store, indices, sources, rules, heights)
            return apply_geometry(scaled, self.geometry), present
        scaled = apply_scale(values, present, self.store, indices, distinct, rules.mode, rules.percentile)
        scaled = apply_geometry(scaled, self.geometry, rules.mode == "slice-minmax8")
        return scaled[:, slots], present[:, slots]

    def masks(self, indices: Int[np.ndarray, " B"], cavity: bool) -> Bool[np.ndarray, "B H W"]:
        """Return where slices are abnormal, on the grid of ``read``."""
        return apply_to_masks(self.store.abnormal(indices, cavity), self.geometry)

    def ignored(self, indices: Int[np.ndarray, " B"], protocol: Protocol) -> Bool[np.ndarray, "B h w"] | None:
        """Return the pixels that count neither way, on the protocol's scoring grid; ``None`` if there can be none."""
        ignored = self.store.ignored(indices)
        return None if ignored is None else on_scoring_grid(apply_to_masks(ignored, self.geometry), protocol)

    def present(self, indices: Int[np.ndarray, " N"]) -> Bool[np.ndarray, "N S"]:
        """Return which slots each slice can fill, from the scan table alone."""
        return self.store.present(indices, [self.feed.get(name, name) for name in self.sequences])


def on_scoring_grid(masks: Bool[np.ndarray, "B H W"], protocol: Protocol) -> Bool[np.ndarray, "B h w"]:
    """Resample masks from the grid of a method's input to the protocol's scoring grid."""
    height, width = protocol.scoring_grid
    grid = (height or masks.shape[1], width or masks.shape[2])
    if masks.shape[1:] == grid:
        return masks
    import torch
    import torch.nn.functional as F

    resized = F.interpolate(torch.from_numpy(masks[:, None].astype(np.float32)), grid, mode=protocol.scoring.masks)
    return resized[:, 0].numpy() > 0.5


def usable_indices(reader: SliceReader, indices: Int[np.ndarray, " N"]) -> Int[np.ndarray, " M"]:
    """Return the slice indices that have at least one of the protocol's sequences."""
    return indices[reader.present(indices).any(1)] if len(indices) else indices
