"""The slices of one scan, as stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.store.encoding import Coding, encode, fit_coding
from anyadbench.data.store.ordering import in_index_order, mean_and_deviation, percentiles
from anyadbench.data.trees.layouts import REGIONS, Layout
from anyadbench.data.trees.nifti_scan import MIN_BRAIN, Scan

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped, UInt8, UInt16

FORMAT = 5
"""Version of the store's files; raise it whenever they change. 5: compressed pixels."""

CONTENT = 4
"""Version of what a store holds, which its hash and so the results of runs depend on; raise it whenever a value or its
meaning changes. 2: the affine and depth of each scan. 3: whether each subject is healthy, with site, age and sex.
4: mean, standard deviation and landmarks of each sequence.
"""

PERCENTILES = (99.0, 99.5, 99.8, 99.9)

LANDMARKS = (1.0, *(10.0 * step for step in range(1, 10)), 99.8)
"""Percentiles of the brain that histogram matching moves."""


STATISTICS = ("mean", "sd")
"""Columns of ``scans.csv`` with the mean and standard deviation of each sequence in the brain."""


@dataclass(frozen=True, eq=False)
class Part:
    """One scan's share of a store, at native size.

    Attributes:
        sequences: Sequences of the scan, in canonical order.
        images: Stored values.
        masks: Regions.
        row: The scan's columns of ``scans.csv`` that come from its content.
        slices: The columns of ``slices.csv`` that come from each slice.
        hashes: Hashes that identify equal images.
        boxes: Boxes of each slice (left, top, width and height in pixels), where lesions are marked by boxes.
    """

    sequences: tuple[str, ...]
    images: UInt16[np.ndarray, "n S H W"]
    masks: UInt8[np.ndarray, "n H W"]
    row: dict[str, Any]
    slices: list[dict[str, Any]]
    hashes: Mapping[str, str] = field(default_factory=dict)
    boxes: tuple[tuple[tuple[float, float, float, float], ...], ...] | None = None


def percentile_column(percentile: float, sequence: str) -> str:
    """Name of the column of ``scans.csv`` with a percentile of a sequence, e.g. ``p99.8_flair``."""
    return f"max_{sequence}" if percentile == 100 else f"p{percentile:g}_{sequence}"


def landmark_column(percentile: float, sequence: str) -> str:
    """Name of the column of ``scans.csv`` with a percentile of a sequence in the brain, e.g. ``q10_flair``."""
    return f"q{percentile:g}_{sequence}"


def nifti_part(scan: Scan, layout: Layout) -> Part:
    """Cut a scan into axial slices and keep those with some brain: a non-zero value in any sequence."""
    fraction = scan.brain()
    z = len(fraction)
    keep = np.flatnonzero(fraction >= MIN_BRAIN)
    labels = np.ascontiguousarray(scan.labels.transpose(2, 1, 0))
    images = np.zeros((len(keep), len(scan.volumes), *labels.shape[1:]), np.uint16)
    row: dict[str, Any] = dict(zip(("spacing_x", "spacing_y", "spacing_z"), scan.grid.spacing, strict=True))
    row |= {"depth": z, "affine": affine_text(scan.grid.affine)}
    for index, (name, volume) in enumerate(scan.volumes.items()):
        coding = fit_coding(volume.array)
        axial = volume.array.transpose(2, 1, 0)
        for place, k in enumerate(keep):
            images[place, index] = encode(axial[k], coding)
        row |= sequence_columns(name, volume.ordered, coding, scan.hashes[name])
    lesion, cavity = abnormal_mask(labels, layout), labels == REGIONS["cavity"]
    row["lesion_voxels"] = int(np.count_nonzero(lesion))
    labelled = np.array([plane.any() for plane in labels], dtype=bool)
    distance = lesion_distance(labelled)
    slices = [
        {
            "slice": int(k),
            "height_mm": scan.grid.height_mm(int(k)),
            "brain": float(fraction[k]),
            "lesion_px": int(np.count_nonzero(lesion[k])),
            "cavity_px": int(np.count_nonzero(cavity[k])),
            "lesion_distance": int(distance[k]),
        }
        for k in keep
    ]
    return Part(tuple(scan.volumes), images, labels[keep], row, slices, scan.hashes)


def affine_text(affine: Float[np.ndarray, "4 4"]) -> str:
    """Return the first three rows of an affine as 12 numbers, row by row."""
    return " ".join(repr(float(value)) for value in affine[:3].ravel())


def affine_from(text: str) -> Float[np.ndarray, "4 4"] | None:
    """Return the affine of ``affine_text``; ``None`` for an empty text: a PNG has none."""
    return np.vstack([np.array(text.split(), np.float64).reshape(3, 4), [0, 0, 0, 1]]) if text else None


def sequence_columns(name: str, array: Shaped[np.ndarray, "*shape"], coding: Coding, sha: str) -> dict[str, Any]:
    """Return a sequence's columns of ``scans.csv``: its code, and what its scale depends on.

    Percentiles are those of its positive values; mean, standard deviation and landmarks those of its brain, where it is
    not 0.
    """
    ordered = in_index_order(array)
    inside = ordered[ordered != 0]
    if array.min() >= 0:
        values, marks = np.split(percentiles(inside, (*PERCENTILES, *LANDMARKS)), [len(PERCENTILES)])
    else:
        values, marks = percentiles(inside[inside > 0], PERCENTILES), percentiles(inside, LANDMARKS)
    columns = {f"scale_{name}": coding.scale, f"offset_{name}": coding.offset, f"zero_{name}": coding.zero}
    columns |= {percentile_column(p, name): float(v) for p, v in zip(PERCENTILES, values, strict=True)}
    columns |= {landmark_column(p, name): float(v) for p, v in zip(LANDMARKS, marks, strict=True)}
    mean, deviation = mean_and_deviation(inside)
    columns |= {f"mean_{name}": mean, f"sd_{name}": deviation}
    return {**columns, f"max_{name}": float(array.max()), f"sha_{name}": sha}


def abnormal_mask(labels: UInt8[np.ndarray, "*shape"], layout: Layout) -> Bool[np.ndarray, "*shape"]:
    """Return where the labels are abnormal by the layout's rule, cavities included."""
    if layout.abnormal is None:
        return labels > 0
    return np.isin(labels, [REGIONS[region] for region in layout.abnormal])


def lesion_distance(labelled: Bool[np.ndarray, " z"]) -> Int[np.ndarray, " z"]:
    """Return each slice's distance, in slices, to the nearest labelled one; -1 everywhere if there is none."""
    where = np.flatnonzero(labelled)
    index = np.arange(len(labelled))
    if not len(where):
        return np.full(len(labelled), -1)
    return np.asarray(np.abs(index[:, None] - where[None, :]).min(axis=1))
