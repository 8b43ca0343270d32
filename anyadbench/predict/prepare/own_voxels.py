"""Maps, masks and brains on the own voxels of every input, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.trees.volume import canonical_volume
from anyadbench.predict.geometry import grid_of
from anyadbench.sequences import SEQUENCES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float, Float32

    from anyadbench.predict.prediction import Prediction

BRAIN = "brain.nii.gz"


@dataclass(frozen=True, eq=False)
class OwnVoxels:
    """A prediction on the voxels of one input, in the axes of its file.

    Attributes:
        map: Anomaly map.
        mask: Where it is above the threshold; ``None`` without one.
        brain: The brain.
        affine: From indices to NIfTI world coordinates in mm, as in the file.
        header: NIfTI header of the file, or ``None``.
    """

    map: Float32[np.ndarray, "a b c"]
    mask: Bool[np.ndarray, "a b c"] | None
    brain: Bool[np.ndarray, "a b c"]
    affine: Float[np.ndarray, "4 4"]
    header: Any


def own_voxels(prediction: Prediction, sequence: str) -> OwnVoxels:
    """Return a prediction on the voxels of one of its inputs.

    Raises:
        KeyError: If the sequence was not an input.
    """
    if sequence not in prediction.inputs:
        raise KeyError(f"{sequence} was not an input; the inputs are {', '.join(prediction.inputs)}")
    found = (prediction.map, prediction.mask, prediction.brain)
    if sequence == prediction.first or prediction.preparation is None:
        return OwnVoxels(*found, prediction.affine, prediction.header)
    own = prediction.preparation.own[sequence]

    def bring(array: np.ndarray, whole: bool) -> np.ndarray:
        volume = canonical_volume(Path("prediction"), array, prediction.affine)
        return own.bring(volume.array, grid_of(volume), whole=whole)

    mask = None if prediction.mask is None else bring(prediction.mask, True)
    return OwnVoxels(
        bring(prediction.map, False), mask, bring(prediction.brain, True), own.volume.native_affine, own.header
    )


def other_files(prediction: Prediction, folder: Path) -> Iterator[tuple[Path, OwnVoxels, np.ndarray]]:
    """Return the files of a prepared prediction: the brain, and map, mask and brain on the voxels of other inputs."""
    if prediction.preparation is None or prediction.preparation.plan.idle:
        return
    first = own_voxels(prediction, prediction.first)
    yield folder / BRAIN, first, first.brain.astype(np.uint8)
    for sequence in prediction.inputs:
        if sequence == prediction.first:
            continue
        voxels = own_voxels(prediction, sequence)
        yield folder / f"anomaly_{sequence}.nii.gz", voxels, voxels.map
        yield folder / f"brain_{sequence}.nii.gz", voxels, voxels.brain.astype(np.uint8)
        if voxels.mask is not None:
            yield folder / f"mask_{sequence}.nii.gz", voxels, voxels.mask.astype(np.uint8)


def own_files(folder: Path) -> list[Path]:
    """Return the files in a folder that have names of ``other_files``."""
    names = [BRAIN, *(f"{kind}_{name}.nii.gz" for name in SEQUENCES for kind in ("anomaly", "brain", "mask"))]
    return [folder / name for name in names if (folder / name).exists()]
