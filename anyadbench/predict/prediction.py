"""The result for one patient."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Bool, Float, Float32

    from anyadbench.data.trees.volume import Volume
    from anyadbench.predict.slices import PatientSlices

USE = "Research use; not a medical device."


@dataclass(frozen=True)
class SliceScore:
    """One scored slice.

    Attributes:
        slice: Number of the axial slice, from 0 at the lowest.
        file_index: Its index along the body axis of the first input's file; ``None`` if the slices are tilted against
            the file's.
        height_mm: World height of its centre, in mm towards superior.
        brain: Share of the training field that is brain.
        subset: Sequences that it was scored with: those whose fields of view contain it.
        score: Image score; higher is more abnormal.
        counted: Whether it has as much brain as the protocol requires, so that the benchmark would score it. Other
            slices do not affect mask and patient score.
        above_threshold_mm2: Area above the pixel threshold; ``None`` without a threshold, and in slices that do not
            count.
    """

    slice: int
    file_index: int | None
    height_mm: float
    brain: float
    subset: str
    score: float
    counted: bool
    above_threshold_mm2: float | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """Anomaly map and scores of one patient.

    Attributes:
        map: Anomaly map on the first input's own voxels and axes; higher is more abnormal, without a unit. 0 in slices
            that are not scored (less than 1 % brain) and outside the training field.
        mask: Where the map is above the threshold, in slices that count; ``None`` without a threshold.
        affine: From indices of ``map`` to NIfTI world coordinates in mm.
        header: NIfTI header of the first input's file, or ``None``.
        slices: Scored slices, from inferior to superior.
        grid_maps: Map of each scored slice on the benchmark's scoring grid, as the benchmark stores it.
        shown: Sequences shown to the method.
        first: The first input, which defines the grid of ``map``.
        threshold: Pixel threshold, in units of the map.
        threshold_from: Source of the threshold, or why there is none.
        notes: What the reader should know, one sentence each.
        data: The slices as the method saw them.
        origin: Names and hashes of the cell.
        inputs: Path, shape and spacing of every input.
        seconds: Time that the prediction took, from reading the scans to the map on their grid.
        volumes: Every input as it was read, in LPS order on its own grid, in the order given.
    """

    map: Float32[np.ndarray, "a b c"]
    mask: Bool[np.ndarray, "a b c"] | None
    affine: Float[np.ndarray, "4 4"]
    header: Any
    slices: tuple[SliceScore, ...]
    grid_maps: Float32[np.ndarray, "n h w"]
    shown: tuple[str, ...]
    first: str
    threshold: float | None
    threshold_from: str
    notes: tuple[str, ...]
    data: PatientSlices
    origin: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    seconds: float = 0.0
    volumes: Mapping[str, Volume] = field(default_factory=dict)

    @property
    def patient_score(self) -> float:
        """Highest score of a slice that counts (of any slice if none counts)."""
        counted = [item.score for item in self.slices if item.counted]
        return max(counted or [item.score for item in self.slices])

    @property
    def volume_ml(self) -> float | None:
        """Volume above the threshold in millilitres; ``None`` without a threshold."""
        if self.mask is None:
            return None
        return float(self.mask.sum() * abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    def as_json(self) -> dict[str, Any]:
        """Return everything except the arrays as plain values."""
        return {
            "use": USE,
            "cell": dict(self.origin),
            "inputs": {name: dict(facts) for name, facts in self.inputs.items()},
            "grid_of": self.first,
            "shown": list(self.shown),
            "subset": format_subset(self.shown),
            "patient_score": self.patient_score,
            "threshold": self.threshold,
            "threshold_from": self.threshold_from,
            "volume_above_threshold_ml": self.volume_ml,
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "slices": [asdict(item) for item in self.slices],
        }

    def save(self, folder: str | Path, name: str = "patient") -> None:
        """Write map, mask, scores and report into a folder; see ``anyadbench.predict.write.write_prediction``."""
        from pathlib import Path

        from anyadbench.predict.write import write_prediction

        write_prediction(self, Path(folder), name)
