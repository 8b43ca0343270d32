"""The lesions that a rule counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.lesions.rules import DilationRule, Rule
from anyadbench.metrics.lesions.scan import label_volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Int32, Int64

    from anyadbench.metrics.lesions.scan import Scan


@dataclass(frozen=True)
class Targets:
    """Lesions as a rule sees them.

    Attributes:
        regions: Lesion, from 1 on, whose region a voxel of the box belongs to; 0 for none.
        voxels: True voxels of lesions 1, 2, ..., without any dilation.
        counted: Whether each lesion is found or missed; a lesion that is not counted only keeps clusters that touch it
            from being false alarms.
    """

    regions: Int32[np.ndarray, "bd bh bw"]
    voxels: Int64[np.ndarray, " l"]
    counted: Bool[np.ndarray, " l"]


def targets_of(scan: Scan, rule: Rule) -> Targets:
    """Return the lesions of a scan under a rule."""
    if not isinstance(rule, DilationRule):
        return Targets(scan.lesions, scan.lesion_voxels, np.ones(len(scan.lesion_voxels), dtype=np.bool_))
    grown = _dilated(scan.truth, rule.dilation)
    labels, sizes = label_volume(grown)
    voxels = np.bincount(labels[scan.truth], minlength=len(sizes) + 1)[1:].astype(np.int64)
    kept = np.round(voxels * scan.voxel_ml * 1000.0, 6) > rule.dropped_mm3
    return Targets(scan.cut(labels), voxels, kept)


def _dilated(truth: Bool[np.ndarray, "d h w"], times: int) -> Bool[np.ndarray, "d h w"]:
    from scipy import ndimage

    if times == 0 or not truth.any():
        return truth
    spans = [np.flatnonzero(truth.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    window = tuple(slice(max(int(span[0]) - times, 0), int(span[-1]) + 1 + times) for span in spans)
    grown = truth.copy()
    grown[window] = ndimage.binary_dilation(
        truth[window], structure=ndimage.generate_binary_structure(3, 2), iterations=times
    )
    return grown
