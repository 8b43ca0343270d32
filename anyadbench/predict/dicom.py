"""Reading DICOM series, if the extra ``dicom`` (SimpleITK) is installed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from anyadbench.data.trees.problems import BadFile
from anyadbench.errors import UserError

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

STEP_SHARE, STEP_MM = 0.01, 0.05
"""Largest difference between slice steps: this share of the step or this many mm, whichever is larger."""

_POSITION, _ORIENTATION = "0020|0032", "0020|0037"


def read_series(folder: Path) -> Any:
    """Return the one DICOM series in a folder as a NIfTI image; compressed and rescaled files are decoded.

    Raises:
        UserError: If SimpleITK is not installed, the folder contains no series, several, or a damaged one, or its
            slices are not one evenly spaced stack.
    """
    try:
        itk: Any = import_module("SimpleITK")
    except ImportError:
        raise UserError(
            f"{folder} is a folder, but reading DICOM needs SimpleITK: run 'pip install anyadbench[dicom]', or give a "
            ".nii or .nii.gz file."
        ) from None
    reader = itk.ImageSeriesReader()
    itk.ProcessObject.GlobalWarningDisplayOff()  # its warnings are less clear than the sentences below
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} DICOM series" if series else "no DICOM series"
        raise BadFile(folder, f"contains {found}, but one is needed", "give the folder of one series")
    names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
    try:
        reader.SetFileNames([names[index] for index in _stack(folder, [_tags(itk, name) for name in names])])
        image = reader.Execute()
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[-1][:200]
        raise BadFile(folder, f"cannot be read as a DICOM series ({cause})", "copy the series again") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise BadFile(folder, "contains no series of single grey-value slices", "give a 3D series")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    array = itk.GetArrayFromImage(image).transpose(2, 1, 0)
    kind = np.float32 if array.dtype.kind == "f" else np.int32
    return nibabel.nifti1.Nifti1Image(array.astype(kind), _TO_RAS @ affine)  # type: ignore[no-untyped-call]


def _tags(itk: Any, name: str) -> tuple[str, str]:
    """Return position and orientation of a file as stored; empty if they are missing."""
    reader = itk.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    known = reader.GetMetaDataKeys()
    position, orientation = (reader.GetMetaData(tag) if tag in known else "" for tag in (_POSITION, _ORIENTATION))
    return position, orientation


def _stack(folder: Path, tags: list[tuple[str, str]]) -> list[int]:
    """Return the order of a series' files along the normal of their slices.

    SimpleITK treats any list of files as an even stack: it would stretch a series with a gap over the gap, and
    interleave two acquisitions.

    Raises:
        BadFile: If slices have no position, differ in direction, share a position, or have uneven steps.
    """
    if len(tags) < 2:  # one file of many frames contains its own geometry
        return [0]
    try:
        points = np.array([_numbers(position, 3) for position, _ in tags])
        axes = np.array([_numbers(orientation, 6) for _, orientation in tags])
    except ValueError:
        cause = "has slices without a position (ImagePositionPatient, ImageOrientationPatient)"
        raise BadFile(folder, cause, "export the series again with its geometry") from None
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise BadFile(folder, "holds slices of several directions", "give the folder of one stack of parallel slices")
    normal = np.cross(axes[0, :3], axes[0, 3:])
    normal /= np.linalg.norm(normal)
    order = np.argsort(points @ normal, kind="stable")
    moves = np.diff(points[order], axis=0)
    steps = moves @ normal
    same = int((steps < STEP_MM).sum())
    if same:
        cause = f"contains {same} slices at the position of another slice (copies, or several acquisitions)"
        raise BadFile(folder, cause, "give the folder of one complete volume")
    step = float(np.median(steps))
    slack = max(STEP_SHARE * step, STEP_MM)
    worst = int(np.argmax(np.abs(steps - step)))
    if abs(steps[worst] - step) > slack:
        cause = f"has two neighbouring slices {steps[worst]:.4g} mm apart, while others are {step:.4g} mm apart"
        raise BadFile(folder, cause, "copy the series again if slices are missing, or give an evenly spaced one")
    if np.linalg.norm(moves - steps[:, None] * normal, axis=1).max() > slack:
        cause = "has slices that are shifted sideways relative to each other"
        raise BadFile(folder, cause, "resample it to a straight stack, or give another series")
    return [int(index) for index in order]


def _numbers(text: str, count: int) -> list[float]:
    values = [float(part) for part in text.split("\\")]
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(text)
    return values
