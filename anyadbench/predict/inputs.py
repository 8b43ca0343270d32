"""A caller's input for one sequence, read as a volume."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from anyadbench.data.trees.background import settle
from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.volume import Volume, read_with_header, volume_of
from anyadbench.errors import UserError
from anyadbench.sequences import SEQUENCES

if TYPE_CHECKING:
    from collections.abc import Mapping

Source = Any
"""A path of a NIfTI file or of a DICOM folder, a nibabel image, or an array (see ``read_input``)."""


@dataclass(frozen=True, eq=False)
class Input:
    """One sequence of a patient.

    Attributes:
        sequence: Canonical name.
        volume: Values and their grid.
        header: NIfTI header of the file, used for output on its grid; ``None`` if there is none (MGH).
        where: Path, or ``array``.
        background: The constant value outside the brain, which was subtracted because training has 0 there.
        notes: What was repaired in it, as predicates of a sentence about the scan.
    """

    sequence: str
    volume: Volume
    header: Any
    where: str
    background: float = 0.0
    notes: tuple[str, ...] = ()


def read_inputs(given: Mapping[str, Source], spacing: tuple[float, float, float] | None) -> list[Input]:
    """Read every sequence, in the given order.

    Raises:
        UserError: If a name is unknown, no sequence is given, or a file cannot be used.
    """
    wrong = [name for name in given if name not in SEQUENCES]
    if wrong:
        raise UserError(f"Unknown sequence {wrong[0]!r}; use one of {', '.join(SEQUENCES)}.")
    if not given:
        raise UserError("No sequence is given; give at least one, e.g. --flair F.nii.gz.")
    return [read_input(name, source, spacing) for name, source in given.items()]


def read_input(sequence: str, source: Source, spacing: tuple[float, float, float] | None = None) -> Input:
    """Read one sequence.

    Args:
        sequence: Canonical name.
        source: Path of a NIfTI file or, with the extra ``dicom``, of a folder with one DICOM series; a nibabel image;
            or an array ``x y z`` whose axes run to the patient's left, to posterior and to superior.
        spacing: For an array: voxel size in mm along its axes.

    Raises:
        UserError: If it cannot be read, is constant, has no value above 0, or is of another type.
    """
    if isinstance(source, np.ndarray):
        x, y, z = _steps(sequence, spacing)
        # Not a NIfTI image, which refuses the types that no NIfTI file can hold: int64, bool, float16.
        image: Any = nibabel.spatialimages.SpatialImage(source, np.diag([-x, -y, z, 1.0]))
        found = Input(sequence, volume_of(image, sequence), None, "array")
    elif hasattr(source, "dataobj"):
        header = source.header if isinstance(source.header, nibabel.nifti1.Nifti1Header) else None
        found = Input(sequence, volume_of(source, sequence), header, "image")
    elif isinstance(source, str | Path):
        found = _from_path(sequence, Path(os.path.expanduser(source)))
    else:
        kind = type(source).__name__
        raise UserError(f"{sequence}: a {kind} is not a scan; give a path, a nibabel image, or an array.")
    array = found.volume.array
    if array.min() == array.max():
        raise BadFile(found.volume.path, f"has the value {array.flat[0]:g} everywhere", "give the right image")
    settled = settle(found.volume)
    top = float(settled.volume.array.max())
    if top <= 0:
        cause = f"has no value above 0 (its lowest is {array.min():g}), so it shows no brain"
        raise BadFile(found.volume.path, cause, "give the scan as the scanner produced it")
    dust = settled.notes[-1:] if settled.dust else []
    notes = (*found.volume.notes, *dust)
    return replace(found, volume=settled.volume, background=settled.value, notes=notes)


def check_threshold(threshold: Any) -> float:
    """Return a threshold as a number.

    Raises:
        UserError: If it is not a finite number.
    """
    try:
        value = float(threshold)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"The threshold {threshold} is not a finite number; give one in units of the map, e.g. 0.5.")
    return value


def _steps(sequence: str, spacing: Any) -> tuple[float, float, float]:
    try:
        x, y, z = (float(step) for step in spacing)
    except (TypeError, ValueError):
        x = y = z = math.nan
    if isinstance(spacing, str) or not all(0 < step < 100 for step in (x, y, z)):
        raise UserError(f"{sequence}: an array needs spacing=(x, y, z), its voxel size in mm, e.g. (1, 1, 1).")
    return x, y, z


def _from_path(sequence: str, path: Path) -> Input:
    if path.is_dir():
        from anyadbench.predict.dicom import read_series

        image = read_series(path)
        return Input(sequence, volume_of(image, str(path)), None, str(path))
    volume, header = read_with_header(path)
    return Input(sequence, volume, header, str(path))
