"""From a patient's volumes to the slices shown to a method, processed as the benchmark does from its store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.slices.geometry import apply_geometry
from anyadbench.data.slices.harmonise import Standard, curve, map_values
from anyadbench.data.slices.intensity import scale_values
from anyadbench.data.slices.rules import PERCENTILE
from anyadbench.data.trees.files import ScanFiles
from anyadbench.data.trees.layouts import LAYOUTS
from anyadbench.data.trees.nifti_scan import MIN_BRAIN, Scan
from anyadbench.data.trees.scan_slices import Part, nifti_part, percentile_column
from anyadbench.errors import UserError
from anyadbench.predict.geometry import crop_or_pad, undo_geometry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float32, Int

    from anyadbench.data.trees.volume import Volume
    from anyadbench.protocols.model import Protocol


@dataclass(frozen=True, eq=False)
class PatientSlices:
    """The slices of one patient that are scored: those with brain on at least ``MIN_BRAIN`` of the training field.

    Attributes:
        part: The patient's part of a slice store: 16-bit slices, percentiles, heights, brain fractions.
        protocol: Defines sequences and intensity scale.
        shape: Height and width of the training slices, before the protocol resizes and crops them.
        standard: The standard scale, where the protocol matches histograms.
        n_brain: Slices with any brain, scored or not.
    """

    part: Part
    protocol: Protocol
    shape: tuple[int, int]
    standard: Standard = field(default_factory=dict)
    n_brain: int = 0

    @staticmethod
    def cut(
        volumes: Mapping[str, Volume], protocol: Protocol, shape: tuple[int, int], standard: Standard | None = None
    ) -> PatientSlices:
        """Cut volumes on one grid into slices.

        Raises:
            UserError: If no slice contains enough brain to be scored.
        """
        first = next(iter(volumes.values()))
        seen = np.array([np.count_nonzero(plane) for plane in _shown(volumes)])
        shares = seen / (shape[0] * shape[1])
        if not (shares >= MIN_BRAIN).any():
            if not seen.any():
                cause = "contains no brain: every slice is background (0)"
                raise UserError(f"{first.path} {cause}; give the right image.")
            raise UserError(
                f"{first.path} has brain on at most {100 * shares.max():.2g} % of the training field in any slice, and "
                f"slices below {100 * MIN_BRAIN:g} % are not scored; give a scan of the whole head, or correct its "
                "voxel size."
            )
        files = ScanFiles("patient", "patient", "", {}, None, Path())
        scan = Scan(files, volumes, np.zeros(first.shape, np.uint8), dict.fromkeys(volumes, ""))
        part = nifti_part(scan, LAYOUTS["phantom"])
        # A part keeps slices by their share of the scan's own field, which depends on the air around the head.
        keep = [i for i, item in enumerate(part.slices) if shares[item["slice"]] >= MIN_BRAIN]
        part = replace(part, images=part.images[keep], masks=part.masks[keep], slices=[part.slices[i] for i in keep])
        return PatientSlices(part, protocol, shape, standard or {}, int(np.count_nonzero(seen)))

    def __len__(self) -> int:
        return len(self.part.slices)

    @property
    def place(self) -> tuple[slice, slice]:
        """Position of a slice in the training field."""
        height, width = self.part.masks.shape[1:]
        return crop_or_pad((height, width), self.shape)

    def values(self, rows: Int[np.ndarray, " B"]) -> Float32[np.ndarray, "B S H W"]:
        """Return slices as the protocol presents them to a method; absent sequences are 0."""
        names, rules = self.protocol.sequences, self.protocol.intensity
        values = np.zeros((len(rows), len(names), *self.shape), np.float32)
        present = np.tile(np.array([name in self.part.sequences for name in names]), (len(rows), 1))
        tops = np.zeros(present.shape)
        y, x = self.place
        for place, name in enumerate(names):
            if name in self.part.sequences:
                out = values[:, place, y, x]
                out[...] = self.part.images[rows, self.part.sequences.index(name)]
                # As when reading a store: the stored zero is subtracted first, so that background is exactly 0.
                out -= np.float32(self.part.row[f"zero_{name}"])
                out *= np.float32(self.part.row[f"scale_{name}"])
                tops[:, place] = self.part.row[percentile_column(rules.percentile, name)]
                if rules.harmonise != PERCENTILE:
                    points = curve(rules, name, self.part.row.__getitem__, self.standard.get(name))
                    out[...] = np.stack([map_values(picture, points) for picture in out])
        scaled = values if rules.harmonise != PERCENTILE else scale_values(values, present, tops, rules.mode)
        return apply_geometry(scaled, self.protocol.geometry, rules.mode == "slice-minmax8")

    def back(self, maps: Float32[np.ndarray, "n h w"]) -> Float32[np.ndarray, "n y x"]:
        """Return maps on the patient's own slices; pixels that the protocol crops are NaN."""
        y, x = self.place
        return undo_geometry(maps, self.shape, self.protocol.geometry)[:, y, x]

    def brain(self, item: Mapping[str, Any]) -> float:
        """Return the share of the training field that is brain in a slice."""
        height, width = self.part.masks.shape[1:]
        return float(item["brain"]) * height * width / (self.shape[0] * self.shape[1])

    def counts(self, item: Mapping[str, Any]) -> bool:
        """Return whether a slice has as much brain as the protocol's slice rules require."""
        return self.brain(item) >= self.protocol.slices.min_brain


def _shown(volumes: Mapping[str, Volume]) -> Bool[np.ndarray, "z y x"]:
    return np.logical_or.reduce([volume.shown.transpose(2, 1, 0) for volume in volumes.values()])
