"""A prediction made of formulas: two lesions in an ellipsoid brain, in voxels of 2 x 2 x 5 mm, without any model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from anyadbench.data.trees.volume import Volume, canonical_volume
from anyadbench.predict.findings.clusters import find_clusters
from anyadbench.predict.findings.percentiles import Percentiles
from anyadbench.predict.prediction import Prediction, SliceScore

SHAPE, STEPS = (60, 72, 24), (2.0, 2.0, 5.0)
LESIONS = (((40.0, 50.0, 15.0), 8.0, 1.0), ((18.0, 24.0, 8.0), 6.0, 0.8))
"""Centre as an index of the file, radius in mm, and peak of each."""

HOSTILE = "x</script><script>alert(1)</script>\"><b onload='y'>&amp;"

ORIGIN = {
    "folder": "cell_0", "cell_id": "0" * 64, "fit_id": "1" * 64, "method": "formula", "protocol": "phantom-7subsets",
    "seed": 0, "budget": "demo", "weights": "random",
}  # fmt: skip

PERCENTILES = Percentiles(
    patient=97.5, among="slices", slices=(None,) * 20, n_scans=3, n_slices=48, source="normals <of> the cell"
)
REFERENCE = {
    "among": "slices", "n": 48, "range": "5th to 95th percentile", "source": "normals", "share_of_brain": 0.02,
    "normal_share_of_brain": [0.0, 0.01], "normal_volume_ml": [0.05, 1.25], "above_threshold_ml": 4.0, "brain_ml": 200,
    "percentile": 99.0,
}  # fmt: skip


def _volume(array: np.ndarray, affine: np.ndarray) -> Volume:
    return canonical_volume(Path("scan.nii.gz"), array.astype(np.float32), affine)


def a_prediction(codes: str = "RAS", threshold: float | None = 0.5, **changes: Any) -> Prediction:
    """Return the prediction; ``codes`` (RAS or LPI) are the axes of its file."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    middle = (np.array(SHAPE) - 1) / 2
    brain = ((index - middle) ** 2 / (0.42 * np.array(SHAPE)) ** 2).sum(-1) < 1
    found = np.random.default_rng(0).uniform(0, 0.1, SHAPE).astype(np.float32)
    for centre, radius, peak in LESIONS:
        distance = ((index - np.array(centre)) * STEPS / radius) ** 2
        found = np.maximum(found, np.float32(peak) * np.exp(-0.5 * distance.sum(-1)).astype(np.float32))
    found = np.where(brain, found, 0).astype(np.float32)
    flair = np.where(brain, 300 + 200 * np.sin(index[..., 0] / 5.0) + 600 * found, 0)
    t1 = np.where(brain, 500 + 2.0 * index[..., 1], 0)
    affine = np.diag([*STEPS, 1.0])
    affine[:3, 3] = -np.array(SHAPE) * STEPS / 2
    fine = affine @ np.diag([0.5, 0.5, 1, 1])
    if codes == "LPI":
        found, brain, flair = (array[::-1, ::-1, ::-1].copy() for array in (found, brain, flair))
        turn = np.diag([-1.0, -1.0, -1.0, 1.0])
        turn[:3, 3] = np.array(SHAPE) - 1
        affine = affine @ turn
    above = np.zeros_like(brain) if threshold is None else (found > threshold) & brain
    clusters = find_clusters(above, found, affine)
    spread = np.kron(t1, np.ones((2, 2, 1)))
    volumes = {"flair": _volume(flair, affine), "t1": _volume(spread, fine)}
    made = Prediction(
        map=found, mask=None if threshold is None else clusters.labels > 0, affine=affine, header=None,
        slices=_slices(found if codes == "RAS" else found[::-1, ::-1, ::-1], threshold, codes == "LPI"),
        grid_maps=found.transpose(2, 1, 0)[2:-2], grid_brain=brain.transpose(2, 1, 0)[2:-2],
        shown=("flair", "t1"), first="flair",
        threshold=threshold, threshold_from="99th percentile of <validation> normals", notes=(f"A note: {HOSTILE}",),
        data=None, origin=ORIGIN, brain=brain, clusters=clusters.listed, cluster_labels=clusters.labels, seconds=1.25,
        percentiles=PERCENTILES, reference=None if threshold is None else REFERENCE,
        n_brain=SHAPE[2] - 4, volumes=volumes, inputs={name: _facts(volume) for name, volume in volumes.items()},
    )  # type: ignore[arg-type]  # fmt: skip
    return replace(made, **changes)


def _slices(found: np.ndarray, threshold: float | None, downwards: bool) -> tuple[SliceScore, ...]:
    made = []
    for k in range(2, SHAPE[2] - 2):
        top = float(found[:, :, k].max())
        area = None if threshold is None else float((found[:, :, k] > threshold).sum() * 4)
        height = -SHAPE[2] * STEPS[2] / 2 + k * STEPS[2]
        place = SHAPE[2] - 1 - k if downwards else k
        made.append(SliceScore(k, place, height, 0.3, "F+T1", top, top, 3 < k < SHAPE[2] - 4, area))
    return tuple(made)


def _facts(volume: Volume) -> dict[str, Any]:
    return {
        "file": f"scan {HOSTILE}.nii.gz", "shape_lps": list(volume.shape), "spacing_lps_mm": list(volume.spacing),
        "resampled": False,
    }  # fmt: skip
