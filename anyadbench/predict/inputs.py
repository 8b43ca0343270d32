"""A caller's input for one sequence, read as a volume."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from anyadbench.data.trees.background import settle
from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.dicom_header import START, begins_as_dicom
from anyadbench.data.trees.volume import SMALLEST_MM, Volume, read_with_header, volume_of
from anyadbench.errors import UserError
from anyadbench.sequences import SEQUENCES

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
        notes: What was repaired in it or left out beside it, as predicates of a sentence about the scan.
    """

    sequence: str
    volume: Volume
    header: Any
    where: str
    background: float = 0.0
    notes: tuple[str, ...] = ()


def read_inputs(
    given: Mapping[str, Source], spacing: tuple[float, float, float] | None, affine: Any = None
) -> list[Input]:
    """Read every sequence, in the given order; ``spacing`` and ``affine`` are for arrays.

    Raises:
        UserError: If a name is unknown, no sequence is given, or a file cannot be used.
    """
    wrong = [name for name in given if name not in SEQUENCES]
    if wrong:
        raise UserError(f"Unknown sequence {wrong[0]!r}; use one of {', '.join(SEQUENCES)}.")
    if not given:
        raise UserError("No sequence is given; give at least one, e.g. --flair F.nii.gz.")
    affines = affine if isinstance(affine, Mapping) else dict.fromkeys(given, affine)
    return [read_input(name, source, spacing, affines.get(name)) for name, source in given.items()]


def read_input(
    sequence: str, source: Source, spacing: tuple[float, float, float] | None = None, affine: Any = None
) -> Input:
    """Read one sequence.

    Args:
        sequence: Canonical name.
        source: Path of a NIfTI file or, with the extra ``dicom``, of a folder with one DICOM series or of one file of a
            series; a nibabel image; or an array ``x y z``.
        spacing: For an array whose axes run to the patient's left, to posterior and to superior: voxel size in mm.
        affine: For an array, instead: from its indices to mm to right, anterior and superior, as in nibabel.

    Raises:
        UserError: If it cannot be read, is constant, has no value above 0, or is of another type.
    """
    if isinstance(source, np.ndarray):
        # Not a NIfTI image, which refuses the types that no NIfTI file can hold: int64, bool, float16.
        image: Any = nibabel.spatialimages.SpatialImage(source, _affine(sequence, spacing, affine))
        found = Input(sequence, volume_of(image, sequence), None, "array")
    elif hasattr(source, "dataobj"):
        header = source.header if isinstance(source.header, nibabel.nifti1.Nifti1Header) else None
        found = Input(sequence, _of_image(sequence, source), header, "image")
    elif isinstance(source, str | Path):
        if "\0" in str(source):
            raise UserError(f"{sequence}: {str(source)!r} holds the character 0, as no path does; give another path.")
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
    notes = (*found.notes, *found.volume.notes, *dust)
    return replace(found, volume=settled.volume, background=settled.value, notes=notes)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its content. A pipe or device is none, and is not opened: that might wait forever."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return begins_as_dicom(file.read(START))
    except OSError:
        return False


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


def _of_image(sequence: str, image: Any) -> Volume:
    """Return a nibabel image as a volume; its file may be read only now."""
    affine = image.affine
    if affine is not None:
        _check_last_row(sequence, np.asarray(affine, np.float64))
    try:
        return volume_of(image, sequence)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        named = getattr(image, "get_filename", lambda: None)()
        cause = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())[:160]
        raise BadFile(
            f"{sequence}: the image" if named is None else f"{sequence}: {named}",
            f"cannot be read ({cause})",
            "copy or download it again",
        ) from error


def _check_last_row(sequence: str, affine: np.ndarray) -> None:
    if affine.shape == (4, 4) and not np.allclose(affine[3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        row = " ".join(f"{value:g}" for value in affine[3])
        raise UserError(
            f"{sequence}: the affine's last row is {row} and not 0 0 0 1, as if it were transposed or scaled; give it "
            "as nibabel's image.affine has it."
        )


def _affine(sequence: str, spacing: Any, affine: Any) -> np.ndarray:
    if affine is None:
        x, y, z = _steps(sequence, spacing)
        return np.diag([-x, -y, z, 1.0])
    try:
        found = np.asarray(affine, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if spacing is not None or found.shape != (4, 4) or not np.isfinite(found).all():
        cause = "takes spacing or affine, not both" if spacing is not None else "needs a finite 4 × 4 affine"
        raise UserError(f"{sequence}: an array {cause}; give affine=image.affine of nibabel, or spacing=(x, y, z).")
    _check_last_row(sequence, found)
    if abs(np.linalg.det(found[:3, :3])) < SMALLEST_MM**3:
        raise UserError(
            f"{sequence}: the affine cannot be inverted, because its axes span no volume; give it as nibabel's "
            "image.affine has it."
        )
    return found


def _steps(sequence: str, spacing: Any) -> tuple[float, float, float]:
    try:
        x, y, z = (float(step) for step in spacing)
    except (TypeError, ValueError):
        x = y = z = math.nan
    if isinstance(spacing, str) or not all(0 < step < 100 for step in (x, y, z)):
        raise UserError(f"{sequence}: an array needs spacing=(x, y, z), its voxel size in mm, e.g. (1, 1, 1).")
    return x, y, z


def _from_path(sequence: str, path: Path) -> Input:
    try:
        if path.is_dir() or is_dicom(path):
            from anyadbench.predict.dicom import read_series

            said: list[str] = []
            image = read_series(path) if path.is_dir() else read_series(path.parent, path, said.append)
            return Input(sequence, volume_of(image, str(path)), None, str(path), notes=tuple(said))
        if path.exists() and not path.is_file():
            raise BadFile(
                path, "is neither a file nor a folder, but a pipe or a device", "save the scan to a file first"
            )
        volume, header = read_with_header(path)
    except OSError as error:
        raise BadFile(
            path, f"cannot be read ({error.strerror or error})", "give another path, or fix this one"
        ) from error
    return Input(sequence, volume, header, str(path))
