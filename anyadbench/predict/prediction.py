"""The result for one patient."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.names import readable_values
from anyadbench.predict.findings.sentences import MEANING
from anyadbench.results.normals import top_mean
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Bool, Float, Float32, Int32

    from anyadbench.data.trees.volume import Volume
    from anyadbench.predict.findings.clusters import Cluster
    from anyadbench.predict.findings.percentiles import Percentiles
    from anyadbench.predict.prepare.own_voxels import OwnVoxels
    from anyadbench.predict.prepare.prepared import Prepared, Step
    from anyadbench.predict.slices import PatientSlices

GIVEN = "given by the user"
"""Source of a threshold that is neither the cell's nor a calibration's."""

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
        score: The method's image score, as the benchmark ranks slices; higher is more abnormal.
        brain_score: Mean of the map over the highest hundredth of the slice's brain pixels; ``None`` without any.
        counted: Whether it has as much brain as the protocol requires, so that the benchmark would score it. Other
            slices do not affect mask and patient score.
        above_threshold_mm2: Brain area above the pixel threshold, before small clusters are removed; ``None`` without
            a threshold, and in slices that do not count.
    """

    slice: int
    file_index: int | None
    height_mm: float
    brain: float
    subset: str
    score: float
    brain_score: float | None
    counted: bool
    above_threshold_mm2: float | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """Anomaly map and scores of one patient.

    Attributes:
        map: Anomaly map on the first input's own voxels and axes; higher is more abnormal, without a unit. 0 in slices
            that are not scored (less than 1 % brain) and outside the training field. Outside the brain 0, or the
            lowest score in the brain if that is below 0.
        mask: Where the map is above the threshold inside the brain, in slices that count and in clusters that are not
            too small; ``None`` without a threshold, where no slice counts, and where the whole scan differs so much
            from the normals that none holds (see the notes).
        affine: From indices of ``map`` to NIfTI world coordinates in mm.
        header: NIfTI header of the first input's file, or ``None``.
        slices: Scored slices, from inferior to superior.
        grid_maps: Map of each scored slice on the benchmark's scoring grid, as the benchmark stores it.
        grid_brain: Where the shown sequences of each scored slice show tissue, on the scoring grid.
        shown: Sequences shown to the method.
        first: The first input, which defines the grid of ``map``.
        threshold: Pixel threshold, in units of the map.
        threshold_from: Source of the threshold, or why there is none.
        notes: What the reader should know, one sentence each.
        data: The slices as the method saw them.
        origin: Names and hashes of the cell.
        inputs: Path, shape and spacing of every input.
        brain: Where any shown sequence is not 0, on the voxels of ``map``.
        clusters: The clusters of ``mask``, from the highest peak to the lowest.
        cluster_labels: Number of the cluster that a voxel belongs to; 0 is none.
        percentiles: Scores as percentiles among normals; ``None`` where the cell has no reference for the subset.
        reference: What normals have above the threshold; ``None`` where the cell has no reference for the subset.
        alarm: Whether the patient score is above a calibration's alarm threshold, with threshold, rate and subjects;
            ``None`` without one.
        preparation: What was done to the scans before; ``None`` if nothing was.
        seconds: Time that the prediction took, from reading the scans to the map on their grid.
        volumes: Every input as it was read, in LPS order on its own grid, in the order given.
        n_brain: Slices with any brain, scored or not.
    """

    map: Float32[np.ndarray, "a b c"]
    mask: Bool[np.ndarray, "a b c"] | None
    affine: Float[np.ndarray, "4 4"]
    header: Any
    slices: tuple[SliceScore, ...]
    grid_maps: Float32[np.ndarray, "n h w"]
    grid_brain: Bool[np.ndarray, "n h w"]
    shown: tuple[str, ...]
    first: str
    threshold: float | None
    threshold_from: str
    notes: tuple[str, ...]
    data: PatientSlices
    origin: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    brain: Bool[np.ndarray, "a b c"]
    clusters: tuple[Cluster, ...]
    cluster_labels: Int32[np.ndarray, "a b c"]
    percentiles: Percentiles | None = None
    reference: Mapping[str, Any] | None = None
    alarm: Mapping[str, Any] | None = None
    preparation: Prepared | None = None
    seconds: float = 0.0
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    n_brain: int = 0

    @property
    def n_counted(self) -> int:
        """Slices that count: mask, volume and patient score say nothing about the others of ``n_brain``."""
        return sum(item.counted for item in self.slices)

    @property
    def transforms(self) -> dict[str, Float[np.ndarray, "4 4"]]:
        """For every input the rigid move, in world coordinates (mm, RAS+), that lays it on the first."""
        found = self.preparation.transforms if self.preparation is not None else {}
        return {name: found.get(name, np.eye(4)) for name in self.inputs}

    @property
    def prepared(self) -> tuple[Step, ...]:
        """The steps of preparation, with their seconds and figures."""
        return () if self.preparation is None else self.preparation.steps

    def on_grid_of(self, sequence: str) -> OwnVoxels:
        """Return map, mask and brain on the own voxels of an input.

        Raises:
            KeyError: If the sequence was not an input.
        """
        from anyadbench.predict.prepare.own_voxels import own_voxels

        return own_voxels(self, sequence)

    @cached_property
    def patient_score(self) -> float | None:
        """Mean of the map over the highest hundredth of the brain pixels of all slices that count.

        ``None`` where no slice counts. It is not a measure of lesion load.
        """
        counted = np.array([item.counted for item in self.slices])
        pixels = self.grid_maps[counted][self.grid_brain[counted]]
        return top_mean(pixels) if len(pixels) else None

    @property
    def volume_ml(self) -> float | None:
        """Volume above the threshold in millilitres; ``None`` without a mask."""
        if self.mask is None:
            return None
        return float(self.mask.sum() * abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    @property
    def threshold_given(self) -> bool:
        """Whether the user gave the threshold."""
        return self.threshold_from == GIVEN

    def as_json(self) -> dict[str, Any]:
        """Return everything except the arrays as plain values; names that are not UTF-8 are shown with escapes."""
        found = {
            "use": USE,
            "cell": dict(self.origin),
            "inputs": {name: dict(facts) for name, facts in self.inputs.items()},
            "grid_of": self.first,
            "shown": list(self.shown),
            "subset": format_subset(self.shown),
            "patient_score": self.patient_score,
            "patient_score_means": MEANING,
            "threshold": self.threshold,
            "threshold_from": self.threshold_from,
            "volume_above_threshold_ml": self.volume_ml,
            "slices_with_brain": self.n_brain,
            "slices_counted": self.n_counted,
            "seconds": round(self.seconds, 3),
            "prepared": [asdict(step) for step in self.prepared],
            "transforms": {name: move.tolist() for name, move in self.transforms.items()},
            "clusters": [asdict(item) for item in self.clusters],
            "percentiles": None if self.percentiles is None else asdict(self.percentiles),
            "reference": None if self.reference is None else dict(self.reference),
            "alarm": None if self.alarm is None else dict(self.alarm),
            "notes": list(self.notes),
            "slices": [asdict(item) for item in self.slices],
        }
        return dict(readable_values(found))

    def save(
        self, folder: str | Path, name: str = "patient", *, dicom_seg: bool = False, dicom_ids: bool = False
    ) -> None:
        """Write map, mask, scores and report into a folder.

        Args:
            folder: Created if missing; only files of an earlier prediction are replaced.
            name: The patient, for the report's title.
            dicom_seg: Whether to write the mask as DICOM segmentation too, for each input that is a DICOM series.
            dicom_ids: Whether the segmentation keeps the ids of patient and study; otherwise they are empty.

        Raises:
            UserError: If the folder cannot be written or contains files of these names that are not a prediction's, or
                a segmentation is asked for without ``highdicom`` or a DICOM series.
        """
        from pathlib import Path

        from anyadbench.predict.write import write_prediction

        segments = None
        if dicom_seg:
            from anyadbench.predict.segments.dicom_seg import segmentations

            segments = segmentations(self, keep_ids=dicom_ids)
        write_prediction(self, Path(folder), name, segments=segments)
