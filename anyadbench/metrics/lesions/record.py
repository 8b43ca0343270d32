"""One scan, reduced to what every number of a cohort follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.lesions.detections import MOST_ALARMS, peak_detections, swept_detections
from anyadbench.metrics.lesions.matching import clusters_above
from anyadbench.metrics.lesions.ranking import rank_voxels
from anyadbench.metrics.lesions.rules import OverlapRule, Rule
from anyadbench.metrics.lesions.scan import read_scan
from anyadbench.metrics.lesions.targets import targets_of
from anyadbench.metrics.lesions.volumes import VOLUME_BINS, overlap_counts, volume_bins
from anyadbench.results.arrays import parsed

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int64

MOST_GRID = 256
"""Common thresholds at which a record may keep voxel counts."""

_COUNTS = ("truth", "predicted", "hit", "best_predicted", "best_hit")


@dataclass(frozen=True)
class ScanRecord:
    """What one scan contributes to every number of a cohort.

    Attributes:
        voxel_ml: Volume of a voxel.
        truth: Lesion voxels, those outside the brain included.
        predicted: Brain voxels above the threshold; -1 without a threshold.
        hit: Lesion voxels among them; -1 without a threshold.
        best_predicted: Voxels of the mask with this scan's highest Dice.
        best_hit: Lesion voxels among them.
        grid_predicted: Brain voxels above each common threshold.
        grid_hit: Lesion voxels among them.
        lesion_voxels: Of each counted lesion.
        lesion_scores: Score at which each is found (`Detections`); NaN if never.
        lesion_found: Whether each is found at the threshold.
        alarm_scores: Scores of the false alarms, falling.
        alarm_bins: False alarms at the threshold by volume bin (`VOLUME_BINS`).
    """

    voxel_ml: float
    truth: int
    predicted: int
    hit: int
    best_predicted: int
    best_hit: int
    grid_predicted: Int64[np.ndarray, " t"]
    grid_hit: Int64[np.ndarray, " t"]
    lesion_voxels: Int64[np.ndarray, " l"]
    lesion_scores: Float32[np.ndarray, " l"]
    lesion_found: Bool[np.ndarray, " l"]
    alarm_scores: Float32[np.ndarray, " a"]
    alarm_bins: Int64[np.ndarray, " b"]

    @property
    def has_threshold(self) -> bool:
        """Whether the scan was scored at a threshold."""
        return self.predicted >= 0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the record as arrays of small types: at most 8 kB, and 9 bytes for each lesion."""
        return {
            "voxel_ml": np.asarray(self.voxel_ml, dtype=np.float64),
            "counts": np.array([getattr(self, name) for name in _COUNTS], dtype=np.int64),
            "grid": np.stack([self.grid_predicted, self.grid_hit]).astype(np.uint32),
            "lesion_voxels": self.lesion_voxels.astype(np.uint32),
            "lesion_scores": self.lesion_scores,
            "lesion_found": self.lesion_found.astype(np.uint8),
            "alarm_scores": self.alarm_scores,
            "alarm_bins": self.alarm_bins.astype(np.uint32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ScanRecord:
        """Return the record that `to_arrays` described.

        Raises:
            UserError: If an array is missing, or they cannot come from a scan.
        """
        record = parsed(arrays, cls._read, "A scan's lesion record is damaged or incomplete; run the cell again.")
        record.check()
        return record

    @classmethod
    def _read(cls, arrays: Mapping[str, np.ndarray]) -> ScanRecord:
        predicted, hit = np.asarray(arrays["grid"]).astype(np.int64)
        return cls(
            voxel_ml=float(arrays["voxel_ml"]),
            **{name: int(value) for name, value in zip(_COUNTS, arrays["counts"], strict=True)},
            grid_predicted=predicted,
            grid_hit=hit,
            lesion_voxels=np.asarray(arrays["lesion_voxels"]).astype(np.int64),
            lesion_scores=np.asarray(arrays["lesion_scores"]).astype(np.float32),
            lesion_found=np.asarray(arrays["lesion_found"]).astype(np.bool_),
            alarm_scores=np.asarray(arrays["alarm_scores"]).astype(np.float32),
            alarm_bins=np.asarray(arrays["alarm_bins"]).astype(np.int64),
        )

    def check(self) -> None:
        """Check that the numbers can come from a scan.

        Raises:
            UserError: If they cannot.
        """
        found = (self.lesion_voxels, self.lesion_scores, self.lesion_found)
        possible = (
            self.voxel_ml > 0
            and self.hit <= min(self.predicted, self.truth)
            and 0 <= self.best_hit <= min(self.best_predicted, self.truth)
            and (self.predicted >= 0) == (self.hit >= 0)
            and bool((self.grid_hit <= np.minimum(self.grid_predicted, self.truth)).all())
            and len({part.shape for part in found}) == 1
            and self.lesion_voxels.ndim == self.alarm_scores.ndim == 1
            and bool((self.lesion_voxels > 0).all())
            and int(self.lesion_voxels.sum()) <= self.truth
            and not np.isinf(self.lesion_scores).any()
            and len(self.alarm_scores) <= MOST_ALARMS
            and bool(np.isfinite(self.alarm_scores).all())
            and bool((np.diff(self.alarm_scores) <= 0).all())
            and self.alarm_bins.shape == (4,)
            and bool((self.alarm_bins >= 0).all())
            and self.predicted >= -1
            and self.grid_predicted.shape == self.grid_hit.shape
            and self._masks_are_nested()
            and self._best_is_best()
            and self._clusters_fit()
        )
        if not possible:
            raise UserError("A scan's lesion record holds impossible counts or scores; run the cell again.")

    def _masks(self) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
        """Return flagged voxels and lesion voxels among them of every mask but the one with the highest Dice."""
        own = [(self.predicted, self.hit)] if self.has_threshold else []
        counts = np.array(own, dtype=np.int64).reshape(-1, 2)
        return np.append(self.grid_predicted, counts[:, 0]), np.append(self.grid_hit, counts[:, 1])

    def _masks_are_nested(self) -> bool:
        """Whether each larger mask contains the smaller ones, as masks of one map at several thresholds do."""
        predicted, hit = (
            np.append(counts, best)
            for counts, best in zip(self._masks(), (self.best_predicted, self.best_hit), strict=True)
        )
        order = np.lexsort((hit, predicted))
        grown, gained = np.diff(predicted[order], prepend=0), np.diff(hit[order], prepend=0)
        return bool(((gained >= 0) & (gained <= grown)).all())

    def _best_is_best(self) -> bool:
        """Whether no mask has a higher Dice than the one with the highest Dice."""
        predicted, hit = self._masks()
        best = 2 * self.best_hit / max(self.best_predicted + self.truth, 1)
        return bool((2 * hit / np.maximum(predicted + self.truth, 1) <= best).all())

    def _clusters_fit(self) -> bool:
        """Whether the flagged voxels hold the clusters at the threshold: the false alarms, and one that finds lesions.

        A lesion that the mask at the threshold finds is also found as the threshold falls to it, so it has a score.
        """
        found = bool(self.lesion_found.any())
        if np.isnan(self.lesion_scores[self.lesion_found]).any():
            return False
        # Volumes are rounded to nanolitres before they are binned.
        least = np.maximum(1, np.ceil((np.array((0.0, *VOLUME_BINS)) - 5e-7) / self.voxel_ml - 1e-9))
        return float(self.alarm_bins @ least) + found <= max(self.predicted, 0)


def score_scan(
    scores: Any,
    truth: Any,
    brain: Any,
    spacing: Sequence[float] | None,
    *,
    threshold: float | None = None,
    grid: Sequence[float] = (),
    rule: Rule | None = None,
    curve: Literal["sweep", "peaks"] = "sweep",
    name: str = "the scan",
) -> ScanRecord:
    """Reduce one scan to a record.

    Args:
        scores: See `read_scan`, as for ``truth``, ``brain``, ``spacing`` and ``name``.
        truth: Lesion mask.
        brain: Brain mask.
        spacing: Edges of a voxel in mm.
        threshold: Score that brain voxels have to exceed to be flagged, from validation normals; ``None`` for none.
        grid: At most 256 common thresholds, equal for all scans of a cohort, for Dice at the best common threshold.
        rule: When a lesion is found; by default `OverlapRule`.
        curve: ``sweep`` for `swept_detections`; ``peaks`` for `peak_detections` of the mask at the threshold.
        name: What messages call the scan.

    Raises:
        UserError: If an array does not fit (see `read_scan`), a threshold is not finite, there are more than 256 common
            thresholds, or ``peaks`` is asked for without a threshold.
    """
    rule = rule or OverlapRule()
    if len(grid) > MOST_GRID:
        raise UserError(f"{len(grid)} common thresholds are too many; give at most {MOST_GRID}.")
    if curve not in ("sweep", "peaks") or (curve == "peaks" and threshold is None):
        raise UserError(f"The curve {curve!r} needs a threshold; give one, or use the curve 'sweep'.")
    scan = read_scan(scores, truth, brain, spacing, name)
    ranking, targets = rank_voxels(scan), targets_of(scan, rule)
    counted = targets.counted
    counts = overlap_counts(scan, ranking)
    grid_predicted, grid_hit = counts.above(np.asarray(grid, dtype=np.float64))
    found, alarm_bins = np.zeros(int(counted.sum()), dtype=np.bool_), np.zeros(4, dtype=np.int64)
    predicted = hit = -1
    if threshold is not None:
        clusters = clusters_above(scan, ranking, targets, rule, threshold)
        found = clusters.found[counted]
        alarm_bins = np.bincount(volume_bins(clusters.voxels[clusters.alarm] * scan.voxel_ml), minlength=4)
        predicted, hit = (int(count[0]) for count in counts.above(np.array([threshold])))
    if curve == "sweep":
        detections = swept_detections(scan, ranking, targets, rule)
    else:
        detections = peak_detections(clusters, targets)
    return ScanRecord(
        scan.voxel_ml, scan.truth_voxels, predicted, hit, *counts.best(), grid_predicted, grid_hit,
        targets.voxels[counted], detections.lesions, found, detections.alarms, alarm_bins,
    )  # fmt: skip
